"""The plan of an experiment: a task per system, fold and seed, the stages that tasks share, and estimated durations."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE, Recipe
from moodline.conversation import LabelSet, find_label_set
from moodline.corpora.corpus import Corpus
from moodline.corpora.folds import Fold, TrainingSets
from moodline.corpora.protocols import build_folds, choose_fold
from moodline.corpora.storage import RECOGNISED, REFERENCE
from moodline.device import CPU, move
from moodline.errors import MoodlineError
from moodline.experiments.systems import CLASSICAL_NAME, System
from moodline.experiments.tables import PaperTable
from moodline.modeling import text_encoder
from moodline.modeling.batching import build_length_batches
from moodline.modeling.model import ENCODER_BY_STAGE, build_stage
from moodline.modeling.text_encoder import load_bert
from moodline.training.dataset import (
    Batch,
    StageData,
    build_conversation_data,
    build_token_data,
    build_waveform_data,
    collate_items,
)
from moodline.training.lightning_module import compute_conversation_loss
from moodline.training.provenance import STAGE_INPUTS, compute_origins, hash_origin
from moodline.training.trainer import Hardware

# In the output folder.
RUNS_FOLDER = "runs"


@dataclass(frozen=True, kw_only=True)
class ExperimentTask:
    """One fold of one system with one seed, in a run of its own, so that tasks do not lock each other's folders.

    Args:
        folds: number of folds of the protocol
        corpus_hash: hash of the corpus's table
        origins: hash of the inputs of each stage, by stage
        made_from: hash of everything that determines its models
        test_words: kinds of words on which it is scored
        words_hash: hash of the corpus's recognised words; None if it reads none
    """

    system: System
    protocol: str
    fold: Fold
    folds: int
    seed: int
    corpus_hash: str
    origins: dict[str, str]
    made_from: str
    test_words: tuple[str, ...]
    words_hash: str | None

    @property
    def name(self) -> str:
        # A run has one kind of words: another set of recognised words has its own runs.
        words = f"-words{self.words_hash}" if self.system.words == RECOGNISED else ""
        return f"{self.system.name}/{self.protocol}-seed{self.seed}-fold{self.fold.name}{words}"

    @property
    def facts(self) -> dict[str, Any]:
        """Describe what its scores depend on, for task.json."""
        return {
            "system": self.system.name,
            "protocol": self.protocol,
            "fold": self.fold.name,
            "fold_hash": self.fold.hash,
            "folds": self.folds,
            "seed": self.seed,
            "corpus_hash": self.corpus_hash,
            "made_from": self.made_from,
            "tested": list(self.test_words),
            "words_hash": self.words_hash,
        }

    def get_run_folder(self, out: Path) -> Path:
        return out / RUNS_FOLDER / self.name


@dataclass(frozen=True, kw_only=True)
class ExperimentPlan:
    """Tasks in starting order; the first task that needs a stage trains it for all."""

    tasks: tuple[ExperimentTask, ...]

    @cached_property
    def owners(self) -> dict[str, ExperimentTask]:
        """The task that trains each stage, by the hash of the stage's origin."""
        found: dict[str, ExperimentTask] = {}
        for task in self.tasks:
            for origin in task.origins.values():
                found.setdefault(origin, task)
        return found

    def list_own_stages(self, task: ExperimentTask) -> list[str]:
        """List the stages that a task trains itself."""
        return [stage for stage, origin in task.origins.items() if self.owners[origin] is task]

    def find_dependencies(self, task: ExperimentTask) -> set[str]:
        """Find the names of the tasks whose stages it reuses."""
        return {self.owners[origin].name for origin in task.origins.values()} - {task.name}


