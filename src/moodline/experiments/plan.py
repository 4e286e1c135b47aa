"""What is trained for some tables: a task per system, fold and seed, what tasks share, and how long they take."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE, Recipe
from moodline.conversation import Conversation, LabelSet, find_label_set
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

# In DIR.
RUNS_FOLDER = "runs"


@dataclass(frozen=True, kw_only=True)
class ExperimentTask:
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
    test_words: tuple[str, ...]
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
            "tested": list(self.test_words),
            "words_hash": self.words_hash,
        }

    def get_run_folder(self, out: Path) -> Path:
        return out / RUNS_FOLDER / self.name


@dataclass(frozen=True, kw_only=True)
class ExperimentPlan:
    """Tasks in the order in which they are begun, and the first to need each stage, which trains it for all."""

    tasks: tuple[ExperimentTask, ...]

    @cached_property
    def owners(self) -> dict[str, ExperimentTask]:
        """By the hash of a stage's origin."""
        found: dict[str, ExperimentTask] = {}
        for task in self.tasks:
            for origin in task.origins.values():
                found.setdefault(origin, task)
        return found

    def list_own_stages(self, task: ExperimentTask) -> list[str]:
        """The stages that a task trains itself."""
        return [stage for stage, origin in task.origins.items() if self.owners[origin] is task]

    def find_dependencies(self, task: ExperimentTask) -> set[str]:
        """The names of the tasks whose stages it takes over."""
        return {self.owners[origin].name for origin in task.origins.values()} - {task.name}


def build_plan(
    tables: Sequence[PaperTable],
    corpus: Corpus,
    seeds: int,
    fold: str | None = None,
    words_hash: str | None = None,
) -> ExperimentPlan:
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
    folds = {
        protocol: build_tested_folds(corpus, protocol) for protocol in dict.fromkeys(table.protocol for table in tables)
    }
    fingerprint_of = cache(
        text_encoder.fingerprint_model
    )  # the files hold for the whole plan: hundreds of tasks share them
    tasks = (
        build_task(
            system,
            protocol,
            one,
            system.recipe.seed + number,
            corpus.table_hash,
            fingerprint_of(system.recipe.text_utterance.bert) if TEXT_UTTERANCE in system.recipe.stages else "",
            folds=len(folds[protocol]),
            # The words that it reads in training are among them: results.json is of those.
            tested=tuple(sorted(words | {system.words})),
            words_hash=words_hash if RECOGNISED in words | {system.words} else None,
        )
        for number in range(seeds)
        for (system, protocol), words in tested.items()
        for one in choose_fold(folds[protocol], fold)
        if number == 0 or system.name != CLASSICAL_NAME  # of which nothing is random
    )
    return ExperimentPlan(tasks=sort_tasks(tasks))


def build_tested_folds(corpus: Corpus, protocol: str) -> tuple[Fold, ...]:
    """All folds of a protocol, each with a test set.

    Raises:
        MoodlineError: the corpus does not serve the protocol, or it has no test set; names the option, as nobody need
            have typed the protocol
    """
    try:
        folds = build_folds(corpus, protocol)
    except MoodlineError as error:
        raise MoodlineError(f"{error} (the option is --protocols, as --protocols kfold5)") from error
    if not all(one.test for one in folds):
        raise MoodlineError(
            f"tables are of test sets, and protocol {protocol} has none: choose others, as --protocols kfold5"
        )
    return folds


def sort_tasks(tasks: Iterable[ExperimentTask]) -> tuple[ExperimentTask, ...]:
    """Systems with more stages first: they train what the others take over."""
    return tuple(sorted(tasks, key=lambda task: (task.seed, -len(task.origins))))


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


# Batches of a stage that are measured, beside one that warms up.
MEASURED_BATCHES = 3


class StepRate(NamedTuple):
    """Seconds for a unit of padded length, of a step of training and of the forward pass alone."""

    step: float
    forward: float


class DurationProbe:
    """Estimates tasks on a device; what stages of one kind have in common is measured once."""

    def __init__(self, device: torch.device = CPU) -> None:
        self.device = device
        self._rates: dict[str, StepRate] = {}

    def estimate_seconds(self, task: ExperimentTask, stages: Sequence[str]) -> float:
        """Of training these stages of a task for all their epochs, and of what their part makes of the sets."""
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
    """The sizes of the embeddings that a stage reads."""
    if stage in ENCODER_BY_STAGE:
        return [getattr(recipe, ENCODER_BY_STAGE[stage]).embedding]
    return [2 * recipe.get_context_config(source).hidden for source in STAGE_INPUTS.get(stage, ())]


def build_stage_data(
    stage: str, recipe: Recipe, sets: TrainingSets, labels: LabelSet
) -> tuple[nn.Module | None, StageData]:
    """BERT, for the stage that has it, and what the stage reads; embeddings that are not there yet are noise."""
    if stage == AUDIO_UTTERANCE:
        return None, build_waveform_data(sets.train, sets.validation, recipe, labels)
    if stage == TEXT_UTTERANCE:
        bert, tokenizer = load_bert(recipe.text_utterance.bert, recipe.text_utterance.maximum_tokens)
        return bert, build_token_data(sets.train, sets.validation, tokenizer, labels)
    everyone = (*sets.train, *sets.validation)
    sequences = [draw_embeddings(everyone, size) for size in get_input_sizes(stage, recipe)]
    return None, build_conversation_data(sets.train, sets.validation, sequences, labels)


def draw_embeddings(conversations: Sequence[Conversation], size: int) -> dict[str, Tensor]:
    """Embeddings (E,) by utterance id."""
    return {turn.id: torch.randn(size) for one in conversations for turn in one.utterances}


def build_batches(stage: str, recipe: Recipe, lengths: Sequence[float]) -> list[list[int]]:
    most = recipe.audio_utterance.batch_seconds if stage == AUDIO_UTTERANCE else float("inf")
    return build_length_batches(lengths, batch_size=recipe.get_training_config(stage).batch_size, maximum_total=most)


def count_units(batches: Sequence[Sequence[int]], lengths: Sequence[float]) -> float:
    """Of padded length: what a pass over the batches is proportional to."""
    return sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)


def measure_rate(part: nn.Module, stage: str, recipe: Recipe, data: StageData, device: torch.device) -> StepRate:
    """Time passes over batches, from the shortest to the longest, by a part on this device."""
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
    return StepRate(*(time_batches(work, inputs) / total for work in (step, forward)))


def time_batches(work: Callable[[Batch], Tensor], batches: Sequence[Batch]) -> float:
    """Seconds of all batches but the first, which warms up."""
    work(batches[0]).cpu()
    started = time.perf_counter()
    for batch in batches[1:]:
        work(batch).cpu()  # a GPU works on while the clock is read, unless its result is waited for
    return time.perf_counter() - started
