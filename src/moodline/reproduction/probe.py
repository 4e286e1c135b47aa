"""How long a plan takes, from some batches of each of its stages: measured on this machine, before anything trains."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import NamedTuple

import torch
from torch import Tensor, nn

from moodline.batching import length_batches
from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE, Recipe
from moodline.conversation import Conversation, LabelSet
from moodline.corpora.fold import TrainingSets
from moodline.labels import label_set_of
from moodline.model import ENCODER_OF, build_stage
from moodline.reproduction.plan import Task
from moodline.text.pretrained import load_bert
from moodline.training.data import Batch, StageData, collate, conversation_data, token_data, waveform_data
from moodline.training.losses import conversation_loss
from moodline.training.origin import READS

# Batches of a stage that are measured, beside one that warms up.
MEASURED = 3


class Rate(NamedTuple):
    """Seconds for a unit of padded length, of a step of training and of the forward pass alone."""

    step: float
    forward: float


class Probe:
    """Estimates tasks; what stages of one kind have in common is measured once."""

    def __init__(self) -> None:
        self._rates: dict[str, Rate] = {}

    def seconds_of(self, task: Task, stages: Sequence[str]) -> float:
        """Of training these stages of a task for all their epochs, and of what their part makes of the sets."""
        recipe = task.system.recipe
        labels = label_set_of(recipe.label_set)
        sets = task.fold.training_sets(labels, recipe.context)
        return sum(self._seconds_of_stage(stage, recipe, sets, labels) for stage in stages)

    def _seconds_of_stage(self, stage: str, recipe: Recipe, sets: TrainingSets, labels: LabelSet) -> float:
        bert, data = stage_data(stage, recipe, sets, labels)
        lengths = (data.train_lengths, data.validation_lengths)
        train, validation = (units(batches_of(stage, recipe, of_set), of_set) for of_set in lengths)
        key = f"{stage} {asdict(getattr(recipe, stage))} {inputs_of(stage, recipe)}"
        if key not in self._rates:
            self._rates[key] = measured(build_stage(stage, recipe, len(labels.classes), bert), stage, recipe, data)
        rate = self._rates[key]
        once = rate.forward * (train + validation)
        return recipe.training_of(stage).epochs * (rate.step * train + rate.forward * validation) + once


def inputs_of(stage: str, recipe: Recipe) -> list[int]:
    """The sizes of the embeddings that a stage reads."""
    if stage in ENCODER_OF:
        return [getattr(recipe, ENCODER_OF[stage]).embedding]
    return [2 * recipe.context_of(source).hidden for source in READS.get(stage, ())]


def stage_data(stage: str, recipe: Recipe, sets: TrainingSets, labels: LabelSet) -> tuple[nn.Module | None, StageData]:
    """BERT, for the stage that has it, and what the stage reads; embeddings that are not there yet are noise."""
    if stage == AUDIO_UTTERANCE:
        return None, waveform_data(sets.train, sets.validation, recipe, labels)
    if stage == TEXT_UTTERANCE:
        bert, tokenizer = load_bert(recipe.text_utterance.bert, recipe.text_utterance.maximum_tokens)
        return bert, token_data(sets.train, sets.validation, tokenizer, labels)
    everyone = (*sets.train, *sets.validation)
    sequences = [noise(everyone, size) for size in inputs_of(stage, recipe)]
    return None, conversation_data(sets.train, sets.validation, sequences, labels)


def noise(conversations: Sequence[Conversation], size: int) -> dict[str, Tensor]:
    """Embeddings (E,) by utterance id."""
    return {turn.id: torch.randn(size) for one in conversations for turn in one.utterances}


def batches_of(stage: str, recipe: Recipe, lengths: Sequence[float]) -> list[list[int]]:
    most = recipe.audio_utterance.batch_seconds if stage == AUDIO_UTTERANCE else float("inf")
    return length_batches(lengths, batch_size=recipe.training_of(stage).batch_size, maximum_total=most)


def units(batches: Sequence[Sequence[int]], lengths: Sequence[float]) -> float:
    """Of padded length: what a pass over the batches is proportional to."""
    return sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)


def measured(part: nn.Module, stage: str, recipe: Recipe, data: StageData) -> Rate:
    """Passes over batches from the shortest to the longest."""
    batches = batches_of(stage, recipe, data.train_lengths)
    chosen = [batches[(2 * at + 1) * len(batches) // (2 * MEASURED)] for at in range(MEASURED)]
    inputs = [collate([data.train[index] for index in batch]) for batch in (chosen[0], *chosen)]
    optimiser = torch.optim.AdamW(part.parameters())

    def step(batch: Batch) -> None:
        optimiser.zero_grad()
        conversation_loss(part(*batch.inputs).logits, batch.labels, None).backward()
        optimiser.step()

    @torch.inference_mode()
    def forward(batch: Batch) -> None:
        part(*batch.inputs)

    total = units(chosen, data.train_lengths)
    return Rate(*(timed(work, inputs) / total for work in (step, forward)))


def timed(work: Callable[[Batch], None], batches: Sequence[Batch]) -> float:
    """Seconds of all batches but the first, which warms up."""
    work(batches[0])
    started = time.perf_counter()
    for batch in batches[1:]:
        work(batch)
    return time.perf_counter() - started
