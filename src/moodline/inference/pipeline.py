"""A trained model that predicts recordings, texts, conversations and streams."""

import dataclasses
import logging
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from moodline.audio.recording import open_recording
from moodline.config import Modalities
from moodline.conversation import Conversation
from moodline.device import AUTO, FULL_PRECISION, Execution, Precision, choose_device, describe_device, set_precision
from moodline.errors import MoodlineError
from moodline.hub import locate_model, upload_model
from moodline.inference.predictor import Predictor
from moodline.inference.recordings import RecognitionOptions, holds_words_alone, label_words, recognise
from moodline.inference.streaming import Stream
from moodline.modeling.checkpoint import load_model, name_of_model, save_model
from moodline.speech.asr import SpeechRecogniser
from moodline.timeline import Timeline
from moodline.timeline.timeline import ConversationPrediction

logger = logging.getLogger("moodline")

# A text without blanks in its last word, which ends in a file's suffix, such as talk.wav.
FILE_NAME = re.compile(r"[^\n]*[^\s.]\.[A-Za-z][A-Za-z0-9]{1,7}")
Source = str | Path | np.ndarray | Sequence[str]


class Model(Predictor):
    """A trained model, ready to predict; ``moodline.load`` returns it.

    It loads a recogniser when the first recording needs one, and keeps it for the next.
    """

    @cached_property
    def _create_recogniser(self) -> Callable[..., SpeechRecogniser]:
        return cache(SpeechRecogniser)

    @classmethod
    def from_pretrained(
        cls,
        named: str | Path,
        *,
        revision: str | None = None,
        device: str | torch.device = AUTO,
        precision: Precision = FULL_PRECISION,
        batch_seconds: float | None = None,
    ) -> "Model":
        """Load a model from a folder or from the Hugging Face hub; a folder needs no corpus, recipe or network.

        The hub's models are kept in its cache, which ``HF_HUB_OFFLINE=1`` reads without a network. Their files are
        checked against the hub's hashes, and no code of a repository runs.

        Args:
            named: a folder; or, where no such folder exists, org/name or org/name@revision on the hub
            revision: a branch, tag or commit on the hub; None for the newest
            device: cpu, cuda, cuda:N or mps; auto takes CUDA, else MPS, else the CPU. Results are always on the CPU.
            precision: 32, bf16 or, on GPUs, fp16. Half precision is automatic mixed precision: weights and results are
                in single precision.
            batch_seconds: seconds of padded speech in a batch of utterances, and 50 times as many padded tokens of
                words; None for batches of 16 utterances. Conversations of a corpus then share batches.

        Raises:
            MoodlineError: there is no such model, or it has a newer schema; the hub refuses it or is out of reach with
                nothing cached; a file differs from the hub's; there is no such device, or it does not have the
                precision or the memory
        """
        chosen = choose_device(device)
        Execution(chosen, precision, batch_seconds).resolve()
        folder = locate_model(named, revision)
        model = cls(load_model(folder, chosen), name=name_of_model(folder), batch_seconds=batch_seconds)
        set_precision(model.model.network, precision)
        logger.info("loaded model %s on %s", model.name, describe_device(chosen))
        return model

    def save_pretrained(self, folder: str | Path, *, copy_encoders: bool = True) -> None:
        """Write the model as a folder that ``from_pretrained`` loads; other files of the folder stay.

        Args:
            copy_encoders: False refers to frozen encoders that come from wheels by their names and hashes instead of
                copying them, so that the model is small and needs those wheels

        Raises:
            MoodlineError: the folder cannot be written
        """
        save_model(Path(folder), self.model, copy_encoders=copy_encoders)

    def push_to_hub(
        self,
        name: str,
        *,
        revision: str | None = None,
        private: bool | None = None,
        message: str = "Upload a moodline model",
    ) -> str:
        """Upload the model and its card in one commit to the Hugging Face hub, and return the commit's address.

        The login is that of ``hf auth login``, or the token in the environment variable ``HF_TOKEN``.

        Args:
            name: org/name; the repository is created if it does not exist
            revision: a branch, which is created if it does not exist; None for the main one
            private: whether a new repository is private; None for the owner's default
            message: of the commit

        Raises:
            MoodlineError: there is no login, it may not write there, or the hub refuses the upload or is out of reach
        """
        with tempfile.TemporaryDirectory(prefix="moodline-") as folder:
            save_model(Path(folder), self.model, name)
            return upload_model(Path(folder), name, revision=revision, private=private, message=message)

    @overload
    def predict(
        self, source: Conversation, modalities: Modalities = ..., *, threshold: float | None = ..., reasons: bool = ...
    ) -> ConversationPrediction: ...

    @overload
    def predict(self, source: Source, modalities: Modalities = ..., **options: Any) -> Timeline: ...

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  # it accepts more than Predictor's
        self, source: Conversation | Source, modalities: Modalities = "both", **options: Any
    ) -> ConversationPrediction | Timeline:
        """Predict an emotion for every turn of a conversation, a recording or texts, each in the context of all.

        A file may also be a table of words or a transcript, which the model reads without audio.

        Args:
            source: a ``Conversation``; a file; samples (T,) or (T, channels), floats within [-1, 1] or integers of full
                scale; a text; or a list of texts, the turns of two speakers who alternate. A string is a file if such a
                file exists or it ends in a file's suffix, such as ``talk.wav``.
            modalities: both, or only audio or text
            options: ``threshold``, from 0 to 1: turns with a lower probability are labelled ``uncertain``; ``reasons``:
                whether each turn has reasons; and for recordings those of ``recognise``

        Raises:
            MoodlineError: the source cannot be read, or lacks what the model reads; or an option does not fit it
        """
        if not isinstance(source, Conversation):
            return self.recognise(source, modalities=modalities, **options)
        if unfit := sorted(options.keys() - {"threshold", "reasons"}):
            raise MoodlineError(
                f"option {unfit[0]!r} is for recordings, not for a Conversation; leave it out",
                code="option.not_a_recording",
            )
        return super().predict(source, modalities, **options)

    def recognise(
        self,
        source: Source,
        *,
        sample_rate: int | None = None,
        recogniser: str | None = None,
        jobs: int | None = 1,
        **options: Any,
    ) -> Timeline:
        """Predict the timeline of a recording or of texts, as ``predict`` does.

        Args:
            sample_rate: of samples, in Hz
            recogniser: of words that no transcript has: pocketsphinx, or a model of faster-whisper
            jobs: processes of the recogniser, see ``SpeechRecogniser``
            options: ``modalities``, ``threshold`` and ``reasons``; ``transcript``, a file of turns, instead of voice
                activity; ``channels``, ``speakers`` if each has its own; ``speakers``, ``auto`` or their number to
                find who speaks; ``names`` of speakers, by their numbers; ``conversation``, one of a table of words;
                ``progress``, which receives the step, the number of finished turns and their total
        """
        if unknown := sorted(options.keys() - {field.name for field in dataclasses.fields(RecognitionOptions)}):
            raise MoodlineError(f"predict has no option {unknown[0]!r}: see its docstring", code="option.unknown")
        loaded = self._create_recogniser(recogniser, jobs, str(self.device))
        chosen = RecognitionOptions(recogniser=loaded, **options)
        texts = find_texts(source)
        if texts is not None:
            return label_words(self, texts, chosen)
        assert isinstance(source, str | Path | np.ndarray) or not isinstance(source, Sequence)
        if holds_words_alone(source, chosen):
            return label_words(self, Path(str(source)), chosen)
        recording = open_recording(source, sample_rate, separate=chosen.channels == "speakers")
        return recognise(self, recording, chosen)

    def recognise_all(self, sources: Iterable[str | Path], **options: Any) -> Iterator[Timeline]:
        """Predict the timelines of many recordings; ``next`` gives each or raises its error, and then continues."""
        return map(partial(self.recognise, **options), sources)

    def stream(self, modalities: Modalities = "both", *, threshold: float | None = None) -> Stream:
        """Begin a conversation that is predicted turn by turn; see ``Stream`` for arguments and errors."""
        return Stream(self, modalities, threshold)


def find_texts(source: object) -> Sequence[str] | None:
    """Return the texts that a source consists of, or None if it is a file or samples."""
    if isinstance(source, str):
        try:
            is_file = FILE_NAME.fullmatch(source) or (source.strip() and Path(source).exists())
        except (OSError, ValueError):  # too long for a name, or with a NUL
            is_file = False
        return None if is_file else [source]
    if not isinstance(source, Sequence):
        return None
    if not source or not all(isinstance(one, str) for one in source):
        kinds = ", ".join(sorted({type(one).__name__ for one in source})) or "nothing"
        raise MoodlineError(
            f"a list of turns must hold texts, but holds {kinds}; give samples as a NumPy array, and predict several "
            "recordings with recognise_all",
            code="transcript.not_texts",
        )
    return source


def load(
    named: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device = AUTO,
    precision: Precision = FULL_PRECISION,
    batch_seconds: float | None = None,
) -> Model:
    """Load a model; the short name of ``Model.from_pretrained``."""
    return Model.from_pretrained(
        named, revision=revision, device=device, precision=precision, batch_seconds=batch_seconds
    )


from_pretrained = load
