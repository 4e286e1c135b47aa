"""Emotion recognition in conversations from speech and words."""

from importlib import metadata
from typing import TYPE_CHECKING, Any

from moodline.conversation import AudioClip, Conversation, LabelSet, Utterance
from moodline.errors import MoodlineError

if TYPE_CHECKING:
    from moodline.embeddings import read_embeddings
    from moodline.inference.pipeline import load
    from moodline.inference.transcribe import transcribe

__version__ = metadata.version("moodline")
__all__ = [
    "AudioClip",
    "Conversation",
    "LabelSet",
    "MoodlineError",
    "Utterance",
    "__version__",
    "load",
    "read_embeddings",
    "transcribe",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    # torch loads when a model does: the command line's help must not wait for it.
    if name == "load":
        from moodline.inference.pipeline import load

        return load
    if name == "read_embeddings":
        from moodline.embeddings import read_embeddings

        return read_embeddings
    if name == "transcribe":
        from moodline.inference.transcribe import transcribe

        return transcribe
    raise AttributeError(f"module 'moodline' has no attribute {name!r}")
