"""A run: one recipe, one protocol, one corpus, all or some of its folds, in one folder.

run.json             what is run: corpus, recipe, protocol, and the whole label set
fold-<name>/         one fold, see FoldTraining
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import filelock
from rich.console import Console

from moodline.checkpoint import CONFIG_FILE, load_description
from moodline.config import AUDIO_UTTERANCE, STAGE_NAMES, TEXT_UTTERANCE, Recipe
from moodline.conversation import LabelSet
from moodline.corpora.corpus import Corpus
from moodline.corpora.fold import Fold
from moodline.corpora.recognition import REFERENCE
from moodline.embeddings import EmbeddingsFile
from moodline.errors import MoodlineError
from moodline.files import flatten, read_json, remove_leftovers, write_json
from moodline.inference.given import refuse_unfit
from moodline.labels import content_of, label_set_from, label_set_of, refuse_misspelt
from moodline.recipe import recipe_from
from moodline.text.pretrained import fingerprint_of
from moodline.training.data import refuse_silent, refuse_unread_words
from moodline.training.fold import FoldTraining
from moodline.training.licence import licence_from, license_models
from moodline.training.origin import COMMON, origins_of
from moodline.training.provenance import provenance_of, refuse_seen_test
from moodline.training.sharing import finished_stages
from moodline.training.stage import Hardware, is_main_process

SCHEMA = 1
RUN_FILE = "run.json"
LOCK_FILE = ".lock"
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

    def fold_folder(self, name: str) -> Path:
        return self.folder / f"fold-{name}"

    def model_folder(self, name: str) -> Path:
        return self.fold_folder(name) / "model"

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


def refuse_foreign(folder: Path) -> None:
    """Refuse to write where something other than a run lies."""
    if folder.exists() and not folder.is_dir():
        raise MoodlineError(f"a run is a folder, and {folder} is a file: choose another -o")
    if folder.exists() and not (folder / RUN_FILE).is_file() and any(not is_ours(one) for one in folder.iterdir()):
        raise MoodlineError(f"{folder} is neither empty nor a run: choose another -o")


def is_ours(path: Path) -> bool:
    """Whether a run that was killed in its first moment has left this file."""
    return path.name == LOCK_FILE or path.name.startswith(f".{RUN_FILE}.")


def train(
    run: Run,
    corpus: Corpus,
    folds: Sequence[Fold],
    given: Mapping[str, EmbeddingsFile],
    hardware: Hardware,
    console: Console,
    reuse: Path | None = None,
) -> None:
    """Train the folds that are not trained yet; what is finished is kept.

    Args:
        given: embeddings from files, by the encoder whose place they take
        reuse: a folder of other runs, whose finished stages are taken over where they were made from the same

    Raises:
        MoodlineError: a fold cannot train, the folder is another run's, or another process trains in it; or the
            embeddings given are not those of the recipe and the corpus
    """
    hardware.check()
    refuse_unread_words(run.recipe, corpus)
    refuse_misspelt(run.label_set, {turn.label for turn in corpus.utterances if turn.label is not None})
    refuse_unfit(run.recipe, given, [one.in_context(run.label_set, run.recipe.context) for one in corpus.conversations])
    # Of all folds before the first one trains: a fold that cannot train is told at once.
    for fold in folds:
        refuse_seen_test(fold, given)
    prepared = [
        (
            fold,
            fold.training_sets(run.label_set, run.recipe.context),
            provenance_of(run.recipe, run.label_set, corpus, fold, given),
        )
        for fold in folds
    ]
    if AUDIO_UTTERANCE in run.recipe.stages:
        refuse_silent(one for _, sets, _ in prepared for one in (*sets.train, *sets.validation))
    bert_files = fingerprint_of(run.recipe.text_utterance.bert) if TEXT_UTTERANCE in run.recipe.stages else ""
    hashes = {encoder: file.hash for encoder, file in given.items()}
    precision = hardware.precision
    refuse_foreign(run.folder)
    with locked(run.folder):
        refuse_other_run(run)
        if is_main_process():
            remove_leftovers(run.folder)
        for position, (fold, sets, provenance) in enumerate(prepared, start=1):
            title = f"fold {fold.name} ({position} of {len(folds)}), " if len(folds) > 1 else ""
            training = FoldTraining(
                sets,
                run.recipe,
                run.label_set,
                run.fold_folder(fold.name),
                origins=origins_of(
                    run.recipe,
                    run.label_set,
                    run.corpus_hash,
                    fold.training_hash,
                    hashes,
                    bert_files,
                    precision,
                    run.words_hash,
                ),
                given=given,
                title=title,
                hardware=hardware,
                console=console,
            )
            training.prepare()
            if is_main_process():  # after all that may be refused: a refused command leaves a run as it was
                write_json(run.folder / RUN_FILE, run.description())
                for change in license_models(run.folder, run.licence):
                    console.print(change, highlight=False, soft_wrap=True)
                if reuse is not None:
                    training.reuse(finished_stages(reuse))
            if run.is_complete(fold.name) and all(map(training.is_finished, run.recipe.stages)):
                console.print(f"{title}model {run.model_folder(fold.name)}: finished before", highlight=False)
                described = load_description(run.model_folder(fold.name))
                if not described.temperatures or described.conditions is None:
                    lacked = "calibrated" if not described.temperatures else "told what its training sounds like"
                    console.print(f"{title}it is {lacked} now, and trained no more", highlight=False)
                    training.describe(described.provenance)
                continue
            for note in provenance.notes:
                console.print(f"{title}{note}", highlight=False, soft_wrap=True)
            training.run(replace(provenance, licence=run.licence))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run's folder, so that no second run writes into it; a run's own further processes share it."""
    if not is_main_process():
        yield
        return
    lock = filelock.FileLock(folder / LOCK_FILE, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise MoodlineError(
            f"{folder} is being trained by another process: wait for it, or choose another -o"
        ) from None
    try:
        yield
    finally:
        lock.release()
