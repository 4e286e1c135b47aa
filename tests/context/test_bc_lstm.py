import numpy as np
import torch
from scipy.special import expit

from moodline.modeling.context import BcLstm
from tests.rounding import assert_rounded_alike, count_operations

INPUTS, HIDDEN, TURNS = 5, 6, 7


def lstm(values: np.ndarray, weights: dict[str, np.ndarray], suffix: str) -> np.ndarray:
    """Poria et al. 2017, section 3.2: gates, cell and output, turn by turn: (S, D) -> (S, H)."""
    output = cell = np.zeros(HIDDEN)
    outputs = []
    for value in values:
        gates = (
            weights[f"weight_ih_l0{suffix}"] @ value
            + weights[f"weight_hh_l0{suffix}"] @ output
            + weights[f"bias_ih_l0{suffix}"]
            + weights[f"bias_hh_l0{suffix}"]
        )
        enter, forget, candidate, leave = np.split(gates, 4)  # in PyTorch's order
        cell = expit(forget) * cell + expit(enter) * np.tanh(candidate)
        output = expit(leave) * np.tanh(cell)
        outputs.append(output)
    return np.array(outputs)


def test_it_is_a_bidirectional_lstm_a_dense_layer_and_the_classes() -> None:
    torch.manual_seed(0)
    model = BcLstm(INPUTS, classes=4, hidden=HIDDEN).eval()
    values = torch.randn(TURNS, INPUTS)
    weights = {name: one.detach().double().numpy() for name, one in model.lstm.named_parameters()}
    exact = values.double().numpy()
    outputs = np.concatenate([lstm(exact, weights, ""), lstm(exact[::-1], weights, "_reverse")[::-1]], axis=1)
    dense, classify = ([p.detach().double().numpy() for p in one.parameters()] for one in (model.dense, model.classify))
    contextual = np.maximum(outputs @ dense[0].T + dense[1], 0)
    with torch.no_grad():
        found = model(values[None], torch.tensor([TURNS]))
    assert_rounded_alike(found.embeddings[0].numpy(), contextual, count_operations(model, TURNS))
    assert_rounded_alike(
        found.logits[0].numpy(), contextual @ classify[0].T + classify[1], count_operations(model, TURNS)
    )
