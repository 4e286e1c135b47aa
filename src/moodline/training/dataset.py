"""Build each stage's training data: batches of utterances or conversations, in an order drawn per epoch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from moodline.config import AUDIO_UTTERANCE, FUSION, TEXT_UTTERANCE, Modalities, Recipe
from moodline.conversation import AudioClip, Conversation, LabelSet, Utterance
from moodline.corpora.corpus import TABLE_FILE, Corpus
from moodline.embeddings import Embeddings
from moodline.errors import MoodlineError, format_option
from moodline.inference.encode import (
    Turn,
    WaveformReader,
    find_last_change,
    find_masks,
    hash_audio,
    list_turns,
    mask_modalities,
    measure_length,
    name_features,
    read_waveform,
    tokenize_turns,
)
from moodline.inference.feature_store import FeatureStore
from moodline.modeling.as_released import ReleasedPadding
from moodline.modeling.batching import pad_sequences
from moodline.modeling.context import number_speakers
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
    """Hold a part's inputs (sequences, lengths, speakers, masks); and labels (B, 1) or (B, S), or UNSCORED."""

    inputs: tuple[Tensor, ...]
    labels: Tensor


class Item(NamedTuple):
    """Hold a batch's row: the part's sequences (T, ...), label () or labels (S,); speakers and masks (T,) if any."""

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
    """Reads rows of batches from memory; random choices depend on seed, epoch and row, never on a generator's state.

    Attributes:
        lengths: of the rows, in the unit of a batch's maximal length
    """

    epoch = 0
    lengths: Sequence[float]

    def __init__(self, rows: Sequence[Item]) -> None:
        self.rows, self.lengths = rows, [len(row.sequences[0]) for row in rows]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Item:
        return self.rows[index]

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
        sample_rate: of the encoder, in Hz; None for the recipe's
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        labels: Tensor,
        recipe: Recipe,
        *,
        train: bool,
        sample_rate: int | None = None,
        sound: WaveformReader = read_waveform,
    ) -> None:
        self.utterances, self.labels, self.sound = utterances, labels, sound
        self.config, self.seed, self.train = recipe.audio_utterance, recipe.seed, train
        self.sample_rate = sample_rate or self.config.sample_rate
        self.lengths = [measure_length(AUDIO_UTTERANCE, utterance, recipe) for utterance in utterances]

    def __getitem__(self, index: int) -> Item:
        samples, place = self.sound(self.utterances[index], self.sample_rate), 0.0
        if self.train:
            if change := self.config.speed_change:
                samples = change_speed(samples, self.create_generator("speed", index).uniform(1 - change, 1 + change))
            place = self.create_generator("place", index).random()
        if self.config.pads_as_released:
            samples = ReleasedPadding(round(self.config.padded_seconds * self.sample_rate))(samples, place)
        return Item((samples,), self.labels[index])

    def create_generator(self, what: str, index: int) -> np.random.Generator:
        return create_generator(self.seed, AUDIO_UTTERANCE, what, self.epoch, self.utterances[index].id)


class FeatureItems(Items):
    """Reads labelled utterances' features of a frozen encoder from the disk."""

    def __init__(self, store: FeatureStore, names: Sequence[str], labels: Tensor) -> None:
        self.store, self.names, self.labels = store, names, labels
        self.lengths = [store.get_size(name) for name in names]

    def __getitem__(self, index: int) -> Item:
        return Item((self.store[self.names[index]],), self.labels[index])


class BatchLoader(DataLoader[Any]):
    """Reads batches epoch by epoch, in workers that it keeps between epochs or, with 0 of them, in this process.

    Neither an epoch's weights nor its batches depend on the number of workers, or on how often Lightning creates an
    iterator, which differs between an unbroken and a resumed run: each creation draws a number, here from a generator
    of the loader's own.
    """

    def __init__(self, items: Items, workers: int = 0) -> None:
        self.batches: list[tuple[int, list[int]]] = []  # of an epoch, each with the epoch's number
        super().__init__(
            items,
            batch_sampler=self.batches,  # pyright: ignore[reportArgumentType]
            collate_fn=collate_read,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=begin_worker,
            generator=torch.Generator(),
        )

    def select_epoch(self, epoch: int, batches: Sequence[list[int]]) -> "BatchLoader":
        """Set the batches of an epoch, as lists of indices, and return this loader."""
        self.batches[:] = [(epoch, batch) for batch in batches]
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


