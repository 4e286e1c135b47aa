"""From audio files to utterance embeddings."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moodline.audio.leaf import Leaf
    from moodline.audio.leaf_stream import LeafStream

__all__ = ["Leaf", "LeafStream"]


def __getattr__(name: str) -> Any:
    # torch loads when a front-end does: reading audio files must not wait for it.
    if name == "Leaf":
        from moodline.audio.leaf import Leaf

        return Leaf
    if name == "LeafStream":
        from moodline.audio.leaf_stream import LeafStream

        return LeafStream
    raise AttributeError(f"module 'moodline.audio' has no attribute {name!r}")
