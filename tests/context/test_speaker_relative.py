import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moodline.modeling.context import PRIOR_TURNS, subtract_speaker_means
from tests.rounding import rounding

SIZE = 3
casts = st.lists(st.sampled_from(["ann", "ben", "cid"]), min_size=1, max_size=12)


def embeddings(turns: int) -> Tensor:
    return torch.randn(turns, SIZE, generator=torch.Generator().manual_seed(turns))


@settings(max_examples=30, deadline=None)
@given(speakers=casts)
def test_each_turn_is_its_difference_from_its_speakers_mean(speakers: list[str]) -> None:
    values = embeddings(len(speakers))
    found = subtract_speaker_means(values, speakers)
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
    assert torch.equal(subtract_speaker_means(values, speakers), subtract_speaker_means(values, renamed))


def test_what_a_voice_always_has_fades_the_more_it_is_heard() -> None:
    voice = torch.full((SIZE,), 10.0)
    left = []
    for turns in (1, 10, 100):
        speakers = ["ann"] * turns + ["ben"]
        values = embeddings(turns + 1)
        offset = values.clone()
        offset[:turns] += voice
        moved = subtract_speaker_means(offset, speakers) - subtract_speaker_means(values, speakers)
        assert torch.equal(moved[-1], torch.zeros(SIZE))
        left.append(float(moved[0, 0]))
    expected = [10 * PRIOR_TURNS / (turns + PRIOR_TURNS) for turns in (1, 10, 100)]
    allowed = 2 * rounding(101) * float(offset.abs().max())  # two sums over the turns, and their difference
    np.testing.assert_allclose(left, expected, rtol=0, atol=allowed)
