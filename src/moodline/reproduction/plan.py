"""What is to be trained for some tables: a task for each system, fold and seed, and what tasks share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from moodline.config import TEXT_UTTERANCE
from moodline.corpora.corpus import Corpus
from moodline.corpora.fold import Fold
from moodline.corpora.protocol import choose_fold, folds_of
from moodline.labels import label_set_of
from moodline.reproduction.systems import System
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
        origins: hashes of what its stages are made from, by stage
    """

    system: System
    protocol: str
    fold: Fold
    seed: int
    origins: dict[str, str]

    @property
    def name(self) -> str:
        return f"{self.system.name}/{self.protocol}-seed{self.seed}-fold{self.fold.name}"

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


def plan_of(tables: Sequence[Table], corpus: Corpus, seeds: int, fold: str | None = None) -> Plan:
    """All tasks of some tables; those of the tables' base system and of the first seed come first.

    Args:
        fold: the name of the one fold that is trained of each protocol; None for all

    Raises:
        MoodlineError: the corpus does not serve a protocol, it has no such fold, or BERT's files cannot be read
    """
    wanted = dict.fromkeys((row.system, table.protocol) for table in tables for row in table.rows)
    chosen = {
        protocol: choose_fold(folds_of(corpus, protocol), fold)
        for protocol in dict.fromkeys(protocol for _, protocol in wanted)
    }
    tasks = (
        task_of(system, protocol, one, system.recipe.seed + number)
        for number in range(seeds)
        for system, protocol in wanted
        for one in chosen[protocol]
    )
    return Plan(tasks=in_order(tasks))


def in_order(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Systems with more stages first: they train what the others take over."""
    return tuple(sorted(tasks, key=lambda task: (task.seed, -len(task.origins))))


def task_of(system: System, protocol: str, fold: Fold, seed: int) -> Task:
    recipe = replace(system.recipe, seed=seed)
    system = replace(system, recipe=recipe)
    bert_files = fingerprint_of(recipe.text_utterance.bert) if TEXT_UTTERANCE in recipe.stages else ""
    labels, precision = label_set_of(recipe.label_set), Hardware().precision
    origins = origins_of(recipe, labels, fold.training_hash, {}, bert_files, precision)
    return Task(
        system=system,
        protocol=protocol,
        fold=fold,
        seed=seed,
        origins={stage: hash_of(origin) for stage, origin in origins.items()},
    )
