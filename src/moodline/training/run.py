"""Describe a run: one recipe, one protocol, one corpus, all or some of its folds, in one folder."""

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import filelock

from moodline.config import ENCODERS, STAGE_NAMES, Recipe
from moodline.conversation import LabelSet, convert_to_content, find_label_set, parse_label_set
from moodline.corpora.storage import REFERENCE, WORDS
from moodline.errors import MoodlineError, quote
from moodline.io import flatten_keys, read_json, remove_leftovers
from moodline.modeling.checkpoint import save_description, without_places
from moodline.modeling.description import CONFIG_FILE, ModelDescription, load_description
from moodline.recipe import parse_recipe
from moodline.training.provenance import COMMON_KEYS, StageFingerprint
from moodline.training.trainer import LOGGERS, is_main_process

LOCK_FILE = ".lock"


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock the run's folder against a second run; a run's other processes share the lock."""
    if not is_main_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder / LOCK_FILE, timeout=0):
            yield
    except filelock.Timeout:
        raise MoodlineError(
            f"another process is training in {folder}. Wait for it, or choose another folder.", code="run.locked"
        ) from None


PREDICTIONS_FILE = "predictions.parquet"
RESULTS_FILE = "results.json"
REPORT_FILE = "report.html"
CAUSAL_FILE = "results-causal.json"
CURVES_FILE = "robustness.parquet"
CURVES_REPORT_FILE = "robustness.html"
SCORE_FILES = (PREDICTIONS_FILE, RESULTS_FILE, REPORT_FILE, CAUSAL_FILE, CURVES_FILE, CURVES_REPORT_FILE)


def get_file(name: str, out: Path, words: str, usual_words: str) -> Path:
    """Return the path of an evaluation's file; words other than the usual ones are part of its name."""
    path = out / name
    return path if words == usual_words else path.with_stem(f"{path.stem}-{words}")


def remove_scores(folder: Path) -> list[str]:
    """Remove a run's scores on all words, and return the names of the removed files."""
    paths = [get_file(name, folder, words, "") for name in SCORE_FILES for words in ("", *WORDS)]
    there = [path for path in paths if path.is_file()]
    for path in there:
        path.unlink()
    return [path.name for path in there]


def license_models(run: Path, licence: str) -> Iterator[str]:
    """Set the licence of a run's complete models, and describe each change; weights stay as they are."""
    for config in sorted(run.glob(f"fold-*/model/{CONFIG_FILE}")):
        described = load_description(config.parent)
        before, provenance = described.provenance, replace(described.provenance, licence=licence)
        if before.licence != licence:
            save_description(config.parent, **{**vars(described), "provenance": provenance})
            yield f"model {config.parent}: its licence was {before.licence_text}, and is {provenance.licence_text}"


class FoldFiles:
    """Locate the files of one fold in its folder.

    model/                  the model folder, complete once it contains config.json
    stages/<stage>.json     written last: the fingerprint of a finished stage, its epochs, and the process's peak memory
    stages/<stage>.part-<n>.json, embeddings/<stage>.part-<n>.parquet  of a stage trained without a part, for
                            cross-fitting, until the stage is finished
    stages/<stage>.pt       Lightning's checkpoint of an unfinished stage; loaded as weights only
    embeddings/             outputs of the finished stages, inputs of the next ones; with cross-fitting those of
                            training turns are of trainings that have not seen them
    logs/                   TensorBoard and CSV
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.model, self.stages, self.logs = folder, folder / "model", folder / "stages", folder / "logs"

    def get_record(self, stage: str) -> Path:
        return self.stages / f"{stage}.json"

    def get_origin(self, stage: str) -> Path:
        """Return the file with an unfinished stage's fingerprint."""
        return self.stages / f"{stage}.unfinished.json"

    def get_state(self, stage: str) -> Path:
        return self.stages / f"{stage}.pt"

    def get_embeddings(self, stage: str) -> Path:
        return self.folder / "embeddings" / f"{stage}.parquet"

    def read_origin(self, stage: str) -> StageFingerprint | None:
        """Return the recorded fingerprint of a finished or unfinished stage; None for a stage never started."""
        for file in (self.get_record(stage), self.get_origin(stage)):
            if file.is_file():
                return read_json(file, "stage").get("origin", {})
        return None

    def remove_unfinished(self, stage: str) -> None:
        """Remove the files that an unfinished stage resumes from."""
        # The state before the origin: a state without its origin would be resumed by another stage.
        for file in (self.get_state(stage), self.get_origin(stage)):
            file.unlink(missing_ok=True)

    def sum_part_seconds(self, stage: str) -> float:
        """Sum the times of a stage's trainings without a part."""
        return sum(read_json(record, "stage")["seconds"] for record in self.stages.glob(f"{stage}.part-*.json"))

    def remove_parts(self, stage: str) -> None:
        """Remove the files of a stage's trainings without a part; nothing reads them once the stage is finished."""
        # States before origins, as above.
        for pattern in ("stages/{}.part-*.pt", "stages/{}.part-*.json", "embeddings/{}.part-*.parquet"):
            for file in self.folder.glob(pattern.format(stage)):
                file.unlink(missing_ok=True)
        for logs in self.logs.glob(f"*/{stage}.part-*"):
            shutil.rmtree(logs, ignore_errors=True)

    def remove_stages(self, stages: Sequence[str]) -> None:
        """Remove the records of stages that will be trained again."""
        if stages:
            # The description first: a model folder without it is incomplete, and a partly replaced one must be.
            (self.model / CONFIG_FILE).unlink(missing_ok=True)
        for stage in stages:
            self.remove_parts(stage)
            self.get_record(stage).unlink(missing_ok=True)
            self.remove_unfinished(stage)
            # Loggers append to existing files, which would mix the curves of two trainings.
            for logger in LOGGERS:
                shutil.rmtree(self.logs / logger / stage, ignore_errors=True)


