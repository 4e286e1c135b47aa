"""What is to be trained for some tables: a task for each system, fold and seed, and what tasks share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from moodline.config import TEXT_UTTERANCE
from moodline.corpora.corpus import Corpus
from moodline.corpora.fold import Fold
from moodline.corpora.protocol import choose_fold, folds_of
from moodline.corpora.recognition import RECOGNISED, REFERENCE
from moodline.errors import MoodlineError
from moodline.labels import label_set_of
from moodline.reproduction.systems import CLASSICAL, System
from moodline.reproduction.tables import Table
from moodline.text.pretrained import fingerprint_of
from moodline.training.origin import hash_of, origins_of
from moodline.training.stage import Hardware

# In DIR.
RUNS_FOLDER = "runs"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One fold of one system with one seed: a run of its own, so that tasks do not wait for one another's folders.

    Args:
        folds: how many the protocol has
        corpus_hash: of the corpus's table
        origins: hashes of what its stages are made from, by stage
        made_from: a hash of all that its numbers are a function of, tests aside
        tested: the kinds of words that it is scored on
        words_hash: of the corpus's recognised words, where it reads them
    """

    system: System
    protocol: str
    fold: Fold
    folds: int
    seed: int
    corpus_hash: str
    origins: dict[str, str]
    made_from: str
    tested: tuple[str, ...]
    words_hash: str | None

    @property
    def name(self) -> str:
        # A run is of one kind of words: other recognised ones have runs of their own.
        heard = f"-words{self.words_hash}" if self.system.words == RECOGNISED else ""
        return f"{self.system.name}/{self.protocol}-seed{self.seed}-fold{self.fold.name}{heard}"

    @property
    def facts(self) -> dict[str, Any]:
        """What its numbers are of."""
        return {
            "system": self.system.name,
            "protocol": self.protocol,
            "fold": self.fold.name,
            "fold_hash": self.fold.hash,
            "folds": self.folds,
            "seed": self.seed,
            "corpus_hash": self.corpus_hash,
            "made_from": self.made_from,
            "tested": list(self.tested),
            "words_hash": self.words_hash,
        }

    def run_folder(self, out: Path) -> Path:
        return out / RUNS_FOLDER / self.name


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Tasks in the order in which they are begun, and the first to need each stage, which trains it for all."""

    tasks: tuple[Task, ...]

    @cached_property
    def owners(self) -> dict[str, Task]:
        """By the hash of a stage's origin."""
        found: dict[str, Task] = {}
        for task in self.tasks:
            for origin in task.origins.values():
                found.setdefault(origin, task)
        return found

    def own_stages(self, task: Task) -> list[str]:
        """The stages that a task trains itself."""
        return [stage for stage, origin in task.origins.items() if self.owners[origin] is task]

    def awaits(self, task: Task) -> set[str]:
        """The names of the tasks whose stages it takes over."""
        return {self.owners[origin].name for origin in task.origins.values()} - {task.name}


def plan_of(
    tables: Sequence[Table],
    corpus: Corpus,
    seeds: int,
    fold: str | None = None,
    words_hash: str | None = None,
) -> Plan:
    """All tasks of some tables; those of the tables' base system and of the first seed come first.

    Args:
        fold: the name of the one fold that is trained of each protocol; None for all
        words_hash: of the corpus's recognised words, where a table reads them

    Raises:
        MoodlineError: the corpus does not serve a protocol, it has no such fold, or BERT's files cannot be read
    """
    tested: dict[tuple[System, str], set[str]] = {}
    for table in tables:
        for row in table.rows:
            tested.setdefault((row.system, table.protocol), set()).add(row.words)
    folds = {protocol: tested_folds(corpus, protocol) for protocol in dict.fromkeys(table.protocol for table in tables)}
    tasks = (
        task_of(
            system,
            protocol,
            one,
            system.recipe.seed + number,
            corpus.table_hash,
            folds=len(folds[protocol]),
            # The words that it reads in training are among them: results.json is of those.
            tested=tuple(sorted(words | {system.words})),
            words_hash=words_hash if RECOGNISED in words | {system.words} else None,
        )
        for number in range(seeds)
        for (system, protocol), words in tested.items()
        for one in choose_fold(folds[protocol], fold)
        if number == 0 or system.name != CLASSICAL  # of which nothing is random
    )
    return Plan(tasks=in_order(tasks))


def tested_folds(corpus: Corpus, protocol: str) -> tuple[Fold, ...]:
    """All folds of a protocol, each with a test set.

    Raises:
        MoodlineError: the corpus does not serve the protocol, or it has no test set; names the option, as nobody need
            have typed the protocol
    """
    try:
        folds = folds_of(corpus, protocol)
    except MoodlineError as error:
        raise MoodlineError(f"{error} (the option is --protocols, as --protocols kfold5)") from error
    if not all(one.test for one in folds):
        raise MoodlineError(
            f"tables are of test sets, and protocol {protocol} has none: choose others, as --protocols kfold5"
        )
    return folds


def in_order(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Systems with more stages first: they train what the others take over."""
    return tuple(sorted(tasks, key=lambda task: (task.seed, -len(task.origins))))


def task_of(
    system: System,
    protocol: str,
    fold: Fold,
    seed: int,
    corpus_hash: str,
    *,
    folds: int = 1,
    tested: tuple[str, ...] = (REFERENCE,),
    words_hash: str | None = None,
) -> Task:
    recipe = replace(system.recipe, seed=seed)
    system = replace(system, recipe=recipe)
    bert_files = fingerprint_of(recipe.text_utterance.bert) if TEXT_UTTERANCE in recipe.stages else ""
    labels, precision = label_set_of(recipe.label_set), Hardware().precision
    recognised = words_hash if system.words == RECOGNISED else None
    origins = origins_of(recipe, labels, corpus_hash, fold.training_hash, {}, bert_files, precision, recognised)
    return Task(
        system=system,
        protocol=protocol,
        fold=fold,
        folds=folds,
        seed=seed,
        corpus_hash=corpus_hash,
        origins={stage: hash_of(origins[stage]) for stage in system.stages},
        made_from=hash_of(origins),
        tested=tested,
        words_hash=words_hash,
    )
