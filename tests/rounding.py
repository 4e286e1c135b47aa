"""Bounds on what rounding does to a result, for any processor, library and number of threads."""

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn

# Deviations of a sum of rounding errors: more of them has a probability below 1e-13.
DEVIATIONS = 8


def rounding(operations: float, dtype: torch.dtype = torch.float32) -> float:
    """Bounds the relative error of as many rounded operations in a chain.

    It is n u at worst, u the unit roundoff, and 8 sqrt(n) u but for a negligible probability (Higham and Mary,
    "A New Approach to Probabilistic Rounding Error Analysis", SIAM J. Sci. Comput. 41(5), 2019, theorem 2.4).
    """
    return min(operations, DEVIATIONS * math.sqrt(operations)) * torch.finfo(dtype).eps / 2


def count_operations(model: nn.Module, steps: int = 1) -> int:
    """Counts the terms of the sums on the way through all weight matrices, one after the other.

    A recurrent layer's matrices are passed ``steps`` times; an embedding's rows are looked up, not summed. Each layer
    but the recurrent ones counts one more: its bias, or what scales and shifts it.
    """
    count = 0
    for layer in model.modules():
        own = [weight for weight in layer.parameters(recurse=False) if not isinstance(layer, nn.Embedding)]
        terms = sum(1 if weight.dim() < 2 else weight[0].numel() for weight in own)
        count += terms * (steps if isinstance(layer, nn.RNNBase) else 1)
    return count


def in_double(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).double()


def assert_rounded_alike(found: Tensor | np.ndarray, expected: Tensor | np.ndarray, operations: float) -> None:
    """The values differ by the rounding of two chains of single-precision operations on numbers of their size."""
    found, expected = (torch.as_tensor(values).detach() for values in (found, expected))
    assert found.shape == expected.shape
    if found.numel():
        scale = expected.abs().max().item()
        assert (found.double() - expected.double()).abs().max().item() <= 2 * rounding(operations) * scale
