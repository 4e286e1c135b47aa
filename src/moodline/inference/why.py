"""What of a conversation weighed in a turn's label: rows of the self-attention, and what speech and words gave.

Both describe the model, not the speaker, and neither is a cause: docs/stream.md says what they are not.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from moodline.config import AUDIO_CONTEXT, FUSION, TEXT_CONTEXT
from moodline.context.bigru_attention import BiGruAttention
from moodline.encoding import Encoding
from moodline.inference.reasons import Influence, Reasons
from moodline.inference.windows import Window, plan
from moodline.model import ENCODER_OF, ConversationModel
from moodline.padding import same_length_for_all

# Turns of context that are told of each turn.
TOLD = 3

Probabilities = Callable[[Mapping[str, Encoding]], Mapping[str, Tensor]]


@torch.inference_mode()
def reasons_of(
    network: ConversationModel,
    read: Mapping[str, Tensor],
    probabilities: Probabilities,
    present: Mapping[str, Tensor] | None = None,
) -> list[Reasons]:
    """Why each of a conversation's S turns has its label, window by window.

    Args:
        read: what the contexts read of the turns: (S, E) by encoder
        probabilities: encodings (..., classes) by stage -> what the model makes of them, (..., classes) by stage
        present: by encoder, (S,), the turns whose modality the fusion reads. What speech and words gave is told where
            these are all of them, and it is left out.
    """
    windows = plan(len(next(iter(read.values()))))
    fusing = FUSION in network.parts and len(read) == len(ENCODER_OF) and present is None
    return [reasons for window in windows for reasons in reasons_in(window, network, read, probabilities, fusing)]


def reasons_in(
    window: Window, network: ConversationModel, read: Mapping[str, Tensor], probabilities: Probabilities, fusing: bool
) -> list[Reasons]:
    """Those of the turns that are taken from one window; ``fusing`` is whether the fusion reads both of each."""
    values = {encoder: one[None, window.start : window.stop] for encoder, one in read.items()}  # (S, E) -> (1, n, E)
    weights = attention(network, values)
    falls = falls_without(network, values, probabilities) if fusing else {}
    speech, words = falls.get(AUDIO_CONTEXT), falls.get(TEXT_CONTEXT)
    return [
        Reasons(
            context=() if weights is None else strongest(weights[row], row, window.start),
            speech=None if speech is None else float(speech[row]),
            words=None if words is None else float(words[row]),
        )
        for row in range(window.first - window.start, window.last - window.start)
    ]


def attention(network: ConversationModel, values: Mapping[str, Tensor]) -> Tensor | None:
    """Who attends to whom, the mean over the contexts and their directions: (1, n, E) by encoder -> (n, n).

    None where no context has self-attention.
    """
    found: list[Tensor] = []
    for stage, encoder in ENCODER_OF.items():
        if encoder in values and isinstance(context := network.parts[stage], BiGruAttention):
            found += context.weights(values[encoder], same_length_for_all(values[encoder]))
    return torch.cat(found).mean(dim=0) if found else None  # (contexts directions, n, n) -> (n, n)


def strongest(row: Tensor, turn: int, start: int) -> tuple[Influence, ...]:
    """The heaviest of a turn's weights (n,), without its own: a turn is not its own context.

    Args:
        turn: which it is, within the window
        start: where in the conversation the window begins
    """
    others = row.index_fill(0, torch.tensor([turn]), -1.0)
    weights, turns = others.topk(min(TOLD, len(row) - 1))
    pairs = zip(turns.tolist(), weights.tolist(), strict=True)
    return tuple(Influence(turn=start + other, weight=weight) for other, weight in pairs)


def falls_without(
    network: ConversationModel, values: Mapping[str, Tensor], probabilities: Probabilities
) -> dict[str, Tensor]:
    """By how much each turn's most probable class falls without a context's modality: (1, n, E) by encoder -> (n,).

    By context stage.
    """
    contexts = {
        stage: network.parts[stage](values[encoder], same_length_for_all(values[encoder])).embeddings
        for stage, encoder in ENCODER_OF.items()
    }
    whole = fused(network, contexts, probabilities)  # (n, classes)
    labels = whole.argmax(dim=-1, keepdim=True)  # (n, 1)
    falls: dict[str, Tensor] = {}
    for stage, contextual in contexts.items():
        changed = fused(network, {**contexts, stage: without(contextual)}, probabilities)
        falls[stage] = (whole - changed).gather(1, labels)[:, 0]
    return falls


def without(contextual: Tensor) -> Tensor:
    """A modality's contextual embeddings (1, n, D) when it tells no turn from another: all are their mean."""
    return contextual.mean(dim=1, keepdim=True).expand_as(contextual)


def fused(network: ConversationModel, contexts: Mapping[str, Tensor], probabilities: Probabilities) -> Tensor:
    """The fusion's probabilities from contextual embeddings (1, n, D) by context stage: (n, classes)."""
    audio, text = contexts[AUDIO_CONTEXT], contexts[TEXT_CONTEXT]
    return probabilities({FUSION: network.parts[FUSION](audio, text, same_length_for_all(audio))})[FUSION][0]
