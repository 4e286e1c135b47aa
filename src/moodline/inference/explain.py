"""Explanations: the turns of context that weighed most, and the contributions of speech and words."""

from collections.abc import Mapping

import torch
from torch import Tensor

from moodline.config import AUDIO_CONTEXT, FUSION, TEXT_CONTEXT
from moodline.device import run_on_device
from moodline.inference.encode import drop_full_masks
from moodline.inference.windows import plan_windows
from moodline.modeling.batching import repeat_full_length
from moodline.modeling.context import BiGruAttention
from moodline.modeling.model import ENCODER_BY_STAGE, ConversationModel
from moodline.timeline.timeline import Influence, Reasons

MAX_INFLUENCES = 3  # turns of context in each turn's reasons


@torch.inference_mode()
def explain_turns(
    network: ConversationModel,
    inputs: Mapping[str, Tensor],
    temperature: float,
    present: Mapping[str, Tensor] | None = None,
    speakers: Tensor | None = None,
) -> list[Reasons]:
    """Explain the label of each of a conversation's S turns, window by window, from the contexts' inputs (S, E).

    Contributions of speech and words, at the fusion's temperature, are computed if it reads both of all turns.
    """
    reads_all = present is None or drop_full_masks(present) is None
    fuses = FUSION in network.parts and len(inputs) == len(ENCODER_BY_STAGE) and reads_all
    found: list[Reasons] = []
    for window in plan_windows(len(next(iter(inputs.values())))):
        values = {encoder: one[None, window.start : window.stop] for encoder, one in inputs.items()}  # (1, n, E)
        numbers = None if speakers is None else speakers[None, window.start : window.stop]  # (1, n)
        weights = compute_attention(network, values, numbers)
        falls = compute_ablation_falls(network, values, temperature, numbers) if fuses else {}
        for row in range(window.first - window.start, window.last - window.start):
            context: list[Influence] = []
            if weights is not None:
                others = weights[row].index_fill(0, torch.tensor([row]), -1.0)
                strongest, turns = others.topk(min(MAX_INFLUENCES, len(others) - 1))
                for weight, turn in zip(strongest.tolist(), turns.tolist(), strict=True):
                    context.append(Influence(turn=window.start + turn, weight=weight))
            speech, words = (
                float(falls[stage][row]) if stage in falls else None for stage in (AUDIO_CONTEXT, TEXT_CONTEXT)
            )
            found.append(Reasons(context=tuple(context), speech=speech, words=words))
    return found


def compute_attention(
    network: ConversationModel, values: Mapping[str, Tensor], speakers: Tensor | None = None
) -> Tensor | None:
    """Compute attention, the mean over contexts and directions, if one has it: (1, n, E) by encoder -> (n, n)."""
    found: list[Tensor] = []
    for stage, encoder in ENCODER_BY_STAGE.items():
        if encoder in values and isinstance(context := network.parts[stage], BiGruAttention):
            turns = values[encoder]
            found += run_on_device(context, turns, repeat_full_length(turns), speakers, function=context.weights)
    return torch.cat(found).mean(dim=0) if found else None  # (contexts directions, n, n) -> (n, n)


def compute_ablation_falls(
    network: ConversationModel, values: Mapping[str, Tensor], temperature: float, speakers: Tensor | None = None
) -> dict[str, Tensor]:
    """Compute the fall of each turn's most probable class without a context's modality: (1, n, E) -> (n,) by stage.

    Without a modality, its contextual embeddings are those of the mean turn.
    """
    lengths = repeat_full_length(next(iter(values.values())))
    contexts = {
        stage: run_on_device(network.parts[stage], values[encoder], lengths, speakers).embeddings
        for stage, encoder in ENCODER_BY_STAGE.items()
    }

    def fuse(embeddings: Mapping[str, Tensor]) -> Tensor:
        """(1, n, D) by context stage -> the fusion's probabilities (n, classes)"""
        values = (embeddings[stage] for stage in ENCODER_BY_STAGE)
        encoding = run_on_device(network.parts[FUSION], *values, lengths, speakers)
        return (encoding.logits.double() / temperature).softmax(dim=-1)[0]

    whole = fuse(contexts)
    labels = whole.argmax(dim=-1, keepdim=True)  # (n, 1)
    means = {stage: values.mean(dim=1, keepdim=True).expand_as(values) for stage, values in contexts.items()}
    return {stage: (whole - fuse({**contexts, stage: means[stage]})).gather(1, labels)[:, 0] for stage in contexts}
