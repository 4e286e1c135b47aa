"""Choose the device and the precision of a model by name, and run modules on it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from moodline.errors import MoodlineError

AUTO = "auto"
CPU = torch.device("cpu")
WITHOUT_DOUBLE = {"mps"}  # devices that have no double precision

Precision = Literal["32", "bf16", "fp16"]
FULL_PRECISION: Precision = "32"
HALF_TYPES: Mapping[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
PRECISION_ATTRIBUTE = "inference_precision"  # of modules, see ``set_precision``


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


class Execution(NamedTuple):
    """How a model runs, as ``moodline.load`` takes it."""

    device: str | torch.device = AUTO
    precision: Precision = FULL_PRECISION
    batch_seconds: float | None = None

    @property
    def notes(self) -> list[str]:
        """Describe half precision, for results."""
        return [] if self.precision == FULL_PRECISION else [f"computed in {self.precision}"]

    def resolve(self) -> "Execution":
        """Find the device, or raise MoodlineError for values that this machine or the device does not support."""
        device = choose_device(self.device)
        refuse_precision(self.precision, device)
        if self.batch_seconds is not None and not self.batch_seconds > 0:  # NaN too
            raise MoodlineError(
                f"--batch-seconds must be greater than 0, not {self.batch_seconds}", code="option.out_of_range"
            )
        return self._replace(device=device)


DEFAULT_EXECUTION = Execution()


def refuse_precision(precision: str, device: torch.device) -> None:
    """Refuse an unknown precision, and fp16 on the CPU."""
    if precision not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise MoodlineError(f"unknown precision {precision!r}; choose one of {known}", code="option.unknown_precision")
    if precision == "fp16" and device.type == "cpu":
        raise MoodlineError(
            "precision fp16 needs a GPU, and the device is cpu: choose bf16 or 32", code="device.no_fp16"
        )


def set_precision(module: nn.Module, precision: Precision) -> None:
    """Let ``run_on_device`` compute in a precision with a module and with its parts; their weights stay as they are."""
    for one in module.modules():
        setattr(one, PRECISION_ATTRIBUTE, precision)


def get_precision(module: nn.Module) -> Precision:
    return getattr(module, PRECISION_ATTRIBUTE, FULL_PRECISION)


def run_on_device(module: nn.Module, *inputs: Any, function: Callable[..., Any] | None = None) -> Any:
    """Call a module on its own device and in its own precision; results return to the CPU in single precision.

    In single precision a GPU computes as a CPU does: by default cuDNN rounds factors to 10 bits (TF32).

    Args:
        inputs: tensors, or mappings, lists and tuples of tensors
        function: a method of the module to call instead of the module itself

    Raises:
        MoodlineError: the device's memory is too small
    """
    device, cudnn, half = next(module.parameters()).device, torch.backends.cudnn, HALF_TYPES.get(get_precision(module))
    as_set = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
    flags = cudnn.flags(**as_set, allow_tf32=False) if device.type == "cuda" else nullcontext()
    arithmetic = nullcontext() if half is None else torch.autocast(device.type, half)
    with refusing_full_memory(device), flags, arithmetic:
        return map_tensors(retrieve, (function or module)(*move(inputs, device)))


@contextmanager
def refusing_full_memory(
    device: torch.device, remedy: str = "lower --batch-seconds, or choose --device cpu"
) -> Iterator[None]:
    """Raise MoodlineError where a device has too little memory for the block."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        wanted = "".join(f" ({part})" for part in str(error).split(". ")[1:2])  # such as: Tried to allocate 2.00 GiB
        raise MoodlineError(
            f"{describe_device(device)} is out of memory{wanted}: {remedy}", code="device.out_of_memory"
        ) from error


def map_tensors(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Change a tensor, or those in mappings, lists and tuples; anything else stays as it is."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(change, one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        changed = (map_tensors(change, one) for one in value)
        return type(value)(*changed) if hasattr(value, "_fields") else type(value)(changed)
    return value


def move(value: Any, device: torch.device) -> Any:
    """Move a tensor, or those in mappings, lists and tuples, to a device; anything else stays as it is."""
    return map_tensors(lambda one: transfer(one, device), value)


def transfer(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor; from pinned memory to CUDA, so that the CPU goes on meanwhile."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def retrieve(tensor: Tensor) -> Tensor:
    """Move a tensor to the CPU; half precision becomes single."""
    moved = tensor.to(CPU)
    return moved.float() if moved.dtype in HALF_TYPES.values() else moved


def widen(values: Tensor, device: torch.device | None = None) -> Tensor:
    """Convert to the most precise type of a device, by default their own, and move them there."""
    device = device or values.device
    return values.to(torch.float32 if device.type in WITHOUT_DOUBLE else torch.float64).to(device)
