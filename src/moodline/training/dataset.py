"""Build each stage's training data: batches of utterances or conversations, in an order drawn per epoch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from moodline.config import AUDIO_UTTERANCE, FUSION, TEXT_UTTERANCE, Modalities, Recipe
from moodline.conversation import AudioClip, Conversation, LabelSet, Utterance
from moodline.corpora.corpus import Corpus
from moodline.errors import MoodlineError
from moodline.inference.encode import (
    WaveformReader,
    find_present,
    mask_modalities,
    measure_length,
    pad_waveform,
    read_waveform,
    tokenize_utterances,
)
from moodline.modeling.batching import pad_sequences
from moodline.modeling.text_encoder import Tokenizer
from moodline.runtime import create_generator, end_with_parent


def change_speed(waveform: Tensor, speed: float) -> Tensor:
    """Change speed and pitch of a waveform (T,) by linear interpolation -> (T / speed,)."""
    places = torch.arange(0, len(waveform) - 1, speed, dtype=torch.float64)
    before = places.long().clamp(max=len(waveform) - 2)  # rounding may put the last place on the last sample
    share = (places - before).to(waveform.dtype)
    return torch.lerp(waveform[before], waveform[before + 1], share)


UNSCORED = -100  # label of an utterance without a class, and of padding


class Batch(NamedTuple):
    """Hold a part's padded sequences, lengths, masks if any; and labels (B, 1) or (B, S), UNSCORED where unknown."""

    inputs: tuple[Tensor, ...]
    labels: Tensor


class Item(NamedTuple):
    """Hold a batch's row: the part's sequences (T, ...), its label () or labels (S,), and masks (T,) of sequences."""

    sequences: tuple[Tensor, ...]
    labels: Tensor
    masks: tuple[Tensor, ...] = ()


def collate_items(items: Sequence[Item]) -> Batch:
    padded = [pad_sequences(sequences) for sequences in zip(*(item.sequences for item in items), strict=True)]
    masks = [pad_sequences(masks)[0] for masks in zip(*(item.masks for item in items), strict=True)]
    labels = torch.nn.utils.rnn.pad_sequence(
        [item.labels.view(-1) for item in items], batch_first=True, padding_value=UNSCORED
    )
    lengths = padded[0][1]
    return Batch((*(values for values, _ in padded), lengths, *masks), labels)


class Items(Dataset[Item]):
    """Reads rows of batches; random choices depend on seed, epoch and row alone, never on a generator's state."""

    epoch = 0

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitems__(self, batch: tuple[int, Sequence[int]]) -> list[Item] | MoodlineError:
        """Return a batch's rows, by the epoch and their indices; or the error of a row that cannot be read.

        The error is returned, not raised: DataLoader would add the worker's traceback to its sentence.
        """
        self.epoch, indices = batch
        try:
            return [self[index] for index in indices]
        except MoodlineError as error:
            return error


class WaveformCache:
    """Reads waveforms and keeps the first that fit into ``maximum_bytes``.

    Nothing is evicted: an epoch reads every waveform once, and the least recent is needed next.
    """

    def __init__(self, maximum_bytes: int) -> None:
        self.maximum_bytes = maximum_bytes
        self.clear()

    def clear(self) -> None:
        self.kept: dict[tuple[AudioClip | None, int], Tensor] = {}
        self.free = self.maximum_bytes

    def __call__(self, utterance: Utterance, sample_rate: int) -> Tensor:
        """Return the utterance's waveform (T,), see ``read_waveform``."""
        key = utterance.audio, sample_rate
        if key not in self.kept:
            waveform = read_waveform(utterance, sample_rate)
            if waveform.nbytes > self.free:
                return waveform
            self.kept[key] = waveform
            self.free -= waveform.nbytes
        return self.kept[key]


class WaveformItems(Items):
    """Reads labelled utterances' waveforms on demand.

    Args:
        train: draw speed and place in the padding anew in each epoch
        sound: reads the waveform (T,) of an utterance at a sample rate
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        labels: Tensor,
        recipe: Recipe,
        *,
        train: bool,
        sound: WaveformReader = read_waveform,
    ) -> None:
        self.utterances, self.labels, self.sound = utterances, labels, sound
        self.config, self.seed, self.train = recipe.audio_utterance, recipe.seed, train

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> Item:
        utterance = self.utterances[index]
        samples = self.sound(utterance, self.config.sample_rate)
        if not self.train:
            return Item((pad_waveform(samples, self.config),), self.labels[index])
        if change := self.config.speed_change:
            samples = change_speed(samples, self.create_generator("speed", utterance).uniform(1 - change, 1 + change))
        place = self.create_generator("place", utterance).random()
        return Item((pad_waveform(samples, self.config, place),), self.labels[index])

    def create_generator(self, what: str, utterance: Utterance) -> np.random.Generator:
        return create_generator(self.seed, AUDIO_UTTERANCE, what, self.epoch, utterance.id)


class CachedItems(Items):
    """Keeps small items in memory: token ids, or embeddings of conversations."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]


