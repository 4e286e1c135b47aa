"""Which sequences stand in a batch together: neighbours in length, so that little of a batch is padding."""

from collections.abc import Sequence

import numpy as np


def length_batches(
    lengths: Sequence[float],
    *,
    batch_size: int,
    maximum_total: float = float("inf"),
    generator: np.random.Generator | None = None,
) -> list[list[int]]:
    """Batches of indices: at most ``batch_size`` each, and at most ``maximum_total`` of length, padding included.

    A sequence longer than ``maximum_total`` stands alone. With a generator the order of the batches, and
    which of the nearly equally long sequences meet, is drawn from it; without one it is fixed.
    """
    keys = np.asarray(lengths, dtype=float)
    if generator is not None:
        keys = keys * generator.uniform(0.9, 1.1, size=len(keys))
    batches: list[list[int]] = []
    longest = 0.0
    for index in np.argsort(keys, kind="stable").tolist():
        grown = max(longest, lengths[index])
        full = bool(batches) and (len(batches[-1]) == batch_size or (len(batches[-1]) + 1) * grown > maximum_total)
        if full or not batches:
            batches.append([])
            grown = lengths[index]
        batches[-1].append(index)
        longest = grown
    if generator is not None:
        generator.shuffle(batches)
    return batches
