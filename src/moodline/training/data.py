"""What each stage reads in training: batches of utterances or of conversations, in an order drawn per epoch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE, Recipe
from moodline.conversation import Conversation, LabelSet, Utterance
from moodline.corpora.corpus import Corpus
from moodline.errors import MoodlineError
from moodline.inference.inputs import encoder_length, padded, tokens_of, waveform_of
from moodline.padding import pad
from moodline.text.pretrained import Tokenizer
from moodline.training.augmentation import change_speed
from moodline.training.losses import UNSCORED
from moodline.training.randomness import generator_of


class Batch(NamedTuple):
    """A part's inputs: padded sequences, lengths, masks if any; and labels (B, 1) or (B, S), UNSCORED where unknown."""

    inputs: tuple[Tensor, ...]
    labels: Tensor


class Item(NamedTuple):
    """One row of a batch: the part's sequences (T, ...), its label () or labels (S,), and masks (T,) of sequences."""

    sequences: tuple[Tensor, ...]
    labels: Tensor
    masks: tuple[Tensor, ...] = ()


def collate(items: Sequence[Item]) -> Batch:
    padded = [pad(sequences) for sequences in zip(*(item.sequences for item in items), strict=True)]
    masks = [pad(masks)[0] for masks in zip(*(item.masks for item in items), strict=True)]
    labels = torch.nn.utils.rnn.pad_sequence(
        [item.labels.view(-1) for item in items], batch_first=True, padding_value=UNSCORED
    )
    lengths = padded[0][1]
    return Batch((*(values for values, _ in padded), lengths, *masks), labels)


class WaveformItems(Dataset[Item]):
    """Labelled utterances' waveforms, read when they are needed.

    Args:
        train: whether they train: their speed and their place in the padding are then drawn anew in each epoch
    """

    def __init__(self, utterances: Sequence[Utterance], labels: Tensor, recipe: Recipe, *, train: bool) -> None:
        self.utterances, self.labels = utterances, labels
        self.config, self.seed, self.train = recipe.audio_utterance, recipe.seed, train
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> Item:
        utterance = self.utterances[index]
        samples = waveform_of(utterance, self.config.sample_rate)
        if not self.train:
            return Item((padded(samples, self.config),), self.labels[index])
        if change := self.config.speed_change:
            samples = change_speed(samples, self.generator("speed", utterance).uniform(1 - change, 1 + change))
        place = self.generator("place", utterance).random()
        return Item((padded(samples, self.config, place),), self.labels[index])

    def generator(self, what: str, utterance: Utterance) -> np.random.Generator:
        return generator_of(self.seed, AUDIO_UTTERANCE, what, self.epoch, utterance.id)


