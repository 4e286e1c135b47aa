"""A trained model at work on conversations, recordings, words alone and streams."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from moodline.audio.vad import Channels
from moodline.config import Modalities
from moodline.device import AUTO, choose_device
from moodline.inference.predictor import Predictor
from moodline.inference.recordings import RecognitionOptions, create_timeline
from moodline.inference.streaming import Stream
from moodline.modeling.checkpoint import load_model, name_of_model
from moodline.timeline import Timeline


class LoadedModel(Predictor):
    """What ``moodline.load`` gives."""

    def recognise(
        self,
        source: str | Path | np.ndarray,
        *,
        sample_rate: int | None = None,
        transcript: str | Path | None = None,
        channels: Channels = "mixed",
        modalities: Modalities = "both",
        recogniser: str | None = None,
        jobs: int = 1,
        threshold: float | None = None,
        reasons: bool = False,
        conversation: str | None = None,
    ) -> Timeline:
        """The timeline of a recording: its turns, what is said in them, and an emotion for each in the context of all.

        A table of words (``moodline.transcripts.chat``), or a transcript in its recording's place, is labelled
        from the words alone.

        Args:
            source: a file; or samples (T,) or (T, channels), floats within [-1, 1] or integers of full scale
            sample_rate: of samples, in Hz
            transcript: a file of turns, and of words perhaps; without it turns are found by voice activity
            channels: ``mixed``, or ``speakers`` where each channel has a speaker of its own
            modalities: both, or audio or text alone
            recogniser: of words that no transcript tells: pocketsphinx, or a model of faster-whisper
            jobs: turns whose words are recognised at a time
            threshold: below this probability a turn is ``uncertain``
            reasons: whether each turn says why
            conversation: the one to label of a table of words that has several

        Raises:
            MoodlineError: nothing can be read, no speech or no words are found; the transcript is another recording's
        """
        hearing = RecognitionOptions(
            transcript=None if transcript is None else Path(transcript),
            channels=channels,
            modalities=modalities,
            recogniser=recogniser,
            jobs=jobs,
            threshold=threshold,
            reasons=reasons,
            conversation=conversation,
        )
        return create_timeline(self, source, sample_rate, hearing)

    def recognise_all(
        self,
        sources: Iterable[str | Path],
        *,
        channels: Channels = "mixed",
        modalities: Modalities = "both",
        recogniser: str | None = None,
        jobs: int = 1,
        threshold: float | None = None,
        reasons: bool = False,
    ) -> Iterator[Timeline]:
        """Timelines of many recordings, each as soon as it is ready; arguments and errors as of ``recognise``.

        An error is raised in the place of its recording's timeline; ``next`` then goes on with the next recording.
        """
        recognise = partial(
            self.recognise,
            channels=channels,
            modalities=modalities,
            recogniser=recogniser,
            jobs=jobs,
            threshold=threshold,
            reasons=reasons,
        )
        return map(recognise, sources)

    def stream(self, modalities: Modalities = "both", *, threshold: float | None = None) -> Stream:
        """A conversation that goes on, to be labelled turn by turn; arguments and errors as of ``Stream``."""
        return Stream(self, modalities, threshold)


def load(folder: str | Path, *, device: str | torch.device = AUTO) -> LoadedModel:
    """Load a model folder; it needs no corpus, no recipe and no network.

    Args:
        device: cpu, cuda, cuda:N or mps; auto takes CUDA, else MPS, else the CPU. Results are on the CPU in any case.

    Raises:
        MoodlineError: the folder is no model, or of a newer schema; or there is no such device
    """
    chosen = choose_device(device)
    return LoadedModel(load_model(Path(folder), chosen), name=name_of_model(Path(folder)))
