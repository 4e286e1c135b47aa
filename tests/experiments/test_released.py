"""The released code's choices: what they are, and that each makes the difference that the paper's do not."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moodline.config import ContextConfig
from moodline.conversation import IEMOCAP4, Conversation, LabelSet, Utterance
from moodline.corpora.corpus import Corpus
from moodline.corpora.protocols import Fold, build_folds
from moodline.modeling.as_released import ReleasedAttention, ReleasedPadding, ReleasedSelection, find_classified
from moodline.modeling.context import SelfAttention
from moodline.modeling.model import build_context
from tests.rounding import assert_rounded_alike, count_operations, rounding

HIDDEN = 6
PROTOCOLS = ("session5", "cv5", "cv10", "kfold3")


def outputs_of(turns: int, padding: int = 0, seed: int = 0) -> Tensor:
    """What the GRU gives a conversation in a batch (S + padding, H): zeros at the end."""
    values = torch.randn(turns, HIDDEN, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.pad(values, (0, 0, 0, padding))


def attention() -> ReleasedAttention:
    torch.manual_seed(0)
    box = ReleasedAttention(HIDDEN)
    with torch.no_grad():  # so that attention is far from uniform
        box.map.weight.mul_(4)
    return box


def attended(box: torch.nn.Module, outputs: Tensor, length: int) -> np.ndarray:
    mask = torch.arange(len(outputs)) < length
    with torch.no_grad():
        return box(outputs[None], mask[None])[0].numpy()


def written_out(outputs: Tensor, weight: Tensor) -> np.ndarray:
    """Entry by entry: the sum over j of exp(s_ij) / sum_k exp(s_kj) (O W)_j."""
    mapped = outputs.double().numpy() @ weight.detach().double().numpy().T  # O W, as PyTorch keeps W transposed
    size = len(mapped)
    powers = [[np.exp(float(mapped[i] @ mapped[j])) for j in range(size)] for i in range(size)]
    of_columns = [sum(powers[k][j] for k in range(size)) for j in range(size)]
    return np.array([sum(powers[i][j] / of_columns[j] * mapped[j] for j in range(size)) for i in range(size)])


@pytest.mark.parametrize(("turns", "padding"), [(1, 0), (5, 0), (5, 3)])
def test_the_attention_is_the_released_codes(turns: int, padding: int) -> None:
    box, outputs = attention(), outputs_of(turns, padding)
    scores = outputs.square().sum(dim=1).max().item() * box.map.weight.square().sum().item()
    # A score's error is a relative one of its exponential.
    operations = 2 * HIDDEN * scores + 2 * turns
    assert_rounded_alike(attended(box, outputs, turns), written_out(outputs, box.map.weight), operations)


def test_the_attention_is_not_the_papers() -> None:
    """The same weights: other values, and on the same values (W = 1) another axis."""
    box, paper, outputs = attention(), SelfAttention(HIDDEN), outputs_of(5)
    paper.load_state_dict(box.state_dict())
    assert np.abs(attended(box, outputs, 5) - attended(paper, outputs, 5)).max() > 0.1
    for one in (box, paper):
        torch.nn.init.eye_(one.map.weight)
    assert np.abs(attended(box, outputs, 5) - attended(paper, outputs, 5)).max() > 0.1


@settings(max_examples=20, deadline=None)
@given(turns=st.integers(1, 8), padding=st.integers(1, 8))
def test_padding_changes_what_the_released_attention_gives_and_not_the_papers(turns: int, padding: int) -> None:
    config = {name: ContextConfig(hidden=HIDDEN, attention=name) for name in ("paper", "released")}
    values = torch.randn(1, turns, 4, generator=torch.Generator().manual_seed(turns))
    longer = torch.nn.functional.pad(values, (0, 0, 0, padding))
    for name in config:
        torch.manual_seed(0)
        model, lengths = build_context(config[name], 4, 3).eval(), torch.tensor([turns])
        with torch.no_grad():
            alone, beside = (model(one, lengths).embeddings[0, :turns] for one in (values, longer))
        difference = float((alone - beside).abs().max())
        allowed = 2 * rounding(count_operations(model, turns)) * float(alone.abs().max())
        assert difference <= allowed if name == "paper" else difference > 1e-4


@given(length=st.integers(0, 40), padded=st.integers(0, 40), place=st.floats(0, 1, exclude_max=True))
def test_a_waveform_is_whole_among_zeros(length: int, padded: int, place: float) -> None:
    waveform = torch.arange(1.0, length + 1)
    found = ReleasedPadding(padded)(waveform, place)
    assert len(found) == max(length, padded)
    assert found[found != 0].equal(waveform)
    if length:
        assert found.nonzero().diff(dim=0).eq(1).all()  # in one piece
        begin = int(found.nonzero()[0])
        assert begin == 0 if place == 0 else 0 <= begin <= len(found) - length


def test_all_places_are_as_likely() -> None:
    places = np.random.default_rng(0).random(4000)
    begins = [int(ReleasedPadding(5)(torch.ones(2), place).nonzero()[0]) for place in places]
    deviation = (0.25 * 0.75 / len(begins)) ** 0.5
    np.testing.assert_allclose(np.bincount(begins) / len(begins), [0.25] * 4, rtol=0, atol=4 * deviation)


def chosen(fold: Fold, seed: int = 0) -> tuple[set[str], set[str]]:
    sets = fold.get_training_sets(IEMOCAP4, "all")
    train, validation = ReleasedSelection(seed)(sets.train, sets.validation, IEMOCAP4)
    return find_classified(train, IEMOCAP4), find_classified(validation, IEMOCAP4)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_trains_and_what_selects_are_the_folds_own_turns_drawn_anew(corpus: Corpus, protocol: str) -> None:
    for fold in build_folds(corpus, protocol):
        scored = {name: find_classified(conversations, IEMOCAP4) for name, conversations in fold.scored.items()}
        train, validation = chosen(fold)
        assert not train & validation
        assert train | validation == scored["train"] | scored["validation"]
        assert len(validation) == len(scored["validation"])
        assert not (train | validation) & scored["test"]
        assert train & scored["validation"]  # the leak


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_draw_is_a_function_of_seed_and_turns(corpus: Corpus, protocol: str) -> None:
    fold = build_folds(corpus, protocol)[0]
    sets = fold.get_training_sets(IEMOCAP4, "all")
    assert chosen(fold) == chosen(fold)
    assert chosen(fold) != chosen(fold, seed=1)
    backwards = ReleasedSelection(0)(sets.train[::-1], sets.validation[::-1], IEMOCAP4)
    assert tuple(find_classified(one, IEMOCAP4) for one in backwards) == chosen(fold)


labels = st.sampled_from(["ang", "sad", "fru", None])


@given(train=st.lists(st.lists(labels, max_size=5), max_size=6), validation=st.lists(labels, max_size=9))
def test_whatever_the_turns_each_with_a_class_is_in_one_part(train: list[list[str]], validation: list[str]) -> None:
    talks = [talk(f"train{number}", one) for number, one in enumerate(train)]
    one = talk("validation", validation)
    parts = ReleasedSelection(3)(talks, [one], IEMOCAP4)
    training, selecting = ([turn.id for each in part for turn in each.utterances] for part in parts)
    assert sorted(training + selecting) == sorted(find_classified([*talks, one], IEMOCAP4))
    assert len(selecting) == len(find_classified([one], IEMOCAP4))


def talk(name: str, spoken: list[str | None]) -> Conversation:
    turns = (Utterance(id=f"{name}_{n}", speaker="F", words="", label=label) for n, label in enumerate(spoken))
    return Conversation(id=name, utterances=tuple(turns))


def test_a_class_of_ones_own_counts() -> None:
    own = LabelSet(name="own", version=1, classes=("a", "b"), mapping={"fru": "a", "xxx": "b"})
    assert find_classified([talk("t", ["fru", "ang", None, "xxx"])], own) == {"t_0", "t_3"}


def test_the_released_choices_load_without_what_trains() -> None:
    """Models import them: they must not bring in training, corpora or the libraries of these."""
    code = (
        "import sys, moodline.modeling.as_released\n"
        "ours = {name for name in sys.modules if name.startswith('moodline.')}\n"
        "assert ours <= {'moodline.' + name for name in "
        "('errors', 'io', 'conversation', 'modeling', 'modeling.as_released')}, ours\n"
        "heavy = {'transformers', 'lightning', 'pyarrow', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