SCHEMA = 1
RUN_FILE = "run.json"
# Locations may change between commands, though the content found there may not, and so may the licence.
MUTABLE_KEYS = frozenset(
    {"corpus_folder", "recipe_name", "licence", "start_name"} | {f"embeddings.{one}.file" for one in ENCODERS}
)


@dataclass(frozen=True, kw_only=True)
class EmbeddingsReference:
    """Refer to a file of embeddings by its path and by the hash of its content."""

    file: Path
    hash: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """Hold a run's description, the content of ``run.json``.

    Attributes:
        embeddings: precomputed ones, by encoder
        words: the corpus's words that it reads, see ``corpora.storage.WORDS``
        words_hash: of recognised words; None for reference words, which the corpus's own hash covers
        licence: of all its models; empty if unstated
        start, start_name: hashes by stage of the weights of the model that it starts from, and that model's name
    """

    folder: Path
    recipe_name: str
    recipe: Recipe
    protocol: str
    corpus_folder: Path
    corpus_hash: str
    label_set: LabelSet
    embeddings: Mapping[str, EmbeddingsReference] = field(default_factory=dict)
    words: str = REFERENCE
    words_hash: str | None = None
    licence: str = ""
    start: Mapping[str, str] = field(default_factory=dict)
    start_name: str = ""

    def get_files(self, fold: str) -> FoldFiles:
        return FoldFiles(self.folder / f"fold-{fold}")

    def get_model_folder(self, fold: str) -> Path:
        return self.get_files(fold).model

    def is_complete(self, name: str) -> bool:
        """Return whether a fold's model is complete and matches this run's present recipe."""
        return not self.explain_incomplete(name)

    def explain_incomplete(self, name: str) -> str:
        """Explain why a fold's model is incomplete or differs from this run's present recipe; empty if neither."""
        folder = self.get_model_folder(name)
        if not (folder / CONFIG_FILE).is_file():
            finished = self.read_histories(name)
            missing = ", ".join(f"({STAGE_NAMES[stage]})" for stage in self.recipe.stages if stage not in finished)
            return f"not trained yet: the stage {missing}" if missing else "its description is not written yet"
        described = load_description(folder)
        # The label set's path may differ; its content must match.
        recipe = replace(described.recipe, label_set=self.recipe.label_set)
        was, now = (
            flatten_keys({**dataclasses.asdict(without_places(one)), "label_set": convert_to_content(of)})
            for one, of in ((recipe, described.label_set), (self.recipe, self.label_set))
        )
        key = next((key for key in now | was if was.get(key) != now.get(key)), None)
        return f"{key} was {was.get(key)!r} and is {now.get(key)!r}" if key else ""

    def read_histories(self, name: str) -> dict[str, list[dict[str, float]]]:
        """Read each finished stage's epochs: losses and validation UA."""
        records = {stage: self.get_files(name).get_record(stage) for stage in self.recipe.stages}
        return {stage: read_json(path, "stage")["epochs"] for stage, path in records.items() if path.is_file()}

    def remove_leftovers(self) -> None:
        """Remove temporary files of a killed training; the caller holds the folder's lock.

        Only training writes ``run.json`` and the folders of folds. Other temporary files of the run's folder may belong
        to an evaluation that is writing.
        """
        for fold in self.folder.glob("fold-*/"):
            remove_leftovers(fold)
        for file in self.folder.glob(f".{RUN_FILE}.*.part"):
            file.unlink(missing_ok=True)

    def build_description(self) -> dict[str, Any]:
        content = {key: value for key, value in dataclasses.asdict(self).items() if key != "folder"}
        return {
            "schema": SCHEMA,
            **content,
            "corpus_folder": str(self.corpus_folder),
            "label_set": convert_to_content(self.label_set),
            "embeddings": {
                encoder: {"file": str(given.file), "hash": given.hash} for encoder, given in self.embeddings.items()
            },
        }


