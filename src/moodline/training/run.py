"""A run: one recipe, one protocol, one corpus, all or some of its folds, in one folder.

run.json             what is run: corpus, recipe, protocol, versions
fold-<name>/         one fold, see FoldTraining
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import filelock
from rich.console import Console

from moodline.checkpoint import Provenance
from moodline.config import Recipe
from moodline.conversation import LABEL_SETS, LabelSet
from moodline.corpora.corpus import Corpus
from moodline.corpora.protocol import Fold
from moodline.embeddings import EmbeddingsFile
from moodline.errors import MoodlineError
from moodline.files import read_json, write_json
from moodline.inference.given import refuse_unfit
from moodline.recipe import recipe_from

SCHEMA = 1
RUN_FILE = "run.json"


@dataclass(frozen=True, kw_only=True)
class GivenFile:
    """A file of embeddings that a run reads: where it was, and the hash that decides whether it is still that one."""

    file: Path
    hash: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as its folder tells it; ``embeddings`` are those given, by encoder."""

    folder: Path
    recipe_name: str
    recipe: Recipe
    protocol: str
    corpus_folder: Path
    corpus_hash: str
    embeddings: Mapping[str, GivenFile] = field(default_factory=dict)

    @property
    def label_set(self) -> LabelSet:
        return LABEL_SETS[self.recipe.label_set]

    def fold_folder(self, name: str) -> Path:
        return self.folder / f"fold-{name}"

    def model_folder(self, name: str) -> Path:
        return self.fold_folder(name) / "model"

    def is_complete(self, name: str) -> bool:
        """Whether a fold's model is whole."""
        return (self.model_folder(name) / "config.json").is_file()

    def histories(self, name: str) -> dict[str, list[dict[str, float]]]:
        """Each finished stage's epochs: losses and validation UA."""
        records = {stage: self.fold_folder(name) / "stages" / f"{stage}.json" for stage in self.recipe.stages}
        return {stage: read_json(path, "stage")["epochs"] for stage, path in records.items() if path.is_file()}

    def description(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "recipe_name": self.recipe_name,
            "recipe": dataclasses.asdict(self.recipe),
            "protocol": self.protocol,
            "corpus_folder": str(self.corpus_folder),
            "corpus_hash": self.corpus_hash,
            "embeddings": {
                encoder: {"file": str(given.file), "hash": given.hash} for encoder, given in self.embeddings.items()
            },
        }


def read_run(folder: Path) -> Run:
    """Read what a run's folder holds.

    Raises:
        MoodlineError: the folder is no run
    """
    path = folder / RUN_FILE
    content = read_json(path, "run folder (moodline train makes one)")
    try:
        if content["schema"] > SCHEMA:
            raise MoodlineError(f"run {folder} has schema {content['schema']}: install a newer moodline to read it")
        return Run(
            folder=folder,
            recipe_name=content["recipe_name"],
            recipe=recipe_from(content["recipe"], str(path)),
            protocol=content["protocol"],
            corpus_folder=Path(content["corpus_folder"]),
            corpus_hash=content["corpus_hash"],
            embeddings={
                encoder: GivenFile(file=Path(given["file"]), hash=given["hash"])
                for encoder, given in content.get("embeddings", {}).items()
            },
        )
    except (KeyError, TypeError) as error:
        raise MoodlineError(f"{path} is no run's description: it lacks {error}; train into a new folder") from error


