"""How probable speech is, moment by moment, and how loud the sound."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

SAMPLE_RATE = 16_000  # Hz
CHUNK = 512  # samples: what one probability is told of
CHUNK_SECONDS = CHUNK / SAMPLE_RATE
BATCH = 256  # chunks that are heard together


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """A channel, heard chunk by chunk; of the last chunk, what is missing counts as silence.

    Attributes:
        probabilities: of speech (N,)
        powers: mean squares of the samples (N,)
    """

    probabilities: np.ndarray
    powers: np.ndarray


def activity(blocks: Iterable[np.ndarray]) -> Activity:
    """Hear a stream from its begin, with a detector that has heard nothing before.

    Args:
        blocks: float32 (frames,) each, of any lengths, within [-1, 1] at SAMPLE_RATE

    Raises:
        MoodlineError: the detector's weights are not there
    """
    import torch  # what reads recordings without finding turns must not wait for it

    from moodline.speech.silero import Silero

    detector = Silero()
    probabilities, powers = array("f"), array("f")
    for batch in batches(blocks):
        probabilities.extend(detector(torch.from_numpy(batch.clip(-1, 1))).tolist())
        powers.extend(np.square(batch).mean(axis=1).tolist())
    return Activity(np.asarray(probabilities), np.asarray(powers))


def batches(blocks: Iterable[np.ndarray], chunk: int = CHUNK) -> Iterator[np.ndarray]:
    """A stream cut anew, (n, chunk) with n up to BATCH each, zeros after its end."""
    kept, held = [], 0
    for block in blocks:
        kept.append(block)
        held += len(block)
        if held >= BATCH * chunk:
            joined = np.concatenate(kept)
            whole = held // chunk * chunk
            yield from _batches(joined[:whole], chunk)
            kept, held = [joined[whole:]], held - whole
    if held:
        yield from _batches(np.pad(np.concatenate(kept), (0, -held % chunk)), chunk)


def _batches(samples: np.ndarray, chunk: int) -> Iterator[np.ndarray]:
    chunks = samples.reshape(-1, chunk)  # (n chunk,) -> (n, chunk)
    for first in range(0, len(chunks), BATCH):
        yield chunks[first : first + BATCH]