class EpochBatches(Sampler[tuple[int, list[int]]]):
    """Yields one epoch's batches, or one process's share of them, each with the epoch's number."""

    def __init__(self) -> None:
        self.epoch = 0
        self.batches: Sequence[list[int]] = []

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        return iter([(self.epoch, batch) for batch in self.batches])

    def __len__(self) -> int:
        return len(self.batches)


class BatchLoader(DataLoader[Any]):
    """Reads batches epoch by epoch, in this process or in workers that it keeps between epochs.

    Neither an epoch's weights nor its batches depend on the number of workers, or on how often Lightning creates an
    iterator, which differs between an unbroken and a resumed run: each creation draws a number, here from a generator
    of the loader's own.

    Args:
        items: rows to read
        workers: processes that read; 0 reads in this process
    """

    def __init__(self, items: Items, workers: int = 0) -> None:
        self.chosen = EpochBatches()
        super().__init__(
            items,
            batch_sampler=self.chosen,  # pyright: ignore[reportArgumentType]
            collate_fn=collate_read,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=begin_worker,
            generator=torch.Generator(),
        )

    def select_epoch(self, epoch: int, batches: Sequence[list[int]]) -> "BatchLoader":
        """Set the batches of an epoch, as lists of indices, and return this loader."""
        self.chosen.epoch, self.chosen.batches = epoch, batches
        return self

    def __iter__(self) -> Iterator[Batch]:  # pyright: ignore[reportIncompatibleMethodOverride]
        for batch in super().__iter__():
            if isinstance(batch, MoodlineError):
                raise batch
            yield batch


def collate_read(items: Sequence[Item] | MoodlineError) -> Batch | MoodlineError:
    return items if isinstance(items, MoodlineError) else collate_items(items)


def begin_worker(number: int) -> None:
    """End a worker when the training process is killed: it inherits the lock of the run's folder."""
    end_with_parent()


def take_share(batches: Sequence[list[int]], rank: int, processes: int) -> list[list[int]]:
    """Select one process's rows of every batch; the first row of a batch that is smaller than the processes' number."""
    return [batch[rank::processes] or batch[:1] for batch in batches]


def compute_share_weight(batch: Sequence[int], rank: int, processes: int) -> float:
    """Compute the weight of a process's mean over its rows in the mean over processes."""
    return len(batch[rank::processes]) * processes / len(batch)


class StageData(NamedTuple):
    """Hold the items of a stage's training and validation sets, and each item's length."""

    train: Items
    train_lengths: Sequence[float]
    validation: Items
    validation_lengths: Sequence[float]


def select_scored(conversations: Sequence[Conversation], label_set: LabelSet) -> tuple[list[Utterance], Tensor]:
    """Select the utterances that have a class -> utterances, classes (N,)."""
    pairs = [
        (utterance, index)
        for conversation in conversations
        for utterance in conversation.utterances
        if (index := label_set.index(utterance.label)) is not None
    ]
    return [utterance for utterance, _ in pairs], torch.tensor([index for _, index in pairs], dtype=torch.long)


def get_labels(conversation: Conversation, label_set: LabelSet) -> Tensor:
    """Return the classes (S,) of a conversation's utterances, UNSCORED for those without."""
    indices = [label_set.index(utterance.label) for utterance in conversation.utterances]
    return torch.tensor([UNSCORED if index is None else index for index in indices])


def refuse_missing_audio(conversations: Iterable[Conversation]) -> None:
    """Refuse to train the audio encoder on utterances without audio.

    Raises:
        MoodlineError: utterances have no audio
    """
    silent = list(dict.fromkeys(turn.id for one in conversations for turn in one.utterances if turn.audio is None))
    if silent:
        raise MoodlineError(
            f"{silent[0]} has no audio, one of {len(silent)} such utterances. Train with --modalities text, or give "
            "--audio-embeddings FILE.",
            code="corpus.missing_audio",
        )


def refuse_unlabelled(corpus: Corpus) -> None:
    """Refuse to train on a corpus without labels.

    Raises:
        MoodlineError: no utterance of the corpus has one
    """
    if not corpus.label_counts:
        raise MoodlineError(
            f"the corpus {corpus.source} has none at all of the labels that training needs: prepare it again from a "
            "source with labels (a table has them in the column label)",
            code="corpus.no_labels",
        )


def refuse_unread_words(recipe: Recipe, corpus: Corpus) -> None:
    """Refuse recognised words for a system that reads no words.

    Raises:
        MoodlineError: the corpus has recognised words, and no part of the recipe reads them
    """
    if corpus.recognition is not None and TEXT_UTTERANCE not in recipe.stages:
        how = "--modalities audio" if recipe.modalities == "audio" else "embeddings in the place of text_utterance"
        raise MoodlineError(
            f"--words {corpus.words} has no effect: it needs a system that reads words, and this one has {how}",
            code="option.unread_words",
        )


