"""The fusion's conditional random field over each speaker's turns."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moodline.modeling.context import UNKNOWN_SPEAKER
from moodline.modeling.fusion import Concatenation, HierarchicalBcLstm, MultimodalTransformer, SpeakerCrf
from tests.rounding import assert_rounded_alike

CLASSES, TURNS = 3, 6
# Of a marginal: two messages of each turn and their normalisations, each a sum over classes of exponentials.
OPERATIONS = 2 * TURNS * 4 * CLASSES


def build_crf(seed: int) -> SpeakerCrf:
    crf = SpeakerCrf(CLASSES)
    torch.nn.init.normal_(crf.transitions, std=2.0, generator=torch.Generator().manual_seed(seed))
    return crf


def draw_logits(*shape: int, seed: int) -> Tensor:
    return 2 * torch.randn(*shape, CLASSES, generator=torch.Generator().manual_seed(seed))


def enumerate_marginals(logits: Tensor, transitions: Tensor) -> Tensor:
    """Sum exp(score) over all sequences of classes, of a chain's logits (L, C), in float64: log marginals (L, C)."""
    values, matrix = logits.detach().double().numpy(), transitions.detach().double().numpy()
    totals = np.zeros_like(values)
    for classes in product(range(CLASSES), repeat=len(values)):
        score = sum(values[turn, one] for turn, one in enumerate(classes))
        score += sum(matrix[one, other] for one, other in pairwise(classes))
        for turn, one in enumerate(classes):
            totals[turn, one] += np.exp(score)
    return torch.from_numpy(np.log(totals / totals.sum(axis=1, keepdims=True)))


casts = st.lists(st.lists(st.sampled_from([UNKNOWN_SPEAKER, 0, 1]), min_size=1, max_size=TURNS), min_size=1, max_size=3)


@settings(max_examples=30, deadline=None)
@given(casts, st.integers(0, 99))
@torch.no_grad()
def test_marginals_are_those_of_all_sequences_of_each_speaker(speakers: list[list[int]], seed: int) -> None:
    crf = build_crf(seed)
    logits = draw_logits(len(speakers), TURNS, seed=seed)
    numbers = torch.full((len(speakers), TURNS), UNKNOWN_SPEAKER)
    for row, cast in enumerate(speakers):
        numbers[row, : len(cast)] = torch.tensor(cast)
    found = crf(logits, numbers)
    for row in range(len(speakers)):
        unknown = numbers[row] == UNKNOWN_SPEAKER
        assert_rounded_alike(found[row, unknown], logits[row, unknown].double().log_softmax(-1), OPERATIONS)
        for speaker in set(numbers[row].tolist()) - {UNKNOWN_SPEAKER}:
            own = numbers[row] == speaker
            expected = enumerate_marginals(logits[row, own], crf.transitions)
            assert_rounded_alike(found[row, own], expected, OPERATIONS)


@torch.no_grad()
def test_turns_are_independent_before_training() -> None:
    logits = draw_logits(1, TURNS, seed=0)
    found = SpeakerCrf(CLASSES)(logits, torch.zeros(1, TURNS, dtype=torch.long))
    assert_rounded_alike(found, logits.double().log_softmax(-1), OPERATIONS)


@torch.no_grad()
def test_a_long_chain_of_extreme_logits_is_finite() -> None:
    logits = 1e3 * draw_logits(1, 2_000, seed=0)
    found = build_crf(0)(logits, torch.zeros(1, 2_000, dtype=torch.long))
    assert found.isfinite().all()
    assert_rounded_alike(found.exp().sum(-1), torch.ones(1, 2_000), OPERATIONS)


def test_the_gradient_is_that_of_the_marginals() -> None:
    crf = build_crf(1).double()
    speakers = torch.tensor([[0, 1, 0, UNKNOWN_SPEAKER, 0, 1], [0, 0, 1, UNKNOWN_SPEAKER, UNKNOWN_SPEAKER, 1]])
    logits = draw_logits(2, TURNS, seed=1).double().requires_grad_()

    def run(values: Tensor, transitions: Tensor) -> Tensor:
        return torch.func.functional_call(crf, {"transitions": transitions}, (values, speakers))

    assert torch.autograd.gradcheck(run, (logits, crf.transitions.detach().requires_grad_()))


@pytest.mark.parametrize("kind", [MultimodalTransformer, Concatenation, HierarchicalBcLstm])
@torch.no_grad()
def test_the_fusion_maps_its_logits_where_speakers_are_known(kind: type) -> None:
    sizes = {"heads": 2, "layers": 1, "feed_forward": 8} if kind is MultimodalTransformer else {}
    torch.manual_seed(0)
    box = kind(4, classes=CLASSES, hidden=8, speaker_crf=True, **sizes).eval()
    box.speaker_crf.transitions.copy_(2 * torch.eye(CLASSES))
    audio, text = torch.randn(2, 2, TURNS, 4).unbind()
    lengths = torch.tensor([TURNS, 3])
    speakers = torch.tensor([[0, 1, 0, 0, 1, 0], [0, 0, 1, 0, 0, 0]])
    plain, found = box(audio, text, lengths), box(audio, text, lengths, speakers)
    assert torch.equal(plain.embeddings, found.embeddings)
    # The second conversation's padding has the number of its first speaker.
    known = speakers.clone()
    known[1, 3:] = UNKNOWN_SPEAKER
    expected = box.speaker_crf(plain.logits, known)
    assert torch.equal(found.logits[0], expected[0])
    assert torch.equal(found.logits[1, :3], expected[1, :3])
    assert not torch.allclose(found.logits[0], plain.logits[0].log_softmax(-1))
