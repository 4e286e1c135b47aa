"""A GPU simulated on the CPU: tensors that report another device, and operations that refuse what a GPU refuses."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import moodline.device
from moodline.modeling import pooling_decimation

# PyTorch lets tensors be made on this one whatever the machine has.
NAME = "meta"
# These take tensors of the CPU beside those of a GPU: sizes of packed sequences, and copies.
MIXED = {"_pack_padded_sequence", "_pad_packed_sequence", "gru", "lstm", "copy_", "_to_copy"}
WIDE = {torch.float64, torch.complex128}


class Remote(Tensor):
    """A tensor that reports the simulated device; its numbers are in ``held``, on the CPU."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> "Remote":
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        with torch.inference_mode(False):  # views of weights are no tensors of inference
            made = Tensor._make_wrapper_subclass(cls, held.size(), **layout, device=NAME)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on a simulated device that is not active")

    def tolist(self) -> list[Any]:  # PyTorch has none for subclasses
        return self.held.tolist()


class Accelerator(TorchDispatchMode):
    """The device while it is active; it raises RuntimeError where tensors of two devices meet.

    Args:
        double: whether it has double precision, which MPS lacks
    """

    def __init__(self, *, double: bool = True) -> None:
        super().__init__()
        self.double = double
        self.operations = 0  # that ran on it

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        with self:  # inference mode does not take composite operations apart
            if (found := func.decompose(*args, **(kwargs or {}))) is not NotImplemented:
                return found
        name, options = func.overloadpacket.__name__, dict(kwargs or {})
        tensors = [one for one in tree_leaves((args, options)) if isinstance(one, Tensor)]
        remote = [one for one in tensors if isinstance(one, Remote)]
        self.refuse_mixture(name, tensors)
        is_here = bool(remote)
        if (device := options.get("device")) is not None:
            is_here, options["device"] = torch.device(device).type == NAME, torch.device("cpu")
        operands = {id(one.held): one for one in remote}
        found = func(*tree_map(unwrap, args), **tree_map(unwrap, options))
        if not is_here:
            return found
        self.operations += 1
        if name == "_pack_padded_sequence":  # the sizes of its batches stay on the CPU
            return self.wrap(found[0], operands), found[1]
        return tree_map(lambda one: self.wrap(one, operands), found)

    def wrap(self, value: Any, operands: Mapping[int, Remote]) -> Any:
        """Put a result on the device; that of an operation in place is its operand."""
        if not isinstance(value, Tensor):
            return value
        if not self.double and value.dtype in WIDE:
            raise RuntimeError("this device has no double precision")
        return operands[id(value)] if id(value) in operands else Remote(value)

    def refuse_mixture(self, name: str, tensors: Sequence[Tensor]) -> None:
        indexed = name in ("index", "index_put_") and isinstance(tensors[0], Remote)  # by indices of either device
        if name in MIXED or indexed:
            return
        if len({isinstance(one, Remote) for one in tensors if one.dim()}) > 1:
            raise RuntimeError(f"{name}: expected all tensors to be on one device, found {NAME} and cpu")


def unwrap(value: Any) -> Any:
    return value.held if isinstance(value, Remote) else value


@pytest.fixture(params=[True, False], ids=["like CUDA", "like MPS"])
def accelerator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Accelerator:
    """A device that ``auto`` takes; a test activates it."""
    monkeypatch.setattr(moodline.device, "available_devices", lambda: [NAME, "cpu"])
    if not request.param:
        monkeypatch.setattr(moodline.device, "WITHOUT_DOUBLE", {NAME})
    pooling_decimation._plan_cells.cache_clear()  # of matrices on another such device
    make = torch.tensor  # two functions of PyTorch that know of no such device

    def tensor(data: Any, *, device: Any = None, **rest: Any) -> Tensor:
        return make(data, **rest) if device is None else make(data, **rest).to(device)

    monkeypatch.setattr(torch, "tensor", tensor)
    monkeypatch.setattr(torch, "autocast", lambda device_type, enabled: nullcontext())
    return Accelerator(double=request.param)
