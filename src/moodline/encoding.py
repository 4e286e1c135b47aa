"""What each of the five trained parts gives."""

from typing import NamedTuple

from torch import Tensor


class Encoding(NamedTuple):
    """A part's output: what the next part reads, and the part's own opinion of the emotion.

    For a part that reads utterances the leading dimensions are (B,), for one that reads conversations (B, S).
    """

    embeddings: Tensor  # (..., D)
    logits: Tensor  # (..., classes)