def take_share(batch: Sequence[int], rank: int, processes: int) -> tuple[list[int], float]:
    """Select one process's rows of a batch, and the weight of their mean in the mean over processes.

    A process without rows takes part in the step with the first one, and weight 0.
    """
    rows = list(batch[rank::processes])
    return rows or [batch[0]], len(rows) * processes / len(batch)


class StageData(NamedTuple):
    """Hold the items of a stage's training and validation sets."""

    train: Items
    validation: Items


def select_scored(conversations: Sequence[Conversation], label_set: LabelSet) -> tuple[list[Utterance], Tensor]:
    """Select the utterances that have a class -> utterances, classes (N,)."""
    pairs = [
        (utterance, index)
        for conversation in conversations
        for utterance in conversation.utterances
        if (index := label_set.index(utterance.label)) is not None
    ]
    return [utterance for utterance, _ in pairs], torch.tensor([index for _, index in pairs], dtype=torch.long)


def build_feature_items(stage: str, turns: Sequence[Turn], store: FeatureStore, label_set: LabelSet) -> Items:
    """Build the items of the turns that have a class, from the features of a frozen encoder."""
    pairs = [(turn, index) for turn in turns if (index := label_set.index(turn.utterance.label)) is not None]
    names = name_features(stage, [turn for turn, _ in pairs])
    return FeatureItems(store, names, torch.tensor([index for _, index in pairs], dtype=torch.long))


def refuse_missing_audio(conversations: Iterable[Conversation]) -> None:
    """Refuse to train the audio encoder on utterances without audio."""
    silent = list(dict.fromkeys(turn.id for one in conversations for turn in one.utterances if turn.audio is None))
    if silent:
        raise MoodlineError(
            f"{silent[0]} has no audio, one of {len(silent)} such utterances. Train with "
            f"{format_option('modalities', 'text')}, or give --audio-embeddings FILE (in Python embeddings).",
            code="corpus.missing_audio",
        )


def refuse_changed_audio(recipe: Recipe, corpus: Corpus) -> None:
    """Refuse, for a system that reads audio, a corpus with audio that has changed since it was prepared.

    Only files that changed after the corpus's table was written are read.
    """
    if AUDIO_UTTERANCE not in recipe.stages or corpus.folder is None:
        return
    written = (corpus.folder / TABLE_FILE).stat().st_mtime_ns
    recorded = {turn.audio.path: turn.audio.file_hash for turn in corpus.utterances if turn.audio is not None}
    for path, expected in recorded.items():
        is_newer = path.is_file() and find_last_change(path.stat()) > written  # a missing one is reported when read
        if is_newer and expected is not None and hash_audio(path) != expected:
            raise MoodlineError(
                f"{path} has changed since the corpus {corpus.place} was prepared. Restore that file; or prepare the "
                "corpus again, and train a new run.",
                code="corpus.changed_audio",
            )


def refuse_unlabelled(corpus: Corpus) -> None:
    """Refuse to train on a corpus without labels."""
    if not corpus.label_counts:
        raise MoodlineError(
            f"the corpus {corpus.place} has no labels, which training needs: prepare it again from a source with "
            "labels (a table has them in the column label)",
            code="corpus.no_labels",
        )


def refuse_unread_words(recipe: Recipe, corpus: Corpus) -> None:
    """Refuse recognised words for a system that reads no words."""
    if corpus.recognition is not None and TEXT_UTTERANCE not in recipe.stages:
        how = "modalities audio" if recipe.modalities == "audio" else "embeddings instead of text_utterance"
        option = format_option("words", corpus.words)
        raise MoodlineError(
            f"{option} has no effect: it needs a system that reads words, and this one has {how}",
            code="option.unread_words",
        )


