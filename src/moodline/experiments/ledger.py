"""The ledger: one row per number, with everything that it depends on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.config import STAGE_INPUTS, STAGE_NAMES
from moodline.corpora.storage import RECOGNISED, WORDS
from moodline.errors import MoodlineError
from moodline.evaluation.results import note_missing_folds
from moodline.evaluation.scores import FEW_CONVERSATIONS_NOTE, MAJORITY, note_conversation_count, score_predictions
from moodline.experiments.comparisons import MEASURES, PartPredictions, build_number, build_schema, collect_predictions
from moodline.experiments.paper_tables import PART_NAMES
from moodline.experiments.tasks import RUNS_FOLDER, TASK_FILE, hide_folders
from moodline.io import open_atomic_file, read_json
from moodline.training.run import PREDICTIONS_FILE, RESULTS_FILE, FoldFiles, get_file

LEDGER_FILE = "ledger.parquet"
POOLED = "pooled"  # in the column fold: over all folds
LEDGER_SCHEMA = build_schema(
    ("system part words_in_training words_in_test", pa.string()),
    ("corpus_word_error_rate", pa.float64()),  # of the test's words, over the whole corpus; null for reference words
    ("protocol fold", pa.string()),
    ("seed", pa.int64()),
    ("metric", pa.string()),
    ("value low high", pa.float64()),  # with the bounds of the 95 % interval; null for one conversation
    ("utterances conversations folds", pa.int64()),
    ("validation_loss", pa.float64()),  # of the part's best epoch, averaged over folds
    ("label_set corpus_hash", pa.string()),
    ("fold_hashes", pa.list_(pa.string())),
    # Of training the part and its inputs: the sum over folds, and the highest peak of a process. A classical baseline
    # has those of the task of all of them.
    ("seconds peak_mebibytes", pa.float64()),
    ("versions created command", pa.string()),
    ("notes", pa.list_(pa.string())),
)


class FinishedTask(NamedTuple):
    """A task scored on one kind of words, read from its folder."""

    facts: Mapping[str, Any]
    results: Mapping[str, Any]
    predictions: Path
    records: Mapping[str, Mapping[str, Any]]  # by stage


@dataclass(frozen=True)
class Experiment:
    """All finished folds of one system under one protocol with one seed, scored on one kind of words."""

    system: str
    protocol: str
    seed: int
    words: str
    tasks: Sequence[FinishedTask]

    @property
    def fold_names(self) -> frozenset[str]:
        return frozenset(task.facts["fold"] for task in self.tasks)

    @property
    def classes(self) -> Sequence[str]:
        return self.tasks[0].results["label_set"]["classes"]

    def read_predictions(self) -> pa.Table:
        return pa.concat_tables([pq.read_table(task.predictions) for task in self.tasks])

    def collect_predictions(self, part: str) -> PartPredictions:
        return collect_predictions(self.read_predictions(), part, self.classes)

    def compute_validation_loss(self, stage: str) -> float | None:
        """Average the loss of a part's best epoch over the folds; None for parts that are not trained."""
        if stage not in STAGE_NAMES:
            return None
        return mean(min(row["validation_loss"] for row in task.records[stage]["epochs"]) for task in self.tasks)

    def collect_notes(self) -> list[str]:
        of = self.tasks[0].facts["folds"]
        found = dict.fromkeys(note for task in self.tasks for note in task.results["notes"])
        # Notes on the number of folds and conversations are wrong for several tasks together.
        own = [note for note in found if not note.startswith(FEW_CONVERSATIONS_NOTE)]
        return [
            *(note for note in own if note not in note_missing_folds(1, of)),
            *note_missing_folds(len(self.tasks), of),
            *note_conversation_count(len(self.read_predictions()["conversation_id"].unique())),
        ]

    def compute_cost(self, part: str) -> dict[str, float | None]:
        """Sum the cost of training a part and its inputs; for a classical baseline, of the task of all baselines."""
        if part == MAJORITY:
            return {}
        records = [task.records[stage] for task in self.tasks for stage in list_stages(part)]
        costs = records or [task.facts for task in self.tasks]
        peaks = [one["peak_mebibytes"] for one in costs]
        seconds = sum(one["seconds"] for one in costs)
        return {"seconds": seconds, "peak_mebibytes": None if None in peaks else max(peaks)}


