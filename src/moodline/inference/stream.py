"""A conversation as it goes on: each turn is labelled when it is given, from itself and what came before."""

from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moodline.audio.recording import Recording
from moodline.config import Modalities
from moodline.conversation import AudioClip, Utterance
from moodline.errors import MoodlineError
from moodline.inference.causal import History, encode_newest
from moodline.inference.encode import Sound
from moodline.inference.inputs import waveform_of
from moodline.inference.prediction import UtterancePrediction
from moodline.inference.predictor import Predictor
from moodline.inference.presence import encoded, refuse_unreadable
from moodline.speech.turn import UNKNOWN


class Stream:
    """One conversation's predictions, turn by turn.

    Each is what ``Predictor.predict`` says of the last turn of the conversation so far, up to
    ``moodline.inference.causal.HISTORY`` turns; later, the last so many are read. The encoders read each turn once.

    Args:
        modalities, threshold: as of ``Predictor.predict``

    Raises:
        MoodlineError: the threshold is no probability, or a class has the name of what it answers
    """

    def __init__(self, predictor: Predictor, modalities: Modalities = "both", threshold: float | None = None) -> None:
        predictor.refuse_threshold(threshold)
        self.predictor, self.threshold = predictor, threshold
        self.history = History(predictor.model.recipe, modalities=modalities)
        self.numbers = count()

    def hear(self, utterance: Utterance) -> UtterancePrediction:
        """Label the next turn.

        Raises:
            MoodlineError: it lacks audio or embeddings that the model needs, or they cannot be read; it is then no part
                of the conversation
        """
        return self._hear(utterance, waveform_of)

    def hear_samples(
        self, samples: NDArray[np.number], sample_rate: int, words: str, speaker: str = UNKNOWN
    ) -> UtterancePrediction:
        """Label the next turn from its speech, mono, (T,), and its words; its id is its number.

        Args:
            samples: floats within [-1, 1] or integers of full scale

        Raises:
            MoodlineError: the samples are no finite numbers in one row, or the rate is none
        """
        if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
            raise MoodlineError(
                f"a turn's samples are finite numbers in one row, one at least: these have the shape {samples.shape} "
                f"and {np.count_nonzero(~np.isfinite(samples))} that are not finite; give the mean of the channels"
            )

        recording = Recording.of(samples, sample_rate)

        def sound(utterance: Utterance, rate: int) -> Tensor:
            (waveform,) = recording.clips([(0.0, recording.duration, None)], rate)
            return torch.from_numpy(waveform)

        clip = AudioClip(path=Path(), offset=0.0, duration=recording.duration, sample_rate=recording.sample_rate)
        return self._hear(Utterance(id=str(next(self.numbers)), speaker=speaker, words=words, audio=clip), sound)

    def _hear(self, utterance: Utterance, sound: Sound) -> UtterancePrediction:
        recipe, modalities = self.predictor.model.recipe, self.history.modalities
        refuse_unreadable([*self.history.utterances, utterance], "this conversation so far", recipe, modalities)
        alone = self.predictor.encode_alone([utterance], sound, modalities, encoded([utterance], recipe))
        read = self.history.add({name: values[0] for name, values in alone.embeddings.items()}, utterance)
        encodings = {**alone.encodings, **encode_newest(self.predictor.model.network, [read])}
        kept = {stage: encodings[stage] for stage in recipe.stages_in(modalities)}
        (prediction,) = self.predictor.labelled([utterance], kept, self.threshold)
        return prediction