def build_token_items(
    conversations: Sequence[Conversation], tokenizer: Tokenizer, label_set: LabelSet, recipe: Recipe
) -> Items:
    """Build the items of the utterances that have a class: their token ids (T,), with context a mask of their own."""
    _, labels = select_scored(conversations, label_set)
    turns = [turn for one in conversations for turn in list_turns(one.utterances, recipe)]
    scored = [turn for turn in turns if label_set.index(turn.utterance.label) is not None]
    tokens, *masks = tokenize_turns(scored, recipe, tokenizer)
    rows = zip(tokens, labels, *masks, strict=True)
    return Items([Item((ids,), label, tuple(own)) for ids, label, *own in rows])


def build_conversation_items(
    conversations: Sequence[Conversation], embeddings: Sequence[Embeddings], label_set: LabelSet
) -> Items:
    """Build the items of the conversations with a class; ``embeddings`` has a mapping for each sequence of an item."""
    rows = [build_conversation_item(one, embeddings, label_set) for one in conversations if has_class(one, label_set)]
    return Items(rows)


def build_conversation_item(conversation: Conversation, embeddings: Sequence[Embeddings], label_set: LabelSet) -> Item:
    """Build a conversation's sequences of embeddings (S, D), its turns' classes (S,) or UNSCORED, and speakers (S,)."""
    sequences = tuple(torch.stack([each[turn.id] for turn in conversation.utterances]) for each in embeddings)
    indices = [label_set.index(turn.label) for turn in conversation.utterances]
    labels = torch.tensor([UNSCORED if index is None else index for index in indices])
    return Item(sequences, labels, (number_speakers([turn.speaker for turn in conversation.utterances]),))


def has_class(conversation: Conversation, label_set: LabelSet) -> bool:
    """Return whether any utterance of a conversation has a class."""
    return any(label_set.index(utterance.label) is not None for utterance in conversation.utterances)


class FusionItems(Items):
    """Holds conversations as sequences of both modalities' contextual embeddings, with masks of presence.

    A fusion with modality dropout draws the modalities of training anew in each epoch. It validates each conversation
    once in each supported mode, which gives each mode the same weight in the loss. Conversations without a class, or
    without input in a mode, are left out.
    """

    def __init__(
        self,
        conversations: Sequence[Conversation],
        embeddings: Sequence[Embeddings],
        recipe: Recipe,
        label_set: LabelSet,
        *,
        train: bool,
    ) -> None:
        modes = recipe.fusion.supported_modalities
        drawn: Sequence[Modalities | None] = [None] if train and len(modes) > 1 else modes
        self.recipe, self.read = recipe, []
        for mode in drawn:
            for one in (one for one in conversations if has_class(one, label_set)):
                present = find_masks(one.utterances, recipe, "both")[1]
                assert present is not None  # the recipe has modality dropout
                if has_input(mask_modalities(present, mode or "both")):
                    self.read.append((one, mode, present))
        super().__init__([build_conversation_item(one, embeddings, label_set) for one, *_ in self.read])

    def __getitem__(self, index: int) -> Item:
        conversation, mode, present = self.read[index]
        masks = mask_modalities(present, mode or draw_modalities(self.recipe, self.epoch, conversation))
        row, read = self.rows[index], masks if has_input(masks) else present
        return row._replace(masks=(*row.masks, *read.values()))


def has_input(masks: Mapping[str, Tensor]) -> bool:
    return any(mask.any() for mask in masks.values())


def draw_modalities(recipe: Recipe, epoch: int, conversation: Conversation) -> Modalities:
    """Draw a conversation's modalities in an epoch, from the seed, the epoch and its id."""
    share = recipe.fusion.modality_dropout
    drawn = create_generator(recipe.seed, FUSION, "modalities", epoch, conversation.id).random()
    if drawn >= share:
        return "both"
    return "text" if drawn < share / 2 else "audio"
