"""Compare the sizes that a model's description asks for with its weights' file, before anything is allocated."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from moodline.errors import MoodlineError
from moodline.io import flatten_keys
from moodline.runtime import measure_memory

META = torch.device("meta")
# Construction registers some parameters more than once, or drops them: a decoder, or weights that are normalised.
MAX_REGISTRATIONS = 4
MAX_IDLE_LAYERS = 64  # a box that reads no number of layers has one all the same
# Of a front-end, filters times samples of a window: the filters' spectra then take at most 2 GB.
MAX_WINDOW_ELEMENTS = 2**22
MIN_WINDOW = 512
MAX_BUFFER_ELEMENTS = 2**24  # of tables that no file holds, such as one of positions


def refuse_large_model(folder: Path) -> None:
    """Refuse a model folder whose weights are larger than this machine's memory, before any is read."""
    weights = (*folder.glob("*.safetensors"), *folder.glob("audio/model.bin"))  # the last of faster-whisper
    size, memory = sum(path.stat().st_size for path in weights), measure_memory()
    if memory is not None and size > memory:
        raise MoodlineError(
            f"the weights of model {folder} take {size / 2**30:.1f} GiB, and this machine has {memory / 2**30:.1f} GiB "
            "of memory: load it on a larger one",
            code="model.too_large",
        )


def check_sizes(build: Callable[[], nn.Module], config: dict[str, Any], weights: Path) -> None:
    """Build a part without memory for its parameters, and load its weights' names and shapes alone.

    Args:
        build: builds the part on PyTorch's default device
        config: the part's section of the recipe
        weights: a safetensors file, of which the header is read

    Raises:
        ValueError, RuntimeError: the description asks for more than the file holds, or for other shapes
        SafetensorError, OSError: the file cannot be read
    """
    refuse_oversized(config, len(read_header(weights)))
    part, header = build_sketch(build, weights)
    part.load_state_dict(header)


def build_sketch(build: Callable[[], nn.Module], weights: Path) -> tuple[nn.Module, dict[str, Tensor]]:
    """Build a module without memory for its parameters, which may not exceed the file's, and for its tables.

    Returns:
        the module, and the file's tensors without memory; errors as in ``check_sizes``
    """
    header = read_header(weights)
    with META, limit_parameters(MAX_REGISTRATIONS * len(header)):
        sketch = build().to(META)  # some modules of transformers ignore the default device
    if (elements := sum(one.numel() for one in sketch.buffers())) > MAX_BUFFER_ELEMENTS:
        raise ValueError(f"it asks for tables of {elements} numbers, more than {MAX_BUFFER_ELEMENTS}")
    return sketch, header


def read_header(weights: Path) -> dict[str, Tensor]:
    """Read the names and shapes of a safetensors file, as tensors without memory."""
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as file:
        return {name: torch.empty(file.get_slice(name).get_shape(), device=META) for name in file.keys()}  # noqa: SIM118


def refuse_oversized(config: dict[str, Any], tensors: int) -> None:
    """Refuse numbers that cost memory or time before a parameter exists: layers, and a front-end's filters."""
    numbers = flatten_keys(config)
    layers = numbers.get("layers")
    if isinstance(layers, int) and layers > max(MAX_IDLE_LAYERS, tensors):
        raise ValueError(f"layers is {layers}, and the file holds {tensors} tensors")
    if "filters" in numbers:
        window = max(MIN_WINDOW, numbers["window_ms"] * numbers["sample_rate"] / 1000)
        if numbers["filters"] * window > MAX_WINDOW_ELEMENTS:
            raise ValueError(f"filters is {numbers['filters']}, for windows of {window:.0f} samples")


@contextmanager
def limit_parameters(most: int) -> Iterator[None]:
    """Raise ``ValueError`` as soon as this thread's modules register more parameters in the block."""
    left, thread = most, threading.get_ident()

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left
        if threading.get_ident() != thread:
            return
        left -= 1
        if left < 0:
            raise ValueError(f"it asks for more than {most} parameters, which its weights do not hold")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
