"""Reference words said by text-to-speech voices, where a corpus's sound does not hold them."""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from importlib import metadata

import numpy as np

from moodline.conversation import Utterance
from moodline.corpora.demo.voice import SAMPLE_RATE, Delivery, Speaker, Synthesizer
from moodline.speech import recogniser

# A recording has noise and a moment before and after the words; recognisers take digital silence amiss.
NOISE = 0.1  # of the speech's root mean square
MARGIN = 0.2  # seconds
AMERICAN = "en-us"  # recognisers hear this accent best
# High and low voices in turn: (lowest and highest pitch in Hz, formants in percent), plain enough to be understood.
PITCHES = {
    "ada": ((130, 190), 104),
    "ben": ((82, 118), 100),
    "cleo": ((160, 230), 110),
    "dirk": ((95, 140), 97),
    "enid": ((115, 165), 102),
    "fred": ((72, 104), 98),
}
RATE = 150  # words a minute
VOICES = tuple(
    Speaker(name=name, language=AMERICAN, phonemes=AMERICAN, pitch=pitch, formants=formants, rate=RATE, level=0)
    for name, (pitch, formants) in PITCHES.items()
)
FULL_SCALE = 32_768


@dataclass(frozen=True, slots=True)
class Spoken:
    """Words as a voice says them: a ``speech.sound.Sound``."""

    words: str
    voice: Speaker

    @property
    def origin(self) -> tuple[object, ...]:
        return self.words, *astuple(self.voice), NOISE, MARGIN, metadata.version("espeakng-loader")

    def samples(self) -> np.ndarray:
        """See ``Sound``; empty where there is nothing to say."""
        assert SAMPLE_RATE == recogniser.SAMPLE_RATE
        with Synthesizer() as synthesizer:
            speech = synthesizer.speak(self.words, self.voice, Delivery()) / FULL_SCALE
        return in_a_room(speech) if len(speech) else speech


def in_a_room(speech: np.ndarray) -> np.ndarray:
    """Speech with a moment around it, and faint noise, the same each time: (T,) -> (T',)."""
    padded = np.pad(speech, round(MARGIN * SAMPLE_RATE))
    noise = np.random.default_rng(0).normal(0, NOISE * np.sqrt(np.mean(speech**2)), len(padded))
    return padded + noise


def voices_of(utterances: Iterable[Utterance]) -> Mapping[str, Speaker]:
    """Speaker -> voice: in the order of the speakers' names, the voices in turn."""
    speakers = sorted({utterance.speaker for utterance in utterances})
    return {speaker: VOICES[position % len(VOICES)] for position, speaker in enumerate(speakers)}
