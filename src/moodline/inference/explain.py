"""Explanations: the turns of context that weighed most, and the contributions of speech and words."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from moodline.config import AUDIO_CONTEXT, FUSION, TEXT_CONTEXT
from moodline.device import run_on_device
from moodline.inference.windows import Window, plan_windows
from moodline.modeling.batching import Encoding, repeat_full_length
from moodline.modeling.context import BiGruAttention
from moodline.modeling.model import ENCODER_BY_STAGE, ConversationModel
from moodline.timeline.timeline import Influence, Reasons

# Turns of context that are told of each turn.
MAX_INFLUENCES = 3

ProbabilityFunction = Callable[[Mapping[str, Encoding]], Mapping[str, Tensor]]


@torch.inference_mode()
def explain_turns(
    network: ConversationModel,
    read: Mapping[str, Tensor],
    probabilities: ProbabilityFunction,
    present: Mapping[str, Tensor] | None = None,
) -> list[Reasons]:
    """Why each of a conversation's S turns has its label, window by window.

    Args:
        read: what the contexts read of the turns: (S, E) by encoder
        probabilities: encodings (..., classes) by stage -> what the model makes of them, (..., classes) by stage
        present: by encoder, (S,), the turns whose modality the fusion reads. What speech and words gave is told where
            these are all of them, and it is left out.
    """
    windows = plan_windows(len(next(iter(read.values()))))
    fusing = FUSION in network.parts and len(read) == len(ENCODER_BY_STAGE) and present is None
    return [reasons for window in windows for reasons in explain_window(window, network, read, probabilities, fusing)]


def explain_window(
    window: Window,
    network: ConversationModel,
    read: Mapping[str, Tensor],
    probabilities: ProbabilityFunction,
    fusing: bool,
) -> list[Reasons]:
    """Those of the turns that are taken from one window; ``fusing`` is whether the fusion reads both of each."""
    values = {encoder: one[None, window.start : window.stop] for encoder, one in read.items()}  # (S, E) -> (1, n, E)
    weights = compute_attention(network, values)
    falls = compute_ablation_falls(network, values, probabilities) if fusing else {}
    speech, words = falls.get(AUDIO_CONTEXT), falls.get(TEXT_CONTEXT)
    return [
        Reasons(
            context=() if weights is None else find_strongest(weights[row], row, window.start),
            speech=None if speech is None else float(speech[row]),
            words=None if words is None else float(words[row]),
        )
        for row in range(window.first - window.start, window.last - window.start)
    ]


def compute_attention(network: ConversationModel, values: Mapping[str, Tensor]) -> Tensor | None:
    """Who attends to whom, the mean over the contexts and their directions: (1, n, E) by encoder -> (n, n).

    None where no context has self-attention.
    """
    found: list[Tensor] = []
    for stage, encoder in ENCODER_BY_STAGE.items():
        if encoder in values and isinstance(context := network.parts[stage], BiGruAttention):
            turns = values[encoder]
            found += run_on_device(context, turns, repeat_full_length(turns), function=context.weights)
    return torch.cat(found).mean(dim=0) if found else None  # (contexts directions, n, n) -> (n, n)


def find_strongest(row: Tensor, turn: int, start: int) -> tuple[Influence, ...]:
    """The heaviest of a turn's weights (n,), without its own: a turn is not its own context.

    Args:
        turn: which it is, within the window
        start: where in the conversation the window begins
    """
    others = row.index_fill(0, torch.tensor([turn]), -1.0)
    weights, turns = others.topk(min(MAX_INFLUENCES, len(row) - 1))
    pairs = zip(turns.tolist(), weights.tolist(), strict=True)
    return tuple(Influence(turn=start + other, weight=weight) for other, weight in pairs)


def compute_ablation_falls(
    network: ConversationModel, values: Mapping[str, Tensor], probabilities: ProbabilityFunction
) -> dict[str, Tensor]:
    """By how much each turn's most probable class falls without a context's modality: (1, n, E) by encoder -> (n,).

    By context stage.
    """
    contexts = {
        stage: run_on_device(network.parts[stage], values[encoder], repeat_full_length(values[encoder])).embeddings
        for stage, encoder in ENCODER_BY_STAGE.items()
    }
    whole = compute_fused_probabilities(network, contexts, probabilities)  # (n, classes)
    labels = whole.argmax(dim=-1, keepdim=True)  # (n, 1)
    falls: dict[str, Tensor] = {}
    for stage, contextual in contexts.items():
        changed = compute_fused_probabilities(network, {**contexts, stage: ablate_modality(contextual)}, probabilities)
        falls[stage] = (whole - changed).gather(1, labels)[:, 0]
    return falls


def ablate_modality(contextual: Tensor) -> Tensor:
    """A modality's contextual embeddings (1, n, D) when it tells no turn from another: all are their mean."""
    return contextual.mean(dim=1, keepdim=True).expand_as(contextual)


def compute_fused_probabilities(
    network: ConversationModel, contexts: Mapping[str, Tensor], probabilities: ProbabilityFunction
) -> Tensor:
    """The fusion's probabilities from contextual embeddings (1, n, D) by context stage: (n, classes)."""
    audio, text = contexts[AUDIO_CONTEXT], contexts[TEXT_CONTEXT]
    encoding = run_on_device(network.parts[FUSION], audio, text, repeat_full_length(audio))
    return probabilities({FUSION: encoding})[FUSION][0]
