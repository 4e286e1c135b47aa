"""Turns labelled from themselves and what came before, as a conversation goes on."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from moodline.config import Recipe
from moodline.context.speaker_relative import SpeakerMeans
from moodline.encoding import Encoding
from moodline.inference.encode import CONVERSATION_BATCH
from moodline.model import ENCODER_OF, ConversationModel

# Turns that a stream's contexts read, the newest included: what a turn's 100 ms allow on two cores (docs/stream.md).
HISTORY = 128


class History:
    """What the contexts read of a conversation so far: its last turns, and each speaker's mean over all turns.

    Args:
        turns: how many are kept, the newest included
    """

    def __init__(self, recipe: Recipe, turns: int = HISTORY) -> None:
        stages = [stage for stage in ENCODER_OF if stage in recipe.stages]
        self.embeddings = {ENCODER_OF[stage]: deque[Tensor](maxlen=turns) for stage in stages}
        self.speakers = deque[str](maxlen=turns)
        self.means = {
            ENCODER_OF[stage]: SpeakerMeans() for stage in stages if recipe.context_of(stage).speaker_relative
        }

    def add(self, embeddings: Mapping[str, Tensor], speaker: str) -> dict[str, Tensor]:
        """One more turn's embeddings (E,) by encoder -> what is read of the last s turns: (s, E) by encoder."""
        self.speakers.append(speaker)
        for encoder, kept in self.embeddings.items():
            kept.append(embeddings[encoder])
        for encoder, means in self.means.items():
            means.add(embeddings[encoder], speaker)
        read = {encoder: torch.stack(tuple(kept)) for encoder, kept in self.embeddings.items()}
        relative = {
            encoder: means.relative(read[encoder], tuple(self.speakers)) for encoder, means in self.means.items()
        }
        return read | relative


@torch.inference_mode()
def encode_newest(network: ConversationModel, reads: Sequence[Mapping[str, Tensor]]) -> dict[str, Encoding]:
    """The newest turn of each of B histories of one length, by stage: embeddings (B, D) and logits (B, classes).

    Args:
        reads: what ``History.add`` gave, B times (s, E) by encoder
    """
    values = {encoder: torch.stack([read[encoder] for read in reads]) for encoder in reads[0]}  # (B, s, E)
    lengths = torch.tensor([len(next(iter(read.values()))) for read in reads])
    return {
        stage: Encoding(encoding.embeddings[:, -1], encoding.logits[:, -1])
        for stage, encoding in network(values, lengths).items()
    }


class Talk(NamedTuple):
    """A conversation for ``encode_causally``: its turns' embeddings (S, E) by encoder, and their speakers."""

    embeddings: Mapping[str, Tensor]
    speakers: Sequence[str]


def encode_causally(network: ConversationModel, recipe: Recipe, talks: Sequence[Talk]) -> list[dict[str, Encoding]]:
    """Every turn of conversations by each later stage, from itself and what came before: (S_i, ...) by stage.

    The conversations go on side by side: what shares a batch is of one length, and nothing is padding.
    """
    histories = [History(recipe) for _ in talks]
    newest: list[list[dict[str, Encoding]]] = [[] for _ in talks]
    for turn in range(max((len(talk.speakers) for talk in talks), default=0)):
        going = [index for index, talk in enumerate(talks) if turn < len(talk.speakers)]
        for begin in range(0, len(going), CONVERSATION_BATCH):
            batch = going[begin : begin + CONVERSATION_BATCH]
            reads = [histories[index].add(turn_of(talks[index], turn), talks[index].speakers[turn]) for index in batch]
            encodings = encode_newest(network, reads)
            for row, index in enumerate(batch):
                newest[index].append({stage: row_of(encoding, row) for stage, encoding in encodings.items()})
    return [{stage: stacked([one[stage] for one in rows]) for stage in rows[0]} if rows else {} for rows in newest]


def turn_of(talk: Talk, turn: int) -> dict[str, Tensor]:
    return {encoder: values[turn] for encoder, values in talk.embeddings.items()}


def row_of(encoding: Encoding, row: int) -> Encoding:
    return Encoding(encoding.embeddings[row], encoding.logits[row])


def stacked(rows: Sequence[Encoding]) -> Encoding:
    """S times (D,) and (classes,) -> (S, D) and (S, classes)."""
    return Encoding(torch.stack([one.embeddings for one in rows]), torch.stack([one.logits for one in rows]))
