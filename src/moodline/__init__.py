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
_MODULES = {
    "Corpus": "moodline.corpora.corpus",
    "Model": "moodline.inference.pipeline",
    "Stream": "moodline.inference.streaming",
    "Timeline": "moodline.timeline",
    "TimelineTurn": "moodline.timeline",
    "Transcription": "moodline.inference.transcribe",
    "evaluate": "moodline.api",
    "from_pretrained": "moodline.inference.pipeline",
    "load": "moodline.inference.pipeline",
    "read_corpus": "moodline.corpora.corpus",
    "read_embeddings": "moodline.embeddings",
    "train": "moodline.api",
    "transcribe": "moodline.inference.transcribe",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'moodline' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