def list_stages(part: str) -> list[str]:
    """List the stages that a part consists of, itself included; empty for a baseline."""
    read = {one for source in STAGE_INPUTS.get(part, ()) for one in list_stages(source)}
    return [stage for stage in STAGE_NAMES if stage == part or stage in read]


def find_experiments(out: Path, words_hash: str | None = None) -> list[Experiment]:
    """Find all systems, protocols, seeds and words with a finished fold, without scores on former recognised words."""
    groups: dict[tuple[str, str, int, str], list[FinishedTask]] = {}
    for path in sorted((out / RUNS_FOLDER).glob(f"*/*/{TASK_FILE}")):
        facts, folder = read_json(path, "task"), path.parent
        trained = read_json(folder / RESULTS_FILE, "run's scores")["words"]["trained"]
        stages = {stage: FoldFiles(folder / f"fold-{facts['fold']}").get_record(stage) for stage in STAGE_NAMES}
        records = {stage: read_json(file, "stage") for stage, file in stages.items() if file.is_file()}
        for words in WORDS:
            is_former = words == RECOGNISED and facts["words_hash"] not in (None, words_hash)
            if words in facts["tested"] and not is_former:
                results = read_json(get_file(RESULTS_FILE, folder, words, trained), "run's scores")
                predictions = get_file(PREDICTIONS_FILE, folder, words, trained)
                key = (facts["system"], facts["protocol"], facts["seed"], words)
                groups.setdefault(key, []).append(FinishedTask(facts, results, predictions, records))
    return [Experiment(*key, tasks) for key, tasks in groups.items()]


def write_ledger(experiments: Sequence[Experiment], out: Path) -> pa.Table:
    """Write the ledger of all experiments, and return it."""
    rows = [row for experiment in experiments for row in iter_ledger_rows(experiment)]
    table = pa.Table.from_pylist(rows, schema=LEDGER_SCHEMA)
    with open_atomic_file(out / LEDGER_FILE) as temporary:
        pq.write_table(table, temporary)
    return table


def iter_ledger_rows(experiment: Experiment) -> Iterator[dict[str, Any]]:
    by_fold = {task.facts["fold"]: replace(experiment, tasks=[task]) for task in experiment.tasks}
    predictions = experiment.read_predictions()
    for part in score_predictions(predictions, experiment.classes, stages=PART_NAMES, seed=0).scores:
        numbers = [(POOLED, experiment, part.pooled), *((fold, by_fold[fold], one) for fold, one in part.folds.items())]
        for fold, of, scores in numbers:
            size = {"utterances": scores.utterances, "conversations": scores.conversations, "folds": len(of.tasks)}
            facts = {**build_columns(of, part.stage), "fold": fold, **size}
            for metric in MEASURES:
                yield {**facts, **build_number(metric, getattr(scores, metric))}


def build_columns(experiment: Experiment, part: str) -> dict[str, Any]:
    """Build the columns shared by all numbers of a part of an experiment."""
    tasks, first = experiment.tasks, experiment.tasks[0].results
    recognition = first["words"]["recognition"]
    versions = [", ".join(map(" ".join, task.results["versions"].items())) for task in tasks]
    return {
        "system": experiment.system,
        "part": part,
        "words_in_training": first["words"]["trained"],
        "words_in_test": experiment.words,
        "corpus_word_error_rate": recognition and recognition["errors"]["wer"],
        "protocol": experiment.protocol,
        "seed": experiment.seed,
        "validation_loss": experiment.compute_validation_loss(part),
        "label_set": f"{first['label_set']['name']} v{first['label_set']['version']}",
        "corpus_hash": first["corpus"]["table_hash"],
        "fold_hashes": [task.facts["fold_hash"] for task in tasks],
        **experiment.compute_cost(part),
        "versions": "; ".join(dict.fromkeys(versions)),
        "created": max(task.results["created"] for task in tasks),
        "command": hide_folders(tasks[0].facts["command"]),  # an older moodline wrote absolute paths
        "notes": experiment.collect_notes(),
    }


def refuse_other_corpus(out: Path, corpus_hash: str) -> None:
    """Refuse an output folder whose ledger has another corpus."""
    for experiment in find_experiments(out):
        for task in experiment.tasks:
            if (found := task.results["corpus"]["table_hash"]) != corpus_hash:
                raise MoodlineError(
                    f"the ledger has another corpus: {out} has scores of a corpus with hash {found}, and the hash of "
                    f"this one is {corpus_hash}; choose another -o",
                    code="experiment.other_corpus",
                )
