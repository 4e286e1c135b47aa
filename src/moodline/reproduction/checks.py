"""What a corpus and this machine lack for a plan: told before anything trains."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from moodline.corpora.corpus import Corpus
from moodline.corpora.recognised import read_recognised, read_recognition
from moodline.corpora.recognition import RECOGNISED
from moodline.embeddings import unique_ids
from moodline.errors import MoodlineError
from moodline.evaluation.description import counts
from moodline.evaluation.scores import FEWEST_CONVERSATIONS
from moodline.labels import label_set_of, refuse_misspelt
from moodline.reproduction.baselines import BASELINES
from moodline.reproduction.plan import Plan, Task
from moodline.reproduction.systems import CLASSICAL
from moodline.reproduction.tables import Table
from moodline.reproduction.work import FEATURES_FOLDER
from moodline.training.data import refuse_unlabelled
from moodline.training.provenance import provenance_of


def refuse_unheard(tables: Sequence[Table], folder: Path, corpus: Corpus) -> None:
    """Refuse tables that read recognised words of a corpus that has none.

    Raises:
        MoodlineError: there are none, or they are not whole
    """
    reading = [table for table in tables if any(RECOGNISED in (row.words, row.system.words) for row in table.rows)]
    if not reading:
        return
    try:
        read_recognised(folder, corpus)
    except MoodlineError as error:
        others = ",".join(dict.fromkeys(table.key for table in tables if table not in reading))
        how = f"; or leave it out with --tables {others}" if others else ""
        raise MoodlineError(f"{reading[0].name}: {error}{how}") from error


def words_hash_now(folder: Path) -> str | None:
    """Of the corpus's recognised words; None where it has none, or not all."""
    recognition = read_recognition(folder)
    return recognition.words_hash if recognition else None


def refuse_unfit(plan: Plan, corpus: Corpus, out: Path) -> None:
    """Refuse a plan of which a task could not be done.

    Raises:
        MoodlineError: the corpus has no labels, an utterance id is there twice, a fold's training set lacks a class or
            its validation set labels, or what a baseline needs is not installed
    """
    labels = label_set_of(plan.tasks[0].system.recipe.label_set)
    refuse_unlabelled(corpus)
    refuse_misspelt(labels, corpus.label_counts)
    unique_ids(corpus.conversations)
    for task in {(task.system.name, task.protocol, task.fold.name): task for task in plan.tasks}.values():
        provenance_of(task.system.recipe, labels, corpus, task.fold, {})
        task.fold.training_sets(labels, task.system.recipe.context)
    classical = next((task for task in plan.tasks if task.system.name == CLASSICAL), None)
    if classical is not None:
        for baseline in BASELINES.values():
            baseline.reader(classical.system.recipe, out / FEATURES_FOLDER)


def warnings_of(plan: Plan) -> Iterator[str]:
    """What makes some of a plan's numbers weak, a sentence each."""
    tested: dict[str, set[str]] = {}
    for task in first_of_each_fold(plan):
        labels = label_set_of(task.system.recipe.label_set)
        found = counts(task.fold.scored["test"], labels)
        tested.setdefault(task.fold.protocol, set()).update(one.id for one in task.fold.test)
        if missing := [name for name, count in found["classes"].items() if not count]:
            yield (
                f"{task.fold.protocol}, fold {task.fold.name}: its test set has none of {', '.join(missing)}, so that "
                "its UA is over the other classes"
            )
    for protocol, conversations in tested.items():
        if len(conversations) == 1:
            yield f"{protocol}: its test sets have one conversation, over which there is no interval"
        elif len(conversations) < FEWEST_CONVERSATIONS:
            yield (
                f"{protocol}: its test sets have {len(conversations)} conversations; intervals over fewer than "
                f"{FEWEST_CONVERSATIONS} are rough and too narrow"
            )


def first_of_each_fold(plan: Plan) -> list[Task]:
    """The first task on each fold, which has the most parts."""
    found: dict[tuple[str, str], Task] = {}
    for task in plan.tasks:
        found.setdefault((task.protocol, task.fold.name), task)
    return list(found.values())