def build_plan(
    tables: Sequence[PaperTable],
    corpus: Corpus,
    seeds: int,
    fold: str | None = None,
    words_hash: str | None = None,
) -> ExperimentPlan:
    """Plan all tasks of some tables, the first seed and the systems with most stages first.

    Args:
        fold: name of the one fold to train of each protocol; None for all
        words_hash: hash of the corpus's recognised words; None if no table reads them

    Raises:
        MoodlineError: the corpus does not fit a protocol, the protocol lacks the fold, or BERT cannot be read
    """
    tested: dict[tuple[System, str], set[str]] = {}
    for table in tables:
        for row in table.rows:
            tested.setdefault((row.system, table.protocol), set()).add(row.words)
    folds = {
        protocol: build_tested_folds(corpus, protocol) for protocol in dict.fromkeys(table.protocol for table in tables)
    }
    fingerprint = cache(text_encoder.fingerprint_model)  # hundreds of tasks share the same files
    tasks = (
        build_task(
            system,
            protocol,
            one,
            system.recipe.seed + number,
            corpus.table_hash,
            fingerprint(system.recipe.text_utterance.bert) if TEXT_UTTERANCE in system.recipe.stages else "",
            folds=len(folds[protocol]),
            # Includes the training words: results.json has the scores on those.
            tested=tuple(sorted(words | {system.words})),
            words_hash=words_hash if RECOGNISED in words | {system.words} else None,
        )
        for number in range(seeds)
        for (system, protocol), words in tested.items()
        for one in choose_fold(folds[protocol], fold)
        if number == 0 or system.name != CLASSICAL_NAME  # the classical baselines are deterministic
    )
    # Systems with more stages first: they train the stages that the others reuse.
    return ExperimentPlan(tasks=tuple(sorted(tasks, key=lambda task: (task.seed, -len(task.origins)))))


def build_tested_folds(corpus: Corpus, protocol: str) -> tuple[Fold, ...]:
    """Build all folds of a protocol, each with a test set.

    Raises:
        MoodlineError: the corpus does not fit the protocol, or the protocol has no test set; the error names the
            option, because the protocol may be a default
    """
    try:
        folds = build_folds(corpus, protocol)
    except MoodlineError as error:
        raise MoodlineError(f"{error} (option: --protocols, such as --protocols kfold5)", code=error.code) from error
    if not all(one.test for one in folds):
        raise MoodlineError(
            f"protocol {protocol} has no test set, and the tables score test sets; choose others, such as "
            "--protocols kfold5",
            code="experiment.no_test_set",
        )
    return folds


def build_task(
    system: System,
    protocol: str,
    fold: Fold,
    seed: int,
    corpus_hash: str,
    bert_files: str,
    *,
    folds: int = 1,
    tested: tuple[str, ...] = (REFERENCE,),
    words_hash: str | None = None,
) -> ExperimentTask:
    """Build a task with the hashes of its stages' inputs."""
    recipe = replace(system.recipe, seed=seed)
    system = replace(system, recipe=recipe)
    labels, precision = find_label_set(recipe.label_set), Hardware().precision
    recognised = words_hash if system.words == RECOGNISED else None
    origins = compute_origins(recipe, labels, corpus_hash, fold.training_hash, {}, bert_files, precision, recognised)
    return ExperimentTask(
        system=system,
        protocol=protocol,
        fold=fold,
        folds=folds,
        seed=seed,
        corpus_hash=corpus_hash,
        origins={stage: hash_origin(origins[stage]) for stage in system.stages},
        made_from=hash_origin(origins),
        test_words=tested,
        words_hash=words_hash,
    )


# Batches of a stage that are timed, after one that warms up.
MEASURED_BATCHES = 3


class StepRate(NamedTuple):
    """Seconds per unit of padded length of a training step, and of the forward pass alone."""

    step: float
    forward: float


