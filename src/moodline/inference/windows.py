"""Long conversations: what reads turns in their context reads them in windows that overlap.

Attention looks at all pairs of turns, so that its memory grows with the square of a conversation; a window bounds it.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from moodline.device import run_on_device
from moodline.errors import MoodlineError
from moodline.modeling.batching import Encoding
from moodline.modeling.model import ConversationModel
from moodline.runtime import memory_trimmer

# Turns. More than any conversation of IEMOCAP or MELD has, so that those are read whole; what others cost and change,
# and why these: docs/timeline.md.
WINDOW = 256
OVERLAP = 128


class Window(NamedTuple):
    """Turns [start, stop) are read together; those of [first, last) are taken from here."""

    start: int
    stop: int
    first: int
    last: int


def plan_windows(turns: int, size: int = WINDOW, overlap: int = OVERLAP) -> list[Window]:
    """Windows over a conversation of so many turns, each turn taken from the one in which it stands most centrally.

    All are ``size`` turns long, or there is one alone. Neighbours share ``overlap`` turns, and the last two more, since
    the last window ends with the conversation: what it says of the last turn is what the last ``size`` turns say.

    Raises:
        MoodlineError: a window has no turn of its own
    """
    if not 0 <= overlap < size:
        raise MoodlineError(
            f"windows are longer than their overlap, which is 0 turns or more: {size} turns with an overlap of "
            f"{overlap} are not; choose others"
        )
    if turns <= size:
        return [Window(0, turns, 0, turns)]
    starts = [*range(0, turns - size, size - overlap), turns - size]
    # Of two neighbours the earlier has the turns up to the middle between their centres.
    cuts = [(earlier + later + size + 1) // 2 for earlier, later in pairwise(starts)]
    firsts, lasts = [0, *cuts], [*cuts, turns]
    return [Window(start, start + size, *kept) for start, *kept in zip(starts, firsts, lasts, strict=True)]


@torch.inference_mode()
def encode_in_windows(
    network: ConversationModel,
    read: Mapping[str, Tensor],
    size: int = WINDOW,
    overlap: int = OVERLAP,
    encoded: Mapping[str, Tensor] | None = None,
    present: Mapping[str, Tensor] | None = None,
) -> dict[str, Encoding]:
    """A conversation's encoding by the context stages and the fusion, in bounded memory beside the results.

    A conversation of up to ``size`` turns is read whole.

    Args:
        read: what the contexts read of its turns: (S, E) by encoder
        encoded, present: by encoder, (S,), as of ``ConversationModel``

    Returns:
        embeddings (S, D) and logits (S, classes) by stage
    """
    pieces: dict[str, list[Encoding]] = {}
    for window in plan_windows(len(next(iter(read.values()))), size, overlap):
        memory_trimmer.trim()
        masks = encoded and cut_window(encoded, window), present and cut_window(present, window)
        lengths = torch.tensor([window.stop - window.start])
        for stage, encoding in run_on_device(network, cut_window(read, window), lengths, *masks).items():
            pieces.setdefault(stage, []).append(keep_window(encoding, window))
    return {
        stage: Encoding(torch.cat([one.embeddings for one in some]), torch.cat([one.logits for one in some]))
        for stage, some in pieces.items()
    }


def cut_window(turns: Mapping[str, Tensor], window: Window) -> dict[str, Tensor]:
    """A batch of one window: (S, ...) -> (1, size, ...)."""
    return {encoder: one[None, window.start : window.stop] for encoder, one in turns.items()}


def keep_window(encoding: Encoding, window: Window) -> Encoding:
    """What is taken from a window: (1, size, ...) -> (last - first, ...).

    A copy, beside which the rest of the window is let go.
    """
    turns = slice(window.first - window.start, window.last - window.start)
    return Encoding(encoding.embeddings[0, turns].clone(), encoding.logits[0, turns].clone())
