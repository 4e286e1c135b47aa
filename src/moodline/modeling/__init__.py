"""The boxes of the paper: LEAF, the encoders, context and fusion, and the model they form."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moodline.modeling.leaf import Leaf, LeafStream

__all__ = ["Leaf", "LeafStream"]


def __getattr__(name: str) -> Any:
    # Loads torch on first use: reading audio files must not wait for it.
    if name in __all__:
        from moodline.modeling import leaf

        return getattr(leaf, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
