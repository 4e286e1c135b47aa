"""A turn beside its speaker's other turns: voices differ more from each other than one voice's emotions do."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

# Turns at zero that each speaker's mean counts beside the real ones. Of a voice that is heard once or twice little is
# known, and without them a lone turn would cancel itself.
PRIOR_TURNS = 4


def speaker_relative(embeddings: Tensor, speakers: Sequence[str]) -> Tensor:
    """Embeddings (S, E) of a conversation -> (S, E): each one's difference from its speaker's mean in it.

    Speaker normalisation (Busso, Mariooryad, Metallinou and Narayanan, "Iterative feature normalization scheme for
    automatic emotion detection from speech", IEEE Transactions on Affective Computing, 2013), with what a single
    conversation tells of a speaker. It is no part of the paper.

    Args:
        speakers: of the S turns
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(speakers))}
    of_turn = torch.tensor([numbers[name] for name in speakers], device=embeddings.device)  # (S,)
    sums = embeddings.new_zeros(len(numbers), embeddings.shape[1]).index_add_(0, of_turn, embeddings)
    turns = torch.bincount(of_turn, minlength=len(numbers)) + PRIOR_TURNS
    means = sums / turns[:, None]  # (speakers, E)
    return embeddings - means[of_turn]


class SpeakerMeans:
    """The same for a conversation that goes on: each speaker's mean over the turns so far."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.turns: Counter[str] = Counter()

    def add(self, embedding: Tensor, speaker: str) -> None:
        """Count one more turn, its embedding (E,)."""
        self.sums[speaker] = self.sums.get(speaker, torch.zeros_like(embedding)) + embedding
        self.turns[speaker] += 1

    def relative(self, embeddings: Tensor, speakers: Sequence[str]) -> Tensor:
        """Some of the turns so far (S, E) -> (S, E): what ``speaker_relative`` gives of them among all."""
        means = [self.sums[speaker] / (self.turns[speaker] + PRIOR_TURNS) for speaker in speakers]
        return embeddings - torch.stack(means)
