"""Trained parts over many utterances and conversations, in batches of neighbours in length."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from moodline.batching import length_batches
from moodline.config import AUDIO_UTTERANCE, Recipe
from moodline.conversation import Utterance
from moodline.encoding import Encoding
from moodline.inference.inputs import encoder_length, padded, tokens_of, waveform_of
from moodline.memory import free_memory
from moodline.padding import pad
from moodline.text.pretrained import Tokenizer

Sound = Callable[[Utterance, int], Tensor]

ENCODER_BATCH = 16
CONVERSATION_BATCH = 32


@torch.inference_mode()
def encode_utterances(
    stage: str,
    part: nn.Module,
    utterances: Sequence[Utterance],
    recipe: Recipe,
    tokenizer: Tokenizer | None,
    sound: Sound = waveform_of,
) -> Encoding:
    """Every utterance's encoding by an utterance encoder, in the given order: (N, E) and (N, classes).

    ``sound`` is what an encoder of speech hears of an utterance at a sample rate: (T,).
    """
    device = next(part.parameters()).device

    def inputs(chosen: Sequence[Utterance]) -> list[Tensor]:
        if stage == AUDIO_UTTERANCE:
            audio = recipe.audio_utterance
            return [padded(sound(utterance, audio.sample_rate), audio) for utterance in chosen]
        assert tokenizer is not None, "a model of words is loaded with its tokenizer"
        return tokens_of(chosen, tokenizer)

    def encode(indices: Sequence[int]) -> Encoding:
        free_memory.give_back()
        values, lengths = pad(inputs([utterances[index] for index in indices]))
        return part(values.to(device), lengths.to(device))

    part.eval()
    lengths = [encoder_length(stage, utterance, recipe) for utterance in utterances]
    longest = recipe.audio_utterance.batch_seconds if stage == AUDIO_UTTERANCE else float("inf")
    batches = length_batches(lengths, batch_size=ENCODER_BATCH, maximum_total=longest)
    return in_order(batches, encode)


@torch.inference_mode()
def encode_conversations(part: nn.Module, *sequences: Sequence[Tensor]) -> list[Encoding]:
    """Every conversation's encoding by a context or fusion stage.

    Args:
        part: reads padded sequences and their lengths
        sequences: one list of (S_i, D) for each sequence that the part reads
    """
    device = next(part.parameters()).device
    part.eval()
    encodings: list[Encoding | None] = [None] * len(sequences[0])
    sizes = [len(sequence) for sequence in sequences[0]]
    for indices in length_batches(sizes, batch_size=CONVERSATION_BATCH):
        padded = [pad([each[index] for index in indices]) for each in sequences]
        lengths = padded[0][1]
        encoding = part(*(values.to(device) for values, _ in padded), lengths.to(device))
        for row, index in enumerate(indices):
            size = int(lengths[row])
            encodings[index] = Encoding(encoding.embeddings[row, :size].cpu(), encoding.logits[row, :size].cpu())
    return [encoding for encoding in encodings if encoding is not None]


def in_order(batches: Sequence[Sequence[int]], encode: Callable[[Sequence[int]], Encoding]) -> Encoding:
    """Encodings of batches of indices, put back into the order of the indices."""
    encodings = [encode(indices) for indices in batches]
    order = torch.from_numpy(np.argsort(np.concatenate([np.asarray(indices) for indices in batches])))
    embeddings = torch.cat([encoding.embeddings.cpu() for encoding in encodings])[order]
    logits = torch.cat([encoding.logits.cpu() for encoding in encodings])[order]
    return Encoding(embeddings, logits)


def by_conversation(values: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Rows of utterances (N, D) cut into conversations (S_i, D)."""
    return list(values.split(list(sizes)))
