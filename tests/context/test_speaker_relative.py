import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moodline.config import ContextConfig
from moodline.modeling.context import PRIOR_TURNS
from moodline.modeling.model import relate_to_speakers
from tests.rounding import rounding

SIZE = 3
RELATIVE = ContextConfig(speaker_relative=True)
casts = st.lists(st.sampled_from(["ann", "ben", "cid"]), min_size=1, max_size=12)


def embeddings(turns: int) -> Tensor:
    return torch.randn(turns, SIZE, generator=torch.Generator().manual_seed(turns))


@settings(max_examples=30, deadline=None)
@given(speakers=casts)
def test_each_turn_is_its_difference_from_its_speakers_mean(speakers: list[str]) -> None:
    values = embeddings(len(speakers))
    found = relate_to_speakers(values, speakers, RELATIVE)
    exact = values.double().numpy()
    for turn, speaker in enumerate(speakers):
        own = exact[[other == speaker for other in speakers]]
        expected = exact[turn] - np.vstack([own, np.zeros((PRIOR_TURNS, SIZE))]).mean(axis=0)
        # The sum over the speaker's turns, a division and a difference: on numbers as large as the embeddings.
        allowed = rounding(len(speakers) + 2) * values.abs().max().item()
        np.testing.assert_allclose(found[turn].numpy(), expected, rtol=0, atol=allowed)


@settings(max_examples=30, deadline=None)
@given(speakers=casts)
def test_names_are_of_no_matter(speakers: list[str]) -> None:
    values = embeddings(len(speakers))
    renamed = [{"ann": "x", "ben": "ann", "cid": ""}[speaker] for speaker in speakers]
    assert torch.equal(relate_to_speakers(values, speakers, RELATIVE), relate_to_speakers(values, renamed, RELATIVE))


def test_what_a_voice_always_has_fades_the_more_it_is_heard() -> None:
    voice = torch.full((SIZE,), 10.0)
    left = []
    for turns in (1, 10, 100):
        speakers = ["ann"] * turns + ["ben"]
        values = embeddings(turns + 1)
        offset = values.clone()
        offset[:turns] += voice
        moved = relate_to_speakers(offset, speakers, RELATIVE) - relate_to_speakers(values, speakers, RELATIVE)
        assert torch.equal(moved[-1], torch.zeros(SIZE))
        left.append(float(moved[0, 0]))
    expected = [10 * PRIOR_TURNS / (turns + PRIOR_TURNS) for turns in (1, 10, 100)]
    allowed = 2 * rounding(101) * float(offset.abs().max())  # two sums over the turns, and their difference
    np.testing.assert_allclose(left, expected, rtol=0, atol=allowed)


@settings(max_examples=30, deadline=None)
@given(speakers=casts, subtract=st.booleans())
def test_with_the_mean_appended_nothing_is_lost(speakers: list[str], subtract: bool) -> None:
    values = embeddings(len(speakers))
    config = ContextConfig(speaker_relative=subtract, append_speaker_mean=True)
    found = relate_to_speakers(values, speakers, config)
    assert found.shape == (len(speakers), config.count_inputs(SIZE))
    related, means = found.chunk(2, dim=-1)
    assert torch.equal(values - means if subtract else values, related)
    assert torch.equal(relate_to_speakers(values, speakers, RELATIVE), values - means)