class KeptItems(Dataset[Item]):
    """Items that are small enough to be kept: token ids, or embeddings of conversations."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]


class FixedBatches(Sampler[list[int]]):
    """The batches of one epoch, or one process's share of them."""

    def __init__(self, batches: Sequence[list[int]]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def share(batches: Sequence[list[int]], rank: int, processes: int) -> list[list[int]]:
    """One process's rows of every batch; where a batch has fewer rows than there are processes, its first."""
    return [batch[rank::processes] or batch[:1] for batch in batches]


def share_of_mean(batch: Sequence[int], rank: int, processes: int) -> float:
    """The weight of a process's mean over its rows in the batch's mean, where the processes are averaged."""
    return len(batch[rank::processes]) * processes / len(batch)


class StageData(NamedTuple):
    """Items of a stage's training and validation sets, and how long each item is."""

    train: Dataset[Item]
    train_lengths: Sequence[float]
    validation: Dataset[Item]
    validation_lengths: Sequence[float]


def scored_utterances(conversations: Sequence[Conversation], label_set: LabelSet) -> tuple[list[Utterance], Tensor]:
    """The utterances that have a class, and their classes (N,)."""
    pairs = [
        (utterance, index)
        for conversation in conversations
        for utterance in conversation.utterances
        if (index := label_set.index(utterance.label)) is not None
    ]
    return [utterance for utterance, _ in pairs], torch.tensor([index for _, index in pairs], dtype=torch.long)


def labels_of(conversation: Conversation, label_set: LabelSet) -> Tensor:
    """Classes (S,) of a conversation's turns, UNSCORED where there is none."""
    indices = [label_set.index(utterance.label) for utterance in conversation.utterances]
    return torch.tensor([UNSCORED if index is None else index for index in indices])


def refuse_silent(conversations: Iterable[Conversation]) -> None:
    """Refuse to train speech on utterances without audio.

    Raises:
        MoodlineError: names the first of them, and how many there are
    """
    silent = list(dict.fromkeys(turn.id for one in conversations for turn in one.utterances if turn.audio is None))
    if silent:
        raise MoodlineError(
            f"speech is trained on each utterance's audio, and {silent[0]} has none (of {len(silent)} without): train "
            "words alone with --modalities text, or give --audio-embeddings FILE"
        )


def refuse_unlabelled(corpus: Corpus) -> None:
    """Refuse to train on a corpus without labels: no label set or protocol would help.

    Raises:
        MoodlineError: no utterance of the corpus has one
    """
    if not corpus.label_counts:
        raise MoodlineError(
            f"training takes labels, and the corpus {corpus.source} has none at all: prepare it again from a source "
            "that has them (in a table, in the column label)"
        )


def refuse_unread_words(recipe: Recipe, corpus: Corpus) -> None:
    """Refuse recognised words where no part reads any.

    Raises:
        MoodlineError: so
    """
    if corpus.recognition is not None and TEXT_UTTERANCE not in recipe.stages:
        how = "--modalities audio" if recipe.modalities == "audio" else "embeddings in the place of text_utterance"
        raise MoodlineError(f"--words {corpus.words} is for a system that reads words, and this one has {how}")


def waveform_data(
    train: Sequence[Conversation], validation: Sequence[Conversation], recipe: Recipe, label_set: LabelSet
) -> StageData:
    sets = []
    for conversations, trains in ((train, True), (validation, False)):
        utterances, labels = scored_utterances(conversations, label_set)
        items = WaveformItems(utterances, labels, recipe, train=trains)
        sets += [items, [encoder_length(AUDIO_UTTERANCE, utterance, recipe) for utterance in utterances]]
    return StageData(*sets)


def token_data(
    train: Sequence[Conversation], validation: Sequence[Conversation], tokenizer: Tokenizer, label_set: LabelSet
) -> StageData:
    sets = []
    for conversations in (train, validation):
        utterances, labels = scored_utterances(conversations, label_set)
        tokens = tokens_of(utterances, tokenizer)
        sets += [KeptItems([Item((ids,), label) for ids, label in zip(tokens, labels, strict=True)])]
        sets += [[len(ids) for ids in tokens]]
    return StageData(*sets)


def has_class(conversation: Conversation, label_set: LabelSet) -> bool:
    """Whether any of its turns has one: without, it teaches nothing."""
    return any(label_set.index(utterance.label) is not None for utterance in conversation.utterances)


def conversation_item(
    conversation: Conversation, embeddings: Sequence[Mapping[str, Tensor]], label_set: LabelSet
) -> Item:
    """A conversation as sequences of embeddings: one mapping, utterance id -> (D,), for each sequence read."""
    ids = [utterance.id for utterance in conversation.utterances]
    sequences = tuple(torch.stack([each[one] for one in ids]) for each in embeddings)
    return Item(sequences, labels_of(conversation, label_set))


def conversation_data(
    train: Sequence[Conversation],
    validation: Sequence[Conversation],
    embeddings: Sequence[Mapping[str, Tensor]],
    label_set: LabelSet,
) -> StageData:
    """Conversations as sequences of frozen embeddings: one mapping, utterance id -> (D,), for each sequence read."""
    sets = []
    for conversations in (train, validation):
        items = [conversation_item(one, embeddings, label_set) for one in conversations if has_class(one, label_set)]
        sets += [KeptItems(items), [len(item.labels) for item in items]]
    return StageData(*sets)


def loader(dataset: Dataset[Item], batches: Sequence[list[int]]) -> DataLoader[Any]:
    """Gives Batches."""
    return DataLoader(dataset, batch_sampler=FixedBatches(batches), collate_fn=collate)
