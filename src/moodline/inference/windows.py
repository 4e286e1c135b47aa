"""Encode conversations by the context stages and the fusion: in batches, and long ones in overlapping windows."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from moodline.device import run_on_device
from moodline.inference.encode import drop_full_masks
from moodline.modeling.batching import Encoding, build_length_batches, pad_sequences
from moodline.modeling.model import ConversationModel
from moodline.runtime import memory_trimmer

CONVERSATION_BATCH = 32
# In turns: all of IEMOCAP's and MELD's conversations are read whole. The effect on longer ones: docs/timeline.md.
WINDOW = 256
OVERLAP = 128


@torch.inference_mode()
def encode_conversations(
    part: nn.Module, *sequences: Sequence[Tensor], speakers: Sequence[Tensor] | None = None
) -> list[Encoding]:
    """Encode conversations by a context or fusion stage, from (S_i, D) of each, for each input of the part.

    Args:
        speakers: (S_i,) of each, see ``ConversationModel``
    """
    part.eval()
    sizes = [len(sequence) for sequence in sequences[0]]
    encodings: dict[int, Encoding] = {}
    for batch in build_length_batches(sizes, batch_size=CONVERSATION_BATCH):
        padded = [pad_sequences([each[index] for index in batch])[0] for each in sequences]
        lengths = torch.tensor([sizes[index] for index in batch])
        numbers = [] if speakers is None else [pad_sequences([speakers[index] for index in batch])[0]]
        encoding = run_on_device(part, *padded, lengths, *numbers)
        for row, index in enumerate(batch):
            encodings[index] = Encoding(*(values[row, : sizes[index]] for values in encoding))
    return [encodings[index] for index in range(len(sizes))]


class Window(NamedTuple):
    """Turns [start, stop) are read together; the results of [first, last) are kept."""

    start: int
    stop: int
    first: int
    last: int


def plan_windows(turns: int, size: int = WINDOW, overlap: int = OVERLAP) -> list[Window]:
    """Plan windows of ``size`` turns, or one for a shorter conversation; each turn is kept where it is most central.

    Neighbours share ``overlap`` turns, the last two more, since the last window ends with the conversation.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"windows of {size} turns cannot overlap by {overlap}")
    if turns <= size:
        return [Window(0, turns, 0, turns)]
    starts = [*range(0, turns - size, size - overlap), turns - size]
    # The earlier of two neighbours has the turns up to the middle between their centres.
    cuts = [(earlier + later + size + 1) // 2 for earlier, later in pairwise(starts)]
    return [
        Window(start, start + size, first, last)
        for start, first, last in zip(starts, [0, *cuts], [*cuts, turns], strict=True)
    ]


@torch.inference_mode()
def encode_in_windows(
    network: ConversationModel,
    inputs: Mapping[str, Tensor],
    size: int = WINDOW,
    overlap: int = OVERLAP,
    encoded: Mapping[str, Tensor] | None = None,
    present: Mapping[str, Tensor] | None = None,
    speakers: Tensor | None = None,
) -> dict[str, Encoding]:
    """Encode a conversation by the context stages and the fusion, in windows: (S, D) and (S, classes) by stage.

    Attention compares all pairs of turns; a window bounds its memory, which grows with the square of their number.

    Args:
        inputs: of the contexts, (S, E) by encoder
        encoded, present: (S,) by encoder, see ``ConversationModel``
        speakers: (S,), see ``ConversationModel``
    """
    present = present and drop_full_masks(present)
    pieces: dict[str, list[Encoding]] = {}
    for window in plan_windows(len(next(iter(inputs.values()))), size, overlap):
        memory_trimmer.trim()
        read, *masks = (  # a batch of one: (S, ...) -> (1, size, ...) by encoder
            values and {encoder: one[None, window.start : window.stop] for encoder, one in values.items()}
            for values in (inputs, encoded, present)
        )
        lengths = torch.tensor([window.stop - window.start])
        numbers = None if speakers is None else speakers[None, window.start : window.stop]
        kept = slice(window.first - window.start, window.last - window.start)
        for stage, encoding in run_on_device(network, read, lengths, *masks, numbers).items():
            # Copied, so that the rest of the window is freed: (1, size, ...) -> (last - first, ...)
            pieces.setdefault(stage, []).append(Encoding(*(values[0, kept].clone() for values in encoding)))
    return {stage: Encoding(*map(torch.cat, zip(*some, strict=True))) for stage, some in pieces.items()}
