"""The ledger: a row for each number, with all that it depends on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.config import STAGES
from moodline.errors import MoodlineError
from moodline.evaluation.evaluate import PREDICTIONS_FILE, RESULTS_FILE
from moodline.evaluation.results import Estimate, Scores
from moodline.evaluation.scores import MAJORITY, score
from moodline.files import atomic_file, read_json
from moodline.reproduction.plan import RUNS_FOLDER
from moodline.reproduction.work import TASK_FILE
from moodline.training.origin import READS

LEDGER_FILE = "ledger.parquet"
POOLED = "pooled"
MEASURES = ("wa", "ua", "weighted_f1")
SCHEMA = pa.schema(
    [
        ("system", pa.string()),
        ("part", pa.string()),
        ("protocol", pa.string()),
        ("fold", pa.string()),  # a fold's name, or pooled over all folds
        ("seed", pa.int64()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),  # of the 95 % interval; none over one conversation
        ("high", pa.float64()),
        ("utterances", pa.int64()),
        ("conversations", pa.int64()),
        ("folds", pa.int64()),  # how many the value is pooled over
        ("validation_loss", pa.float64()),  # of the part's best epoch, the mean over the folds
        ("label_set", pa.string()),
        ("corpus_hash", pa.string()),
        ("fold_hashes", pa.list_(pa.string())),
        ("seconds", pa.float64()),  # of training the part and what it reads, on all folds
        ("peak_mebibytes", pa.float64()),  # of the most expensive task
        ("versions", pa.string()),
        ("created", pa.string()),
        ("command", pa.string()),
        ("notes", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Done:
    """A task that is done, as its folder tells."""

    folder: Path
    facts: Mapping[str, Any]
    results: Mapping[str, Any]

    @property
    def fold_folder(self) -> Path:
        return self.folder / f"fold-{self.facts['fold']}"

    def record(self, stage: str) -> Mapping[str, Any]:
        return read_json(self.fold_folder / "stages" / f"{stage}.json", "stage")

    def predictions(self) -> pa.Table:
        return pq.read_table(self.folder / PREDICTIONS_FILE)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One system under one protocol with one seed: all of its folds that are done."""

    system: str
    protocol: str
    seed: int
    tasks: tuple[Done, ...]

    def predictions(self) -> pa.Table:
        return pa.concat_tables([task.predictions() for task in self.tasks])

    def validation_loss(self, stage: str) -> float:
        """Of a trained part's best epoch, the mean over the folds."""
        return mean(min(row["validation_loss"] for row in task.record(stage)["epochs"]) for task in self.tasks)


def experiments_in(runs: Path) -> list[Experiment]:
    """Every system, protocol and seed of which a fold is done."""
    groups: dict[tuple[str, str, int], list[Done]] = {}
    for path in sorted(runs.glob(f"*/*/{TASK_FILE}")):
        facts = read_json(path, "task")
        results = read_json(path.parent / RESULTS_FILE, "run's scores")
        done = Done(folder=path.parent, facts=facts, results=results)
        groups.setdefault((facts["system"], facts["protocol"], facts["seed"]), []).append(done)
    return [
        Experiment(system=system, protocol=protocol, seed=seed, tasks=tuple(tasks))
        for (system, protocol, seed), tasks in groups.items()
    ]


def ledger_of(experiments: Sequence[Experiment]) -> pa.Table:
    """All numbers of all experiments."""
    rows = [row for experiment in experiments for row in rows_of(experiment)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def rows_of(experiment: Experiment) -> Iterator[dict[str, Any]]:
    first = experiment.tasks[0].results
    evaluation = score(experiment.predictions(), first["label_set"]["classes"], seed=0)
    for stage in evaluation.scores:
        facts = facts_of(experiment, stage.stage)
        yield from numbers(stage.pooled, facts | {"fold": POOLED, "folds": len(experiment.tasks)})
        for fold, scores in stage.folds.items():
            yield from numbers(scores, facts | {"fold": fold, "folds": 1})


def numbers(scores: Scores, facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each measure."""
    size = {"utterances": scores.utterances, "conversations": scores.conversations}
    for metric in MEASURES:
        estimate: Estimate = getattr(scores, metric)
        low, high = estimate.interval or (None, None)
        yield {**facts, **size, "metric": metric, "value": estimate.value, "low": low, "high": high}


def facts_of(experiment: Experiment, stage: str) -> dict[str, Any]:
    """What all numbers of a part of an experiment have in common."""
    tasks, first = experiment.tasks, experiment.tasks[0].results
    trained = stages_of(stage)
    return {
        "system": experiment.system,
        "part": stage,
        "protocol": experiment.protocol,
        "seed": experiment.seed,
        "validation_loss": experiment.validation_loss(stage) if trained else None,
        "label_set": f"{first['label_set']['name']} v{first['label_set']['version']}",
        "corpus_hash": first["corpus"]["table_hash"],
        "fold_hashes": [task.facts["fold_hash"] for task in tasks],
        "seconds": sum(task.record(one)["seconds"] for task in tasks for one in trained),
        "peak_mebibytes": max(task.facts["peak_mebibytes"] for task in tasks),
        "versions": ", ".join(f"{name} {version}" for name, version in first["versions"].items()),
        "created": max(task.results["created"] for task in tasks),
        "command": tasks[0].facts["command"],
        "notes": sorted({note for task in tasks for note in task.results["notes"]}),
    }


def stages_of(stage: str) -> list[str]:
    """A part and all that it reads; none for a baseline that trains nothing."""
    if stage == MAJORITY:
        return []
    read = [one for source in READS.get(stage, ()) for one in stages_of(source)]
    return sorted({stage, *read}, key=STAGES.index)


def write_ledger(table: pa.Table, out: Path) -> None:
    with atomic_file(out / LEDGER_FILE) as temporary:
        pq.write_table(table, temporary)


def refuse_other_corpus(out: Path, corpus_hash: str) -> None:
    """Refuse to go on in a folder whose ledger is of another corpus.

    Raises:
        MoodlineError: names the two corpora by their hashes
    """
    for experiment in experiments_in(out / RUNS_FOLDER):
        for task in experiment.tasks:
            if (found := task.results["corpus"]["table_hash"]) != corpus_hash:
                raise MoodlineError(
                    f"a ledger is of one corpus: {out} has numbers of a corpus with hash {found}, and this one has "
                    f"{corpus_hash}; choose another -o"
                )
