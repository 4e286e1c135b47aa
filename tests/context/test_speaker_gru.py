"""Contexts that read each speaker's turns apart, and attention with a residual path."""

from functools import partial

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.conversation import UNKNOWN
from moodline.modeling.batching import build_bigru, run_recurrent
from moodline.modeling.context import (
    UNKNOWN_SPEAKER,
    BiGruAttention,
    ResidualAttention,
    number_speakers,
    run_by_speaker,
)
from tests.rounding import assert_rounded_alike, count_operations

INPUTS, HIDDEN, TURNS = 5, 8, 9
torch.manual_seed(0)
GRU = build_bigru(INPUTS, HIDDEN, 1, 0.0).eval()
BOX = BiGruAttention(
    INPUTS, classes=4, hidden=HIDDEN, attention=ResidualAttention, speaker_gru=True
).eval()  # fmt: skip
OPERATIONS = count_operations(BOX, TURNS)
casts = st.lists(
    st.lists(st.sampled_from([UNKNOWN_SPEAKER, 0, 1, 2]), min_size=1, max_size=TURNS), min_size=1, max_size=4
)


@settings(max_examples=30, deadline=None)
@given(casts)
@torch.no_grad()
def test_each_speakers_turns_are_read_alone(speakers: list[list[int]]) -> None:
    size = max(map(len, speakers))
    values = torch.randn(len(speakers), size, INPUTS, generator=torch.Generator().manual_seed(size))
    numbers = torch.full((len(speakers), size), UNKNOWN_SPEAKER)
    for row, cast in enumerate(speakers):
        numbers[row, : len(cast)] = torch.tensor(cast)
    found = run_by_speaker(partial(run_recurrent, GRU), values, numbers, 2 * HIDDEN)
    for row in range(len(speakers)):
        assert not found[row, numbers[row] == UNKNOWN_SPEAKER].any()
        for speaker in set(numbers[row].tolist()) - {UNKNOWN_SPEAKER}:
            own = numbers[row] == speaker
            assert_rounded_alike(found[row, own], GRU(values[row, own][None])[0][0], OPERATIONS)


@settings(max_examples=20, deadline=None)
@given(casts)
@torch.no_grad()
def test_padding_changes_nothing(speakers: list[list[int]]) -> None:
    sequences = [
        torch.randn(len(cast), INPUTS, generator=torch.Generator().manual_seed(len(cast))) for cast in speakers
    ]
    numbers = [torch.tensor(cast) for cast in speakers]
    padded, together = (torch.nn.utils.rnn.pad_sequence(rows, batch_first=True) for rows in (sequences, numbers))
    found = BOX(padded, torch.tensor([len(one) for one in sequences]), together)
    for row, (values, own) in enumerate(zip(sequences, numbers, strict=True)):
        expected = BOX(values[None], torch.tensor([len(values)]), own[None])
        for one, other in zip(found, expected, strict=True):
            assert_rounded_alike(one[row, : len(values)], other[0], OPERATIONS)


@torch.no_grad()
def test_without_known_speakers_the_speakers_gru_reads_nothing() -> None:
    values, lengths = torch.randn(1, 6, INPUTS), torch.tensor([6])
    unknown = torch.full((1, 6), UNKNOWN_SPEAKER)
    assert torch.equal(BOX(values, lengths).logits, BOX(values, lengths, unknown).logits)
    known = torch.zeros(1, 6, dtype=torch.long)
    assert not torch.equal(BOX(values, lengths).logits, BOX(values, lengths, known).logits)


def test_speakers_are_numbered_by_their_first_turns() -> None:
    assert number_speakers(["ben", UNKNOWN, "ann", "ben"]).tolist() == [0, UNKNOWN_SPEAKER, 2, 0]
    assert number_speakers([]).shape == (0,)


@torch.no_grad()
def test_residual_attention_is_its_equation() -> None:
    attention = ResidualAttention(hidden=HIDDEN).eval()
    outputs = torch.randn(1, TURNS, HIDDEN)
    exact = outputs[0].double()
    weight, bias = (getattr(attention.attend, f"in_proj_{name}").double() for name in ("weight", "bias"))
    query, key, value = (exact @ weight.T + bias).chunk(3, dim=-1)
    weights = (query @ key.T / np.sqrt(HIDDEN)).softmax(dim=-1)
    attended = torch.nn.functional.linear(
        weights @ value, attention.attend.out_proj.weight.double(), attention.attend.out_proj.bias.double()
    )
    expected = torch.nn.functional.layer_norm(exact + attended, (HIDDEN,))
    mask = torch.ones(1, TURNS, dtype=torch.bool)
    assert_rounded_alike(attention(outputs, mask)[0], expected, OPERATIONS)
    assert_rounded_alike(attention.weights(outputs, mask)[0], weights, OPERATIONS)
