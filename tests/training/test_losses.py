import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moodline.training.dataset import UNSCORED
from moodline.training.lightning_module import compute_conversation_loss, compute_rarity_weights
from tests.rounding import rounding

CLASSES = 4
# A conversation's labels: None is a turn without a class; at least one has one.
CONVERSATION = st.lists(st.none() | st.integers(0, CLASSES - 1), min_size=1, max_size=6).filter(
    lambda labels: any(label is not None for label in labels)
)
# Sums over classes and over labels, of which no test has more than 60.
ROUNDING = rounding(4 * CLASSES + 60)


def written_out(logits: np.ndarray, conversations: list[list[int | None]], weights: np.ndarray) -> float:
    """Mean over conversations of the mean over their scored turns of w_y (log sum_k exp z_k - z_y)."""
    means = []
    for scores, labels in zip(logits, conversations, strict=True):
        losses = [
            weights[label] * (np.log(np.exp(scores[turn]).sum()) - scores[turn, label])
            for turn, label in enumerate(labels)
            if label is not None
        ]
        means.append(np.mean(losses))
    return float(np.mean(means))


def labels_tensor(conversations: list[list[int | None]], size: int) -> torch.Tensor:
    labels = torch.full((len(conversations), size), UNSCORED)
    for row, conversation in enumerate(conversations):
        for turn, label in enumerate(conversation):
            if label is not None:
                labels[row, turn] = label
    return labels


@pytest.mark.parametrize("weights", [None, [0.25, 1.0, 3.0, 0.5]])
@given(conversations=st.lists(CONVERSATION, min_size=1, max_size=4), excess=st.integers(0, 3))
def test_each_conversation_counts_once(
    weights: list[float] | None, conversations: list[list[int | None]], excess: int
) -> None:
    size = max(len(labels) for labels in conversations) + excess
    logits = 3 * np.random.default_rng(0).standard_normal((len(conversations), size, CLASSES))
    expected = written_out(logits, conversations, np.ones(CLASSES) if weights is None else np.asarray(weights))
    found = compute_conversation_loss(
        torch.tensor(logits, dtype=torch.float32),
        labels_tensor(conversations, size),
        None if weights is None else torch.tensor(weights),
    )
    # Cross-entropies of few classes, on logits with a weight, and two means of them.
    allowed = rounding(4 * CLASSES + 2 * logits[..., 0].size) * np.abs(logits).max()
    assert float(found) == pytest.approx(expected, rel=allowed, abs=allowed)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_smoothed_targets_are_mixed_with_the_uniform_distribution(smoothing: float) -> None:
    logits = np.random.default_rng(0).standard_normal((5, CLASSES))
    labels, weights = np.array([0, 3, 1, 1, 2]), np.array([0.25, 1.0, 3.0, 0.5])
    targets = (1 - smoothing) * np.eye(CLASSES)[labels] + smoothing / CLASSES
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -(targets * weights * log_probabilities).sum(axis=1).mean()
    found = compute_conversation_loss(
        torch.tensor(logits), torch.tensor(labels), torch.tensor(weights).float(), smoothing
    )
    assert float(found) == pytest.approx(expected, rel=rounding(8 * CLASSES))


@pytest.mark.parametrize("column", [False, True])
def test_an_utterance_is_a_row_of_its_own(column: bool) -> None:
    logits = np.random.default_rng(0).standard_normal((5, CLASSES))
    labels = [0, 3, 1, 1, 2]
    expected = written_out(logits[:, None], [[label] for label in labels], np.ones(CLASSES))
    rows = torch.tensor(labels)[:, None] if column else torch.tensor(labels)
    assert float(compute_conversation_loss(torch.tensor(logits), rows)) == pytest.approx(expected, rel=ROUNDING)


def test_unscored_turns_get_no_gradient() -> None:
    logits = torch.zeros(2, 3, CLASSES, requires_grad=True)
    compute_conversation_loss(logits, torch.tensor([[1, UNSCORED, 2], [0, UNSCORED, UNSCORED]])).backward()
    assert logits.grad is not None
    touched = (logits.grad != 0).any(dim=2)
    assert touched.tolist() == [[True, False, True], [True, False, False]]


@given(labels=st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=60))
def test_full_weights_are_1_on_average_and_give_each_class_the_same_say(labels: list[int]) -> None:
    weights = compute_rarity_weights(torch.tensor(labels), CLASSES, 1.0).double().numpy()
    assert weights[labels].mean() == pytest.approx(1, rel=ROUNDING)
    seen = sorted(set(labels))
    says = [weights[label] * labels.count(label) for label in seen]
    assert says == pytest.approx([len(labels) / len(seen)] * len(seen), rel=ROUNDING)
    assert all(weights[label] == 0 for label in range(CLASSES) if label not in seen)


@given(labels=st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=60), power=st.sampled_from([0.5, 1.0]))
def test_weights_go_by_a_power_of_rarity(labels: list[int], power: float) -> None:
    weights = compute_rarity_weights(torch.tensor(labels), CLASSES, power).double().numpy()
    seen = sorted(set(labels))
    assert weights[labels].mean() == pytest.approx(1, rel=ROUNDING)
    ratios = [weights[label] / weights[seen[0]] for label in seen]
    assert ratios == pytest.approx(
        [(labels.count(seen[0]) / labels.count(label)) ** power for label in seen], rel=ROUNDING
    )
