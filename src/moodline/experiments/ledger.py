"""The ledger: one row per number, with everything that it depends on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.config import STAGE_NAMES
from moodline.corpora.storage import RECOGNISED, WORDS
from moodline.errors import MoodlineError
from moodline.evaluation.results import Scores, note_missing_folds
from moodline.evaluation.scores import FEW_CONVERSATIONS_NOTE, MAJORITY, note_conversation_count, score_predictions
from moodline.experiments.comparisons import MEASURES, build_number
from moodline.experiments.plan import RUNS_FOLDER
from moodline.experiments.runner import TASK_FILE, hide_folders
from moodline.experiments.tables import PART_NAMES
from moodline.io import open_atomic_file, read_json
from moodline.training.fold_training import FoldFiles
from moodline.training.provenance import STAGE_INPUTS
from moodline.training.run import PREDICTIONS_FILE, RESULTS_FILE, get_file

LEDGER_FILE = "ledger.parquet"
POOLED = "pooled"
LEDGER_SCHEMA = pa.schema(
    [
        ("system", pa.string()),
        ("part", pa.string()),
        ("words_in_training", pa.string()),
        ("words_in_test", pa.string()),
        (
            "corpus_word_error_rate",
            pa.float64(),
        ),  # of the test's words, over the whole corpus; null for reference words
        ("protocol", pa.string()),
        ("fold", pa.string()),  # a fold's name, or "pooled" over all folds
        ("seed", pa.int64()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),  # of the 95 % interval; null for one conversation
        ("high", pa.float64()),
        ("utterances", pa.int64()),
        ("conversations", pa.int64()),
        ("folds", pa.int64()),  # number of folds over which the value is pooled
        ("validation_loss", pa.float64()),  # of the part's best epoch, averaged over folds
        ("label_set", pa.string()),
        ("corpus_hash", pa.string()),
        ("fold_hashes", pa.list_(pa.string())),
        # Training of the part and its inputs on all folds; of a classical baseline, the task of all of them.
        ("seconds", pa.float64()),
        ("peak_mebibytes", pa.float64()),  # peak memory of the process after training the part, maximum over folds
        ("versions", pa.string()),
        ("created", pa.string()),
        ("command", pa.string()),
        ("notes", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, kw_only=True)
class FinishedTask:
    """A finished task, read from its folder."""

    folder: Path
    facts: Mapping[str, Any]
    results: Mapping[str, Any]

    @property
    def files(self) -> FoldFiles:
        return FoldFiles(self.folder / f"fold-{self.facts['fold']}")

    @property
    def words(self) -> str:
        """The kind of words that it was trained on."""
        return self.results["words"]["trained"]

    def read_record(self, stage: str) -> Mapping[str, Any]:
        return read_json(self.files.get_record(stage), "stage")

    def read_results(self, words: str) -> Mapping[str, Any]:
        """Read results.json of a test on these words."""
        return read_json(get_file(RESULTS_FILE, self.folder, words, self.words), "run's scores")

    def read_predictions(self, words: str) -> pa.Table:
        return pq.read_table(get_file(PREDICTIONS_FILE, self.folder, words, self.words))


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All finished folds of one system under one protocol with one seed."""

    system: str
    protocol: str
    seed: int
    tasks: tuple[FinishedTask, ...]

    def restrict_to_words(self, words: str) -> "Experiment | None":
        """Select the folds that are scored on these words; None if there are none."""
        tasks = tuple(task for task in self.tasks if words in task.facts["tested"])
        return replace(self, tasks=tasks) if tasks else None

    @property
    def fold_names(self) -> frozenset[str]:
        return frozenset(task.facts["fold"] for task in self.tasks)

    def read_predictions(self, words: str) -> pa.Table:
        return pa.concat_tables([task.read_predictions(words) for task in self.tasks])

    def compute_validation_loss(self, stage: str) -> float | None:
        """Average the loss of a part's best epoch over the folds; None for parts that are not trained."""
        if stage not in STAGE_NAMES:
            return None
        return mean(min(row["validation_loss"] for row in task.read_record(stage)["epochs"]) for task in self.tasks)

    def collect_notes(self, words: str) -> list[str]:
        """Collect the notes on its scores on these words."""
        of = self.tasks[0].facts["folds"]
        found = dict.fromkeys(note for task in self.tasks for note in task.read_results(words)["notes"])
        # Notes on the number of folds and conversations are wrong for several tasks together.
        of_one_fold = [
            note for note in found if note in note_missing_folds(1, of) or note.startswith(FEW_CONVERSATIONS_NOTE)
        ]
        conversations = len(self.read_predictions(words)["conversation_id"].unique())
        return [
            *(note for note in found if note not in of_one_fold),
            *note_missing_folds(len(self.tasks), of),
            *note_conversation_count(conversations),
        ]