def read_run(folder: Path) -> Run:
    """Read a run's description, or refuse a folder that is not a run."""
    path = folder / RUN_FILE
    content = read_json(path, "run folder (moodline train makes one)")
    try:
        if content["schema"] > SCHEMA:
            raise MoodlineError(
                f"run {folder} has schema {content['schema']}, newer than {SCHEMA}. Install a newer moodline.",
                code="run.newer_schema",
            )
        recipe = parse_recipe(content["recipe"], str(path))
        # The first runs name a built-in set and do not contain it.
        known = "label_set" in content
        return Run(
            **{key: content[key] for key in ("recipe_name", "protocol", "corpus_hash")},
            **{
                key: content[key] for key in ("words", "words_hash", "licence", "start", "start_name") if key in content
            },
            folder=folder,
            recipe=recipe,
            corpus_folder=Path(content["corpus_folder"]),
            label_set=parse_label_set(content["label_set"], str(path)) if known else find_label_set(recipe.label_set),
            embeddings={
                encoder: EmbeddingsReference(file=Path(given["file"]), hash=given["hash"])
                for encoder, given in content.get("embeddings", {}).items()
            },
        )
    except (KeyError, TypeError) as error:
        raise MoodlineError(
            f"{path} lacks {error}, which a run's description has. Train into a new folder.",
            code="run.incomplete_description",
        ) from error


def resolve_label_set(recipe: Recipe, folder: Path, start: ModelDescription | None = None) -> LabelSet:
    """Find the recipe's label set; if its file is gone, the one that the run in the folder recorded, or the start's."""
    own_file = Path(recipe.label_set)
    if start is not None and start.recipe.label_set == recipe.label_set and not own_file.exists():
        return start.label_set
    if own_file.suffix and not own_file.exists() and (folder / RUN_FILE).is_file():
        begun = read_run(folder)
        if begun.recipe.label_set == recipe.label_set:
            return begun.label_set
    return find_label_set(recipe.label_set)


def resolve_licence(licence: str | None, folder: Path, of_start: str = "") -> str:
    """Return the licence, which must be one line of text, or that of the run in the folder, or of the start."""
    if licence is None:
        return read_run(folder).licence if (folder / RUN_FILE).is_file() else of_start
    if len(licence.strip().splitlines()) != 1:
        raise MoodlineError(
            f"a licence must be one line of text, such as 'CC BY-NC 4.0', not {quote(licence)}", code="option.licence"
        )
    return licence.strip()


def refuse_other_run(run: Run) -> None:
    """Refuse to resume in another run's folder; stages of the recipe may have changed."""
    if (run.folder / RUN_FILE).is_file():
        found, wanted = read_run(run.folder).build_description(), run.build_description()
        for content in (found, wanted):
            content["recipe"] = {key: content["recipe"][key] for key in COMMON_KEYS}
        found, wanted = flatten_keys(found), flatten_keys(wanted)
        for key in wanted | found:
            if found.get(key) != wanted.get(key) and key not in MUTABLE_KEYS:
                raise MoodlineError(
                    f"{run.folder} holds another run: its {key} is {quote(found.get(key))}, here it is "
                    f"{quote(wanted.get(key))}; choose another folder",
                    code="run.other_run",
                )


def refuse_foreign(folder: Path, what: str = "run", first: str = RUN_FILE) -> None:
    """Refuse a file, and a folder with other things than a ``what``, into which ``first`` is written first."""
    if folder.exists() and not folder.is_dir():
        raise MoodlineError(
            f"{folder} is a file, not a {what}'s folder. Choose another folder.", code="file.not_a_folder"
        )
    begun = (folder / first).is_file() or not folder.exists()
    # A process that was killed while it wrote its first file may have left these.
    left = {one for one in folder.glob(".*") if one.name == LOCK_FILE or one.name.startswith(f".{first}.")}
    if not begun and {*folder.iterdir()} - left:
        raise MoodlineError(
            f"{folder} is neither empty nor a {what}: choose another folder", code="file.foreign_folder"
        )
