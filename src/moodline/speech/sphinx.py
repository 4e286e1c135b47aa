"""PocketSphinx, with the model of US English that is inside its wheel."""

import warnings
from importlib import metadata

import numpy as np

from moodline.errors import MoodlineError
from moodline.wording import to_install

NAME = "pocketsphinx"
SHORTEST = 1_600  # samples, 0.1 s: of less its features cannot be computed, and nothing can be said in it
FULL_SCALE = 32_767


class PocketSphinx:
    """A decoder with its defaults.

    Raises MoodlineError where pocketsphinx is not installed.
    """

    name = f"{NAME} en-us"

    def __init__(self) -> None:
        try:
            import pocketsphinx
        except ModuleNotFoundError:
            raise MoodlineError(f"words are recognised by pocketsphinx: {to_install('speech')}") from None
        self.version = metadata.version("pocketsphinx")
        self._decoder = pocketsphinx.Decoder(loglevel="FATAL")

    def recognise(self, samples: np.ndarray) -> str:
        """See ``recogniser.Recogniser``."""
        if len(samples) < SHORTEST:
            return ""
        decoder = self._decoder
        with warnings.catch_warnings():
            # It calls this unnecessary; yet without it the noise of one utterance is subtracted from the next.
            warnings.simplefilter("ignore", DeprecationWarning)
            decoder.start_stream()
        decoder.start_utt()
        pcm = np.rint(np.clip(samples, -1, 1) * FULL_SCALE).astype("<i2")
        decoder.process_raw(pcm.tobytes(), full_utt=True)  # whole, so that the mean it normalises by is its own
        decoder.end_utt()
        heard = decoder.hyp()
        return heard.hypstr if heard is not None else ""
