"""Choose the device of a model by name, and run modules on it."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from moodline.errors import MoodlineError

AUTO = "auto"
CPU = torch.device("cpu")
WITHOUT_DOUBLE = {"mps"}  # devices that have no double precision


def available_devices() -> list[str]:
    """Names of this machine's devices, the preferred one first."""
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*(f"cuda:{index}" for index in cuda), *mps, "cpu"]


def choose_device(named: str | torch.device = AUTO) -> torch.device:
    """Find a device by its name.

    Args:
        named: cpu, cuda, cuda:N or mps; auto takes the first CUDA device, else MPS, else the CPU

    Raises:
        MoodlineError: this machine has no such device
    """
    available, name = available_devices(), str(named).removesuffix(":0")  # a module on mps is on mps:0
    for one in available:
        if name in (AUTO, one, one.split(":")[0]):
            return torch.device(one)
    raise MoodlineError(
        f"device {str(named)!r} is not available: PyTorch {torch.__version__} finds {', '.join(available)} here. "
        f"Choose one of these, or {AUTO}.",
        code="device.not_available",
    )


def describe_device(device: torch.device) -> str:
    """Name a device for people."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def recogniser_device(named: str | torch.device = AUTO) -> str:
    """Name the device of a recogniser, which chooses itself on auto: it may know GPUs that PyTorch does not."""
    return AUTO if named == AUTO else str(choose_device(named))


def run_on_device(module: nn.Module, *inputs: Any, function: Callable[..., Any] | None = None) -> Any:
    """Call a module on its own device: inputs move there, and results return to the CPU.

    A GPU computes in full single precision, as a CPU does: by default cuDNN rounds factors to 10 bits (TF32).

    Args:
        inputs: tensors, or mappings, lists and tuples of tensors
        function: a method of the module to call instead of the module itself
    """
    device, cudnn = next(module.parameters()).device, torch.backends.cudnn
    as_set = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
    with cudnn.flags(**as_set, allow_tf32=False) if device.type == "cuda" else nullcontext():
        return move((function or module)(*move(inputs, device)), CPU)


def move(value: Any, device: torch.device) -> Any:
    """Move a tensor, or those in mappings, lists and tuples, to a device; anything else stays as it is."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: move(one, device) for key, one in value.items()}
    if isinstance(value, list | tuple):
        moved = (move(one, device) for one in value)
        return type(value)(*moved) if hasattr(value, "_fields") else type(value)(moved)
    return value


def widen(values: Tensor, device: torch.device | None = None) -> Tensor:
    """Convert to the most precise type of a device, by default their own, and move them there."""
    device = device or values.device
    return values.to(torch.float32 if device.type in WITHOUT_DOUBLE else torch.float64).to(device)
