"""Which class of a model each label of another corpus is: said by name or by a file, never guessed."""

from collections import Counter
from dataclasses import replace

from moodline.conversation import LabelSet
from moodline.corpora.corpus import Corpus
from moodline.errors import MoodlineError
from moodline.labels import LABEL_SETS, label_set_of, refuse_misspelt

LEAST_SHARE = 0.5  # of the labelled utterances, which a model's own label set must know to go without a map
SHOWN_LABELS = 12


def labels_for(model: LabelSet, corpus: Corpus, named: str | None) -> LabelSet:
    """The model's classes, and the corpus's labels that each takes in.

    Args:
        named: a label set's name or YAML file, used as a map from the corpus's labels; None takes the model's own

    Raises:
        MoodlineError: the map has a class that the model lacks; or the model's own set knows few of the labels
    """
    if named is None:
        refuse_other_labels(model, corpus)
        return model
    labels = label_set_of(named)
    refuse_misspelt(labels, corpus.label_counts)
    strangers = [name for name in labels.classes if name not in model.classes]
    if strangers:
        raise MoodlineError(
            f"labels map to the model's classes {', '.join(model.classes)}: {named} has {', '.join(strangers)}; "
            "write a label set of these classes, or a part of them"
        )
    return replace(labels, classes=model.classes)


def refuse_other_labels(model: LabelSet, corpus: Corpus) -> None:
    found = corpus.label_counts
    if not found:
        raise MoodlineError(f"nothing can be scored: no utterance of {corpus.source} has a label")
    known = scored(model, found)
    if known and known >= LEAST_SHARE * found.total():
        return
    names = ", ".join(label for label, _ in found.most_common(SHOWN_LABELS)) + ", ..." * (len(found) > SHOWN_LABELS)
    own = f", or --labels {model.name} to score those alone" if known and model.name in LABEL_SETS else ""
    raise MoodlineError(
        f"the model's label set {model.name} has a class for {known} of {found.total()} labelled utterances of "
        f"{corpus.source}, whose labels are {names}: say what they are to the model ({', '.join(model.classes)}) with "
        f"{remedy(model, found)}{own}"
    )


def remedy(model: LabelSet, found: Counter[str]) -> str:
    """The built-in set of the model's classes that finds all of them in the corpus, or how to write one."""
    same = [
        one
        for one in LABEL_SETS.values()
        if one.name != model.name and {one.mapping.get(label) for label in found} - {None} == set(model.classes)
    ]
    if same:
        return f"--labels {max(same, key=lambda one: scored(one, found)).name}"
    return "--labels FILE, a YAML file with name, version, classes and mapping"


def scored(labels: LabelSet, found: Counter[str]) -> int:
    """How many labelled utterances have a class."""
    return sum(count for label, count in found.items() if labels.index(label) is not None)
