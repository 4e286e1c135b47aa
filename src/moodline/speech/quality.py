"""How speech sounds, in numbers that tell whether it is like what a model was trained on.

Everything is measured within turns, and so alike in a corpus's clips, which may have no pauses between them, and in a
recording's turns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moodline.speech.voice_activity import CHUNK_SECONDS

BAND_FLOOR = 60.0  # dB below the strongest frequency: what is weaker than that is no part of the band
LOUD, SOFT = 90, 10  # percentiles of a turn's chunks by their power
SILENCE = 1e-10  # of full scale's power: less than the rounding to 16 bits
# Beyond this the soft chunks tell how many pauses a turn holds, not how much noise.
CLEAN = 30.0  # dB


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """Measured over turns, in chunks of CHUNK_SECONDS.

    Attributes:
        bandwidth: in Hz, the highest frequency that speech has at most BAND_FLOOR decibels less of than of its
            strongest: a telephone's 4 kHz shows at whatever rate its recording is stored
        loudness: of the loud chunks, their root mean square in dB of full scale; so pauses do not count
        signal_to_noise: the power of the loud chunks, less that of the soft ones, over that of the soft ones, in dB,
            CLEAN at most. An estimate from percentiles of the power, as NIST's ``stnr`` makes one of its histogram
    """

    bandwidth: float
    loudness: float
    signal_to_noise: float


def quality_of(waveform: np.ndarray, sample_rate: int) -> Quality | None:
    """Of one turn (T,) at its sample rate in Hz; None where it has no sound, or is shorter than a chunk."""
    size = round(CHUNK_SECONDS * sample_rate)
    chunks = waveform[: len(waveform) // size * size].reshape(-1, size)  # (T,) -> (N, size)
    if not chunks.any():
        return None
    powers = np.square(chunks).mean(axis=1) + SILENCE
    loud, soft = (float(power) for power in np.percentile(powers, (LOUD, SOFT)))
    windowed = chunks * np.hanning(size).astype(chunks.dtype)
    spectrum = (np.abs(np.fft.rfft(windowed)) ** 2).sum(axis=0)  # (N, size) -> (size // 2 + 1,)
    band = np.flatnonzero(spectrum >= spectrum.max() * 10 ** (-BAND_FLOOR / 10))
    return Quality(
        bandwidth=float(band[-1] * sample_rate / size),
        loudness=_decibels(loud),
        signal_to_noise=min(_decibels((loud - soft) / soft), CLEAN) if loud > soft else -CLEAN,
    )


def typical(qualities: Sequence[Quality]) -> Quality:
    """The median of each over one turn or more: one odd turn does not decide."""
    values = {name: [getattr(one, name) for one in qualities] for name in Quality.__slots__}
    return Quality(**{name: float(np.median(found)) for name, found in values.items()})


def _decibels(power: float) -> float:
    return 10 * math.log10(power)