def find_experiments(runs: Path, words_hash: str | None = None) -> list[Experiment]:
    """Find every system, protocol and seed with a finished fold.

    Args:
        words_hash: hash of the corpus's current recognised words; scores on other ones are left out
    """
    groups: dict[tuple[str, str, int], list[FinishedTask]] = {}
    for path in sorted(runs.glob(f"*/*/{TASK_FILE}")):
        facts = read_json(path, "task")
        if facts["words_hash"] is not None and facts["words_hash"] != words_hash:
            facts = {**facts, "tested": [words for words in facts["tested"] if words != RECOGNISED]}
        if not facts["tested"]:
            continue
        results = read_json(path.parent / RESULTS_FILE, "run's scores")
        done = FinishedTask(folder=path.parent, facts=facts, results=results)
        groups.setdefault((facts["system"], facts["protocol"], facts["seed"]), []).append(done)
    return [
        Experiment(system=system, protocol=protocol, seed=seed, tasks=tuple(tasks))
        for (system, protocol, seed), tasks in groups.items()
    ]


def build_ledger(experiments: Sequence[Experiment]) -> pa.Table:
    """Build the ledger of all experiments."""
    rows = [row for experiment in experiments for row in iter_ledger_rows(experiment)]
    return pa.Table.from_pylist(rows, schema=LEDGER_SCHEMA)


def iter_ledger_rows(experiment: Experiment) -> Iterator[dict[str, Any]]:
    classes = experiment.tasks[0].results["label_set"]["classes"]
    for words in WORDS:
        tested = experiment.restrict_to_words(words)
        if tested is None:
            continue
        by_fold = {task.facts["fold"]: replace(tested, tasks=(task,)) for task in tested.tasks}
        for part in score_predictions(tested.read_predictions(words), classes, stages=PART_NAMES, seed=0).scores:
            facts = build_columns(tested, part.stage, words)
            yield from iter_measures(part.pooled, facts | {"fold": POOLED, "folds": len(by_fold)})
            for fold, scores in part.folds.items():
                yield from iter_measures(
                    scores, build_columns(by_fold[fold], part.stage, words) | {"fold": fold, "folds": 1}
                )


def iter_measures(scores: Scores, facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for each measure."""
    size = {"utterances": scores.utterances, "conversations": scores.conversations}
    for metric in MEASURES:
        yield {**facts, **size, **build_number(metric, getattr(scores, metric))}


def build_columns(experiment: Experiment, part: str, words: str) -> dict[str, Any]:
    """Build the columns shared by all numbers of a part of an experiment tested on these words."""
    tasks, first = experiment.tasks, experiment.tasks[0].results
    recognition = tasks[0].read_results(words)["words"]["recognition"]
    return {
        "system": experiment.system,
        "part": part,
        "words_in_training": tasks[0].words,
        "words_in_test": words,
        "corpus_word_error_rate": recognition and recognition["errors"]["wer"],
        "protocol": experiment.protocol,
        "seed": experiment.seed,
        "validation_loss": experiment.compute_validation_loss(part),
        "label_set": f"{first['label_set']['name']} v{first['label_set']['version']}",
        "corpus_hash": first["corpus"]["table_hash"],
        "fold_hashes": [task.facts["fold_hash"] for task in tasks],
        **compute_cost(experiment, part),
        "versions": "; ".join(
            dict.fromkeys(", ".join(map(" ".join, task.results["versions"].items())) for task in tasks)
        ),
        "created": max(task.results["created"] for task in tasks),
        "command": hide_folders(tasks[0].facts["command"]),  # an older moodline wrote absolute paths
        "notes": experiment.collect_notes(words),
    }


def compute_cost(experiment: Experiment, part: str) -> dict[str, float | None]:
    """Sum the cost of training a part and its inputs; for a classical baseline, of the task of all baselines."""
    tasks, trained = experiment.tasks, list_stages(part)
    if part == MAJORITY:
        return {"seconds": None, "peak_mebibytes": None}
    if trained:
        records = [task.read_record(stage) for task in tasks for stage in trained]
        seconds, peaks = sum(one["seconds"] for one in records), [one["peak_mebibytes"] for one in records]
    else:
        seconds, peaks = sum(task.facts["seconds"] for task in tasks), [task.facts["peak_mebibytes"] for task in tasks]
    return {"seconds": seconds, "peak_mebibytes": None if None in peaks else max(peaks)}


def list_stages(part: str) -> list[str]:
    """List the stages that a part consists of, itself included; empty for a baseline."""
    if part not in STAGE_NAMES:
        return []
    read = [one for source in STAGE_INPUTS.get(part, ()) for one in list_stages(source)]
    return sorted({part, *read}, key=list(STAGE_NAMES).index)


def write_ledger(table: pa.Table, out: Path) -> None:
    with open_atomic_file(out / LEDGER_FILE) as temporary:
        pq.write_table(table, temporary)


def refuse_other_corpus(out: Path, corpus_hash: str) -> None:
    """Refuse an output folder whose ledger has another corpus.

    Raises:
        MoodlineError: the hashes differ
    """
    for experiment in find_experiments(out / RUNS_FOLDER):
        for task in experiment.tasks:
            if (found := task.results["corpus"]["table_hash"]) != corpus_hash:
                raise MoodlineError(
                    f"the ledger has another corpus: {out} has scores of a corpus with hash {found}, and the hash of "
                    f"this one is {corpus_hash}; choose another -o",
                    code="experiment.other_corpus",
                )