def begin(run: Run) -> None:
    """Make the run's folder, or go on in it.

    Raises:
        MoodlineError: the folder holds another run, or something else
    """
    folder = run.folder
    if folder.exists() and not folder.is_dir():
        raise MoodlineError(f"a run is a folder, and {folder} is a file: choose another -o")
    if (folder / RUN_FILE).is_file():
        found, wanted = flatten(read_run(folder).description()), flatten(run.description())
        places = {"corpus_folder", "recipe_name", *(f"embeddings.{encoder}.file" for encoder in run.embeddings)}
        other = [key for key in wanted if found.get(key) != wanted[key] and key not in places]
        if other:
            raise MoodlineError(
                f"{folder} holds another run: its {other[0]} is {found.get(other[0])!r}, here it is "
                f"{wanted[other[0]]!r}; choose another -o"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise MoodlineError(f"{folder} is neither empty nor a run: choose another -o")
    else:
        write_json(folder / RUN_FILE, run.description())


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys, dotted; sequences compare as lists, as JSON has them."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat


def train(
    run: Run,
    corpus: Corpus,
    folds: Sequence[Fold],
    given: Mapping[str, EmbeddingsFile],
    hardware: Any,
    console: Console,
) -> None:
    """Train the folds that are not trained yet; what is finished is kept.

    Args:
        given: embeddings from files, by the encoder whose place they take

    Raises:
        MoodlineError: the folder is another run's, or another process trains in it; or the embeddings given are not
            those of the recipe and the corpus
    """
    from moodline.training.fold import FoldTraining

    refuse_unfit(run.recipe, given, [one.in_context(run.label_set, run.recipe.context) for one in corpus.conversations])
    for fold in folds:
        refuse_seen_test(fold, given)
    vectors = {encoder: file.vectors for encoder, file in given.items()}
    begin(run)
    with locked(run.folder):
        for position, fold in enumerate(folds, start=1):
            folder = run.fold_folder(fold.name)
            title = f"fold {fold.name} ({position} of {len(folds)}), " if len(folds) > 1 else ""
            if run.is_complete(fold.name):
                console.print(f"{title}model {run.model_folder(fold.name)}: finished before", highlight=False)
                continue
            training = FoldTraining(
                fold.training_sets,
                run.recipe,
                run.label_set,
                folder,
                given=vectors,
                title=title,
                hardware=hardware,
                console=console,
            )
            training.run(provenance_of(run, corpus, fold, given))


def refuse_seen_test(fold: Fold, given: Mapping[str, EmbeddingsFile]) -> None:
    """Refuse embeddings whose own model has seen what the fold tests: scores on it would not be honest."""
    for file in given.values():
        seen = {*file.seen.trained_on, *file.seen.selected_on}
        for conversation in fold.test:
            if conversation.fingerprint in seen:
                raise MoodlineError(
                    f"a test set is unseen, and the model that made {file.path} has seen {conversation.id}, which "
                    f"{fold.protocol}, fold {fold.name} tests: train that fold alone on embeddings of its own model"
                )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run's folder, so that no second run writes into it; a run's own further processes share it."""
    from moodline.training.stage import is_main_process

    if not is_main_process():
        yield
        return
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise MoodlineError(
            f"{folder} is being trained by another process: wait for it, or choose another -o"
        ) from None
    try:
        yield
    finally:
        lock.release()


def provenance_of(run: Run, corpus: Corpus, fold: Fold, given: Mapping[str, EmbeddingsFile]) -> Provenance:
    """What a fold's model is made from; what the models behind embeddings given have seen, it has seen too."""
    counts = Counter(
        run.label_set.classes[index]
        for conversation in fold.train
        for utterance in conversation.utterances
        if (index := run.label_set.index(utterance.label)) is not None
    )
    missing = [name for name in run.label_set.classes if not counts[name]]
    if missing:
        raise MoodlineError(
            f"every class needs training utterances: {run.protocol}, fold {fold.name} has none of "
            f"{', '.join(missing)}; choose another label set or protocol"
        )
    trained_on = [*(one.fingerprint for one in fold.train), *chain(*(file.seen.trained_on for file in given.values()))]
    selected_on = [
        *(one.fingerprint for one in fold.validation),
        *chain(*(file.seen.selected_on for file in given.values())),
    ]
    return Provenance(
        protocol=fold.protocol,
        fold=fold.name,
        fold_hash=fold.hash,
        corpus_reader=corpus.reader,
        corpus_hash=corpus.table_hash,
        trained_on=tuple(dict.fromkeys(trained_on)),
        selected_on=tuple(dict.fromkeys(selected_on)),
        embeddings={encoder: f"{file.path.name}, hash {file.hash}" for encoder, file in given.items()},
        class_counts={name: counts[name] for name in run.label_set.classes},
        moodline_version=metadata.version("moodline"),
        torch_version=metadata.version("torch"),
    )
