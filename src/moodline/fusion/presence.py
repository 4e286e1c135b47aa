"""A modality that an utterance lacks, as every fusion reads it: there is no audio, or no word was heard."""

from torch import Tensor


def zeros_where_absent(embeddings: Tensor, present: Tensor | None) -> Tensor:
    """A modality's embeddings (B, S, D), those of utterances that lack it as zeros, whatever stands there.

    Args:
        present: (B, S), True where the utterance has the modality; None where all have it
    """
    return embeddings if present is None else embeddings.masked_fill(~present[..., None], 0.0)  # (B, S) -> (B, S, 1)
