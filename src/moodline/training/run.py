"""A run: one recipe, one protocol, one corpus, all or some of its folds, in one folder.

run.json             what is run: corpus, recipe, protocol, and the whole label set
fold-<name>/         one fold, see FoldFiles
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from moodline.checkpoint import CONFIG_FILE
from moodline.config import STAGE_NAMES, Recipe
from moodline.conversation import LabelSet
from moodline.corpora.recognition import REFERENCE
from moodline.errors import MoodlineError
from moodline.files import flatten, read_json
from moodline.labels import content_of, label_set_from, label_set_of
from moodline.recipe import recipe_from
from moodline.training.fold_files import FoldFiles
from moodline.training.licence import licence_from
from moodline.training.lock import LOCK_FILE
from moodline.training.origin import COMMON

SCHEMA = 1
RUN_FILE = "run.json"
# Where parts of a run were found, which may change; what was found there may not.
PLACES = ("corpus_folder", "recipe_name")
# What is said of a run, and no part of what it is.
SAID = ("licence",)


@dataclass(frozen=True, kw_only=True)
class GivenFile:
    """A file of embeddings that a run reads: where it was, and the hash that decides whether it is still that one."""

    file: Path
    hash: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as its folder tells it.

    Attributes:
        embeddings: those given, by encoder
        words: which of the corpus's it reads, see ``corpora.recognition.WORDS``
        words_hash: of recognised words; None for the reference ones, which the corpus's own hash covers
        licence: of all its models; empty where nobody gave one
    """

    folder: Path
    recipe_name: str
    recipe: Recipe
    protocol: str
    corpus_folder: Path
    corpus_hash: str
    label_set: LabelSet
    embeddings: Mapping[str, GivenFile] = field(default_factory=dict)
    words: str = REFERENCE
    words_hash: str | None = None
    licence: str = ""

    def files_of(self, fold: str) -> FoldFiles:
        return FoldFiles(self.folder / f"fold-{fold}")

    def model_folder(self, fold: str) -> Path:
        return self.files_of(fold).model

    def is_complete(self, name: str) -> bool:
        """Whether a fold's model is whole, and of this run's recipe as it is now."""
        return not self.lack_of(name)

    def lack_of(self, name: str) -> str:
        """What keeps a fold's model from being whole and of this run's recipe as it is now; empty if nothing does."""
        config = self.model_folder(name) / CONFIG_FILE
        if not config.is_file():
            finished = self.histories(name)
            missing = [f"({STAGE_NAMES[stage]})" for stage in self.recipe.stages if stage not in finished]
            return (
                f"not trained yet: the stage {', '.join(missing)}" if missing else "its description is not written yet"
            )
        content = read_json(config, "model")
        try:
            labels = label_set_from(content["label_set"], str(config))
            recipe = recipe_from(content["recipe"], str(config))
        except (KeyError, TypeError) as error:
            raise MoodlineError(f"{config} is no model's description: it lacks {error}; remove it and train") from error
        # Where the file of a label set lies is no part of what a model is; the set is.
        recipe = replace(recipe, label_set=self.recipe.label_set)
        was, now = (
            flatten({**dataclasses.asdict(one), "label_set": content_of(of)})
            for one, of in ((recipe, labels), (self.recipe, self.label_set))
        )
        key = next((key for key in now | was if was.get(key) != now.get(key)), None)
        return f"{key} was {was.get(key)!r} and is {now.get(key)!r}" if key else ""

    def histories(self, name: str) -> dict[str, list[dict[str, float]]]:
        """Each finished stage's epochs: losses and validation UA."""
        records = {stage: self.files_of(name).record(stage) for stage in self.recipe.stages}
        return {stage: read_json(path, "stage")["epochs"] for stage, path in records.items() if path.is_file()}

    def description(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "recipe_name": self.recipe_name,
            "recipe": dataclasses.asdict(self.recipe),
            "protocol": self.protocol,
            "corpus_folder": str(self.corpus_folder),
            "corpus_hash": self.corpus_hash,
            "label_set": content_of(self.label_set),
            "words": self.words,
            "words_hash": self.words_hash,
            "licence": self.licence,
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
        recipe = recipe_from(content["recipe"], str(path))
        # Runs of moodline's first days name one of its own sets and do not hold it.
        known = "label_set" in content
        return Run(
            folder=folder,
            recipe_name=content["recipe_name"],
            recipe=recipe,
            protocol=content["protocol"],
            corpus_folder=Path(content["corpus_folder"]),
            corpus_hash=content["corpus_hash"],
            label_set=label_set_from(content["label_set"], str(path)) if known else label_set_of(recipe.label_set),
            words=content.get("words", REFERENCE),
            words_hash=content.get("words_hash"),
            licence=content.get("licence", ""),
            embeddings={
                encoder: GivenFile(file=Path(given["file"]), hash=given["hash"])
                for encoder, given in content.get("embeddings", {}).items()
            },
        )
    except (KeyError, TypeError) as error:
        raise MoodlineError(f"{path} is no run's description: it lacks {error}; train into a new folder") from error


def label_set_for(recipe: Recipe, folder: Path) -> LabelSet:
    """The recipe's label set; that of the run in the folder where the recipe's file of it is there no more."""
    own_file = Path(recipe.label_set)
    if own_file.suffix and not own_file.exists() and (folder / RUN_FILE).is_file():
        begun = read_run(folder)
        if begun.recipe.label_set == recipe.label_set:
            return begun.label_set
    return label_set_of(recipe.label_set)


def licence_for(given: str | None, folder: Path) -> str:
    """The licence given, or that of the run in the folder where there is one and none is given.

    Raises:
        MoodlineError: it is not one line of text
    """
    if given is not None:
        return licence_from(given)
    return read_run(folder).licence if (folder / RUN_FILE).is_file() else ""


def refuse_other_run(run: Run) -> None:
    """Refuse to go on in another run's folder; in this one's, the recipe may have changed in some of its stages."""
    if (run.folder / RUN_FILE).is_file():
        found, wanted = read_run(run.folder).description(), run.description()
        for content in (found, wanted):
            content["recipe"] = {key: content["recipe"][key] for key in COMMON}
        found, wanted = flatten(found), flatten(wanted)
        may_change = {*PLACES, *SAID, *(f"embeddings.{encoder}.file" for encoder in run.embeddings)}
        other = [key for key in wanted | found if found.get(key) != wanted.get(key) and key not in may_change]
        if other:
            raise MoodlineError(
                f"{run.folder} holds another run: its {other[0]} is {found.get(other[0])!r}, here it is "
                f"{wanted.get(other[0])!r}; choose another -o"
            )


def refuse_foreign(folder: Path, what: str = "run", first: str = RUN_FILE) -> None:
    """Refuse to write where something else lies.

    Args:
        what: is to be written there: a run, or what else has a folder that is locked
        first: the file that it writes before any other

    Raises:
        MoodlineError: the folder is a file, or holds other things
    """
    if folder.exists() and not folder.is_dir():
        raise MoodlineError(f"a {what} is a folder, and {folder} is a file: choose another -o")
    begun = (folder / first).is_file() or not folder.exists()
    if not begun and any(not is_of_first_moment(one, first) for one in folder.iterdir()):
        raise MoodlineError(f"{folder} is neither empty nor a {what}: choose another -o")


def is_of_first_moment(path: Path, first: str) -> bool:
    """Whether what was killed while it wrote its first file has left this one."""
    return path.name == LOCK_FILE or path.name.startswith(f".{first}.")