def build_waveform_data(
    train: Sequence[Conversation],
    validation: Sequence[Conversation],
    recipe: Recipe,
    label_set: LabelSet,
    sound: WaveformReader = read_waveform,
) -> StageData:
    sets = []
    for conversations, trains in ((train, True), (validation, False)):
        utterances, labels = select_scored(conversations, label_set)
        items = WaveformItems(utterances, labels, recipe, train=trains, sound=sound)
        sets += [items, [measure_length(AUDIO_UTTERANCE, utterance, recipe) for utterance in utterances]]
    return StageData(*sets)


def build_token_data(
    train: Sequence[Conversation], validation: Sequence[Conversation], tokenizer: Tokenizer, label_set: LabelSet
) -> StageData:
    sets = []
    for conversations in (train, validation):
        utterances, labels = select_scored(conversations, label_set)
        tokens = tokenize_utterances(utterances, tokenizer)
        sets += [CachedItems([Item((ids,), label) for ids, label in zip(tokens, labels, strict=True)])]
        sets += [[len(ids) for ids in tokens]]
    return StageData(*sets)


def has_class(conversation: Conversation, label_set: LabelSet) -> bool:
    """Return whether any utterance of a conversation has a class."""
    return any(label_set.index(utterance.label) is not None for utterance in conversation.utterances)


def build_conversation_item(
    conversation: Conversation, embeddings: Sequence[Mapping[str, Tensor]], label_set: LabelSet
) -> Item:
    """Build a conversation's sequences of embeddings: one mapping, utterance id -> (D,), for each sequence read."""
    ids = [utterance.id for utterance in conversation.utterances]
    sequences = tuple(torch.stack([each[one] for one in ids]) for each in embeddings)
    return Item(sequences, get_labels(conversation, label_set))


def build_conversation_data(
    train: Sequence[Conversation],
    validation: Sequence[Conversation],
    embeddings: Sequence[Mapping[str, Tensor]],
    label_set: LabelSet,
) -> StageData:
    """Build conversations' sequences of embeddings: one mapping, utterance id -> (D,), for each sequence read."""
    sets = []
    for conversations in (train, validation):
        items = [
            build_conversation_item(one, embeddings, label_set) for one in conversations if has_class(one, label_set)
        ]
        sets += [CachedItems(items), [len(item.labels) for item in items]]
    return StageData(*sets)


Embeddings = Mapping[str, Tensor]


class FusionItems(Items):
    """Holds conversations as sequences of both modalities' contextual embeddings, with masks of presence.

    Args:
        conversations: each with at least one class
        read: modalities of each; None draws them anew in each epoch, see ``draw_modalities``
    """

    def __init__(
        self,
        conversations: Sequence[Conversation],
        read: Sequence[Modalities | None],
        embeddings: Sequence[Embeddings],
        recipe: Recipe,
        label_set: LabelSet,
    ) -> None:
        self.conversations, self.read, self.recipe = conversations, read, recipe
        self.items = [build_conversation_item(one, embeddings, label_set) for one in conversations]
        self.present = [find_present(one.utterances, recipe) for one in conversations]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        present = self.present[index]
        modalities = self.read[index] or draw_modalities(self.recipe, self.epoch, self.conversations[index])
        masks = tuple(mask_modalities(present, modalities).values())
        nothing = not any(mask.any() for mask in masks)
        return self.items[index]._replace(masks=tuple(present.values()) if nothing else masks)

    @property
    def lengths(self) -> list[int]:
        return [len(item.labels) for item in self.items]


def draw_modalities(recipe: Recipe, epoch: int, conversation: Conversation) -> Modalities:
    """Draw a conversation's modalities in an epoch, from the seed, the epoch and its id."""
    share = recipe.fusion.modality_dropout
    drawn = create_generator(recipe.seed, FUSION, "modalities", epoch, conversation.id).random()
    if drawn >= share:
        return "both"
    return "text" if drawn < share / 2 else "audio"


def build_fusion_data(
    train: Sequence[Conversation],
    validation: Sequence[Conversation],
    embeddings: Sequence[Embeddings],
    recipe: Recipe,
    label_set: LabelSet,
) -> StageData:
    """Build the fusion's data: modalities are drawn in training; all supported modes select the epoch.

    The validation set is read once in each mode, which gives each mode the same weight in the loss. Conversations
    without input in a mode are left out.
    """
    modes = recipe.fusion.supported_modalities
    drawn: Sequence[Modalities | None] = [None] if len(modes) > 1 else modes
    sets = []
    for conversations, ways in ((train, drawn), (validation, modes)):
        pairs: list[tuple[Conversation, Modalities | None]] = [
            (one, way)
            for way in ways
            for one in conversations
            if has_class(one, label_set)
            and any(
                mask.any() for mask in mask_modalities(find_present(one.utterances, recipe), way or "both").values()
            )
        ]
        items = FusionItems([one for one, _ in pairs], [way for _, way in pairs], embeddings, recipe, label_set)
        sets += [items, items.lengths]
    return StageData(*sets)