class DurationProbe:
    """Estimates durations of tasks on a device; stages with the same configuration are timed once."""

    def __init__(self, device: torch.device = CPU) -> None:
        self.device = device
        self._rates: dict[str, StepRate] = {}

    def estimate_seconds(self, task: ExperimentTask, stages: Sequence[str]) -> float:
        """Estimate the duration of training these stages for all their epochs and of embedding the sets once."""
        recipe = task.system.recipe
        labels = find_label_set(recipe.label_set)
        sets = task.fold.get_training_sets(labels, recipe.context)
        return sum(self._estimate_stage_seconds(stage, recipe, sets, labels) for stage in stages)

    def _estimate_stage_seconds(self, stage: str, recipe: Recipe, sets: TrainingSets, labels: LabelSet) -> float:
        bert, data = build_stage_data(stage, recipe, sets, labels)
        lengths = (data.train_lengths, data.validation_lengths)
        train, validation = (count_units(build_batches(stage, recipe, of_set), of_set) for of_set in lengths)
        key = f"{stage} {asdict(getattr(recipe, stage))} {get_input_sizes(stage, recipe)}"
        if key not in self._rates:
            part = build_stage(stage, recipe, len(labels.classes), bert).to(self.device)
            self._rates[key] = measure_rate(part, stage, recipe, data, self.device)
        rate = self._rates[key]
        once = rate.forward * (train + validation)
        return recipe.get_training_config(stage).epochs * (rate.step * train + rate.forward * validation) + once


def get_input_sizes(stage: str, recipe: Recipe) -> list[int]:
    """Return the sizes of the embeddings that a stage reads."""
    if stage in ENCODER_BY_STAGE:
        return [getattr(recipe, ENCODER_BY_STAGE[stage]).embedding]
    return [2 * recipe.get_context_config(source).hidden for source in STAGE_INPUTS.get(stage, ())]


def build_stage_data(
    stage: str, recipe: Recipe, sets: TrainingSets, labels: LabelSet
) -> tuple[nn.Module | None, StageData]:
    """Build a stage's data, with BERT for the text encoder; embeddings that do not exist yet are noise."""
    if stage == AUDIO_UTTERANCE:
        return None, build_waveform_data(sets.train, sets.validation, recipe, labels)
    if stage == TEXT_UTTERANCE:
        bert, tokenizer = load_bert(recipe.text_utterance.bert, recipe.text_utterance.maximum_tokens)
        return bert, build_token_data(sets.train, sets.validation, tokenizer, labels)
    everyone = (*sets.train, *sets.validation)
    ids = [turn.id for one in everyone for turn in one.utterances]
    sequences = [{name: torch.randn(size) for name in ids} for size in get_input_sizes(stage, recipe)]
    return None, build_conversation_data(sets.train, sets.validation, sequences, labels)


def build_batches(stage: str, recipe: Recipe, lengths: Sequence[float]) -> list[list[int]]:
    """Batch utterances or conversations by length, as training does."""
    maximum = recipe.audio_utterance.batch_seconds if stage == AUDIO_UTTERANCE else float("inf")
    return build_length_batches(lengths, batch_size=recipe.get_training_config(stage).batch_size, maximum_total=maximum)


def count_units(batches: Sequence[Sequence[int]], lengths: Sequence[float]) -> float:
    """Count the units of padded length of all batches, to which the duration of a pass is proportional."""
    return sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)


def measure_rate(part: nn.Module, stage: str, recipe: Recipe, data: StageData, device: torch.device) -> StepRate:
    """Time a part on a device over batches from the shortest to the longest."""
    batches = build_batches(stage, recipe, data.train_lengths)
    chosen = [batches[(2 * at + 1) * len(batches) // (2 * MEASURED_BATCHES)] for at in range(MEASURED_BATCHES)]
    inputs = [move(collate_items([data.train[index] for index in batch]), device) for batch in (chosen[0], *chosen)]
    optimiser = torch.optim.AdamW(part.parameters())

    def step(batch: Batch) -> Tensor:
        optimiser.zero_grad()
        loss = compute_conversation_loss(part(*batch.inputs).logits, batch.labels, None)
        loss.backward()
        optimiser.step()
        return loss.detach()

    @torch.inference_mode()
    def forward(batch: Batch) -> Tensor:
        return part(*batch.inputs).logits

    total = count_units(chosen, data.train_lengths)
    return StepRate(*(time_batches(compute, inputs) / total for compute in (step, forward)))


def time_batches(compute: Callable[[Batch], Tensor], batches: Sequence[Batch]) -> float:
    """Time all batches in seconds except the first, which warms up."""
    compute(batches[0]).cpu()
    started = time.perf_counter()
    for batch in batches[1:]:
        compute(batch).cpu()  # waits for a GPU, which computes asynchronously
    return time.perf_counter() - started
