"""Emotion recognition in conversations from speech and words."""

import importlib
import logging
from importlib import metadata
from typing import TYPE_CHECKING, Any

from moodline.conversation import AudioClip, Conversation, LabelSet, Utterance
from moodline.errors import MoodlineError

if TYPE_CHECKING:
    from moodline.api import evaluate, train
    from moodline.corpora.corpus import Corpus, read_corpus
    from moodline.embeddings import read_embeddings
    from moodline.inference.pipeline import Model, load
    from moodline.inference.pipeline import load as from_pretrained
    from moodline.inference.streaming import Stream
    from moodline.inference.transcribe import Transcription, transcribe
    from moodline.timeline import Timeline, TimelineTurn

__version__ = metadata.version("moodline")
__all__ = [
    "AudioClip",
    "Conversation",
    "Corpus",
    "LabelSet",
    "Model",
    "MoodlineError",
    "Stream",
    "Timeline",
    "TimelineTurn",
    "Transcription",
    "Utterance",
    "__version__",
    "evaluate",
    "from_pretrained",
    "load",
    "read_corpus",
    "read_embeddings",
    "train",
    "transcribe",
]

logging.getLogger("moodline").addHandler(logging.NullHandler())

# Loaded at first use: PyTorch takes seconds, and the command line's help must not wait for it.
_NAMES_BY_MODULE = {
    "moodline.api": ("evaluate", "train"),
    "moodline.corpora.corpus": ("Corpus", "read_corpus"),
    "moodline.embeddings": ("read_embeddings",),
    "moodline.inference.pipeline": ("Model", "from_pretrained", "load"),
    "moodline.inference.streaming": ("Stream",),
    "moodline.inference.transcribe": ("Transcription", "transcribe"),
    "moodline.timeline": ("Timeline", "TimelineTurn"),
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    for module, names in _NAMES_BY_MODULE.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'moodline' has no attribute {name!r}")
