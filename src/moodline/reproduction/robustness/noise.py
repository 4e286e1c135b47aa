"""Speech made worse: babble of other speakers at a signal-to-noise ratio, and a telephone's band."""

from collections.abc import Iterable, Sequence

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from moodline.conversation import Conversation, Utterance
from moodline.errors import MoodlineError
from moodline.inference.inputs import waveform_of
from moodline.training.randomness import generator_of

TALKERS = 6  # of babble; fewer where there are not so many others
TELEPHONE_RATE = 8_000  # Hz
TELEPHONE_BAND = (300.0, 3_400.0)  # Hz
FILTER_ORDER = 6  # of each edge of the band: 36 dB an octave


class Babble:
    """Utterances of a corpus's other speakers, spoken all at once.

    Args:
        conversations: of the whole corpus; each utterance id stands once in them
        seed: with an utterance's id it decides who talks over it, and what: the same at every ratio
    """

    def __init__(self, conversations: Sequence[Conversation], seed: int) -> None:
        self.seed = seed
        self.present = {turn.id: one.speakers for one in conversations for turn in one.utterances}
        self.turns: dict[str, list[Utterance]] = {}
        for turn in sorted((turn for one in conversations for turn in one.utterances), key=lambda turn: turn.id):
            if turn.audio is not None:
                self.turns.setdefault(turn.speaker, []).append(turn)

    def others(self, utterance: Utterance) -> list[str]:
        """Speakers with speech who are not in the utterance's conversation."""
        return sorted(self.turns.keys() - self.present[utterance.id])

    def talkers(self, utterance: Utterance) -> list[Utterance]:
        """An utterance of each of some others."""
        generator = generator_of(self.seed, "talkers", utterance.id)
        others = self.others(utterance)
        chosen = generator.permutation(len(others))[:TALKERS]
        turns = [self.turns[others[index]] for index in chosen]
        return [of_one[generator.integers(len(of_one))] for of_one in turns]

    def over(self, utterance: Utterance, length: int, sample_rate: int) -> NDArray[np.float64]:
        """Babble (T,) as long as the utterance: each talker at the same mean power, from anywhere and round again.

        Raises:
            MoodlineError: an utterance cannot be read, or all of the talkers are silent
        """
        generator = generator_of(self.seed, "starts", utterance.id)
        sum_of_all = np.zeros(length)
        for talker in self.talkers(utterance):
            samples = waveform_of(talker, sample_rate).numpy().astype(float)
            # Where there is sound: a short piece may else be digital silence, as between words.
            sounding = np.flatnonzero(samples)
            start = sounding[generator.integers(len(sounding))] if len(sounding) else 0
            voice = np.resize(np.roll(samples, -start), length)
            if power := mean_power(voice):
                sum_of_all += voice / np.sqrt(power)
        if not sum_of_all.any():
            raise MoodlineError(
                f"babble is made of speech, and that drawn for {utterance.id} is silence: "
                f"{', '.join(talker.id for talker in self.talkers(utterance))}; restore these recordings"
            )
        return sum_of_all


def mean_power(samples: NDArray[np.floating]) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def mixed(speech: NDArray[np.float32], babble: NDArray[np.float64], ratio: float) -> NDArray[np.float32]:
    """Speech and babble (T,) at a signal-to-noise ratio in dB, of mean powers over the utterance.

    What is silent has no such ratio, and stays so.
    """
    power = mean_power(speech) / (mean_power(babble) * 10 ** (ratio / 10))
    return (speech + np.sqrt(power) * babble).astype(np.float32)


def through_telephone(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """What is left of a waveform (T,) after a telephone's band at its sample rate; as long, at the same rate."""
    # A little silence behind it, as rounding to whole samples, there and back, may take a few.
    followed = np.pad(samples.astype(float), (0, sample_rate // 100))
    heard = soxr.resample(followed, sample_rate, TELEPHONE_RATE)
    band = butter(FILTER_ORDER, TELEPHONE_BAND, "bandpass", fs=TELEPHONE_RATE, output="sos")
    back = soxr.resample(np.asarray(sosfilt(band, heard)), TELEPHONE_RATE, sample_rate)
    return back[: len(samples)].astype(np.float32)


def lack_of_talkers(babble: Babble, tested: Iterable[Utterance]) -> str:
    """Why some utterance has no babble; empty where all have."""
    alone = next((turn for turn in tested if not babble.others(turn)), None)
    if alone is None:
        return ""
    return (
        "babble is left out: it is made of speakers who are not in the test utterance's conversation, and the corpus "
        f"has speech of nobody else than those in that of {alone.id}"
    )
