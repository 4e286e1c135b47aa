"""The boxes of the paper: LEAF, the encoders, context and fusion, and the model they form."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moodline.modeling.leaf import Leaf, LeafStream

__all__ = ["Leaf", "LeafStream"]


def __getattr__(name: str) -> Any:
    # torch loads when a front-end does: reading audio files must not wait for it.
    if name == "Leaf":
        from moodline.modeling.leaf import Leaf

        return Leaf
    if name == "LeafStream":
        from moodline.modeling.leaf import LeafStream

        return LeafStream
    raise AttributeError(f"module 'moodline.modeling' has no attribute {name!r}")
