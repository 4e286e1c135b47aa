"""What a backward pass is to have done."""

from torch import nn


def assert_every_weight_learns(model: nn.Module) -> None:
    """Each parameter has a gradient, finite and not all zero."""
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
