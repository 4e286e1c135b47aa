"""Turns labelled from themselves and what came before, as a conversation goes on."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from moodline.config import FUSION, Modalities, Recipe
from moodline.context.speaker_relative import SpeakerMeans
from moodline.conversation import Utterance
from moodline.encoding import Encoding
from moodline.inference.encode import CONVERSATION_BATCH
from moodline.inference.presence import chosen, encoded, fused, spread, unless_all
from moodline.model import ENCODER_OF, ConversationModel

# Turns that a stream's contexts read, the newest included: what a turn's 100 ms allow on two cores (docs/stream.md).
HISTORY = 128


class Read(NamedTuple):
    """What is read of the last s turns, each by encoder; see ``ConversationModel``.

    Attributes:
        values: (s, E), zeros where a turn lacks what the encoder reads
        encoded: (s,), which turns the contexts read
        present: (s,), which the fusion reads; None of a fusion that was never without any
    """

    values: Mapping[str, Tensor]
    encoded: Mapping[str, Tensor]
    present: Mapping[str, Tensor] | None


class History:
    """What the contexts read of a conversation so far: its last turns, and each speaker's mean over all turns.

    Args:
        turns: how many are kept, the newest included
        modalities: whose encoders and contexts read them
    """

    def __init__(self, recipe: Recipe, turns: int = HISTORY, modalities: Modalities = "both") -> None:
        self.recipe = recipe
        self.modalities: Modalities = modalities
        stages = [stage for stage in ENCODER_OF if stage in recipe.stages_in(modalities)]
        self.embeddings = {ENCODER_OF[stage]: deque[Tensor](maxlen=turns) for stage in stages}
        self.utterances = deque[Utterance](maxlen=turns)
        self.means = {
            ENCODER_OF[stage]: SpeakerMeans() for stage in stages if recipe.context_of(stage).speaker_relative
        }

    def add(self, embeddings: Mapping[str, Tensor], utterance: Utterance) -> Read:
        """One more turn, its embeddings (E,) by encoder -> what is read of the last turns."""
        self.utterances.append(utterance)
        for encoder, kept in self.embeddings.items():
            kept.append(embeddings[encoder])
        masks = encoded(self.utterances, self.recipe)
        for encoder, means in self.means.items():
            if masks[encoder][-1]:
                means.add(embeddings[encoder], utterance.speaker)
        fuses = FUSION in self.recipe.stages_in(self.modalities)
        return Read(
            values={encoder: self._values(encoder, masks[encoder]) for encoder in self.embeddings},
            encoded={encoder: masks[encoder] for encoder in self.embeddings},
            present=fused(self.utterances, self.recipe, self.modalities) if fuses else None,
        )

    def _values(self, encoder: str, mask: Tensor) -> Tensor:
        values = torch.stack(tuple(self.embeddings[encoder]))[mask]
        if encoder in self.means and len(values):
            speakers = [utterance.speaker for utterance in chosen(self.utterances, mask)]
            values = self.means[encoder].relative(values, speakers)
        return spread(values, mask, 0.0)


@torch.inference_mode()
def encode_newest(network: ConversationModel, reads: Sequence[Read]) -> dict[str, Encoding]:
    """The newest turn of each of B histories of one length, by stage: embeddings (B, D) and logits (B, classes).

    Args:
        reads: what ``History.add`` gave, B times
    """
    values = stacked_by_encoder([read.values for read in reads])  # (B, s, E) each
    lengths = torch.tensor([len(next(iter(read.values.values()))) for read in reads])
    present = [read.present for read in reads if read.present is not None]
    encoded_by = unless_all(stacked_by_encoder([read.encoded for read in reads]))
    present_by = unless_all(stacked_by_encoder(present) if present else None)
    return {
        stage: Encoding(encoding.embeddings[:, -1], encoding.logits[:, -1])
        for stage, encoding in network(values, lengths, encoded_by, present_by).items()
    }


class Talk(NamedTuple):
    """A conversation for ``encode_causally``: its turns' embeddings (S, E) by encoder, and the turns."""

    embeddings: Mapping[str, Tensor]
    utterances: Sequence[Utterance]


def encode_causally(network: ConversationModel, recipe: Recipe, talks: Sequence[Talk]) -> list[dict[str, Encoding]]:
    """Every turn of conversations by each later stage, from itself and what came before: (S_i, ...) by stage.

    The conversations go on side by side: what shares a batch is of one length, and nothing is padding.
    """
    histories = [History(recipe) for _ in talks]
    newest: list[list[dict[str, Encoding]]] = [[] for _ in talks]
    for turn in range(max((len(talk.utterances) for talk in talks), default=0)):
        going = [index for index, talk in enumerate(talks) if turn < len(talk.utterances)]
        for begin in range(0, len(going), CONVERSATION_BATCH):
            batch = going[begin : begin + CONVERSATION_BATCH]
            reads = [
                histories[index].add(turn_of(talks[index], turn), talks[index].utterances[turn]) for index in batch
            ]
            encodings = encode_newest(network, reads)
            for row, index in enumerate(batch):
                newest[index].append({stage: row_of(encoding, row) for stage, encoding in encodings.items()})
    return [{stage: stacked([one[stage] for one in rows]) for stage in rows[0]} if rows else {} for rows in newest]


def turn_of(talk: Talk, turn: int) -> dict[str, Tensor]:
    return {encoder: values[turn] for encoder, values in talk.embeddings.items()}


def stacked_by_encoder(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """B times (s, ...) by encoder -> (B, s, ...) by encoder."""
    return {encoder: torch.stack([row[encoder] for row in rows]) for encoder in rows[0]}


def row_of(encoding: Encoding, row: int) -> Encoding:
    return Encoding(encoding.embeddings[row], encoding.logits[row])


def stacked(rows: Sequence[Encoding]) -> Encoding:
    """S times (D,) and (classes,) -> (S, D) and (S, classes)."""
    return Encoding(torch.stack([one.embeddings for one in rows]), torch.stack([one.logits for one in rows]))
