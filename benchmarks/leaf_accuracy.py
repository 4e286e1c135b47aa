"""Measure the error of LEAF in single precision against its definition in double precision (docs/leaf.md).

    .venv/bin/python benchmarks/leaf_accuracy.py --speech FOLDER

The table includes the direct computation of the definition in single precision. Pieces of 1.5 s at a stride of 10 ms
come from white noise, the signal of the reference's golden file, two signals with quiet next to loud parts, and a
minute of evenly chosen mono recordings of 16 kHz below a folder.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from moodline.modeling import Leaf  # noqa: E402
from tests.direct_leaf import (  # noqa: E402
    direct_energies,
    fast_energies,
    gradients,
    in_double,
    relative_error,
    with_random_parameters,
)

RATE = 16000
PIECE = 24000
PIECES = 40
DRAWS = 3
HOW = {"moodline": fast_energies, "direct": direct_energies}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, metavar="FOLDER", help="of .wav or .flac files")
    arguments = parser.parse_args()
    print("| | energies: relative L2 | 99 % within | most | gradients: of parameters | of the waveform |")
    print("|---|---|---|---|---|---|")
    for name, pieces in signals(arguments.speech):
        row(f"{name}, initial parameters", pieces, [Leaf(stride_ms=10.0)])
        if name in ("white noise", "speech"):
            draws = [with_random_parameters(Leaf(stride_ms=10.0), seed) for seed in range(DRAWS)]
            row(f"{name}, {DRAWS} draws of parameters", pieces, draws)


def signals(speech: Path | None) -> Iterator[tuple[str, Sequence[Tensor]]]:
    """Yield the name and the pieces (T,) of each signal."""
    noise = 0.1 * torch.randn(4, PIECE, generator=torch.Generator().manual_seed(0))
    yield "white noise", list(noise)
    yield "the reference's signal", [torch.tensor(np.load(ROOT / "tests/golden/reference_leaf.npz")["x"])]
    if speech:
        yield "speech", recordings(speech)
    falling = noise[0].clone()
    falling[PIECE // 2 :] *= 1e-3
    yield "noise that falls by 60 dB", [falling]
    tone = 0.5 * torch.sin(2 * math.pi * 440 / RATE * torch.arange(PIECE))
    yield "a tone over noise 71 dB below", [tone + 1e-3 * noise[0]]


def recordings(folder: Path) -> list[Tensor]:
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".wav", ".flac"))
    if len(files) < PIECES:
        raise SystemExit(f"{folder} has {len(files)} recordings; a minute of speech takes at least {PIECES}")
    pieces = []
    for file in files[:: len(files) // PIECES][:PIECES]:
        samples, rate = soundfile.read(file, dtype="float32")
        if rate != RATE or samples.ndim != 1:
            raise SystemExit(f"{file} has the shape {samples.shape} at {rate} Hz; recordings must be mono at {RATE} Hz")
        # The middle, because recordings begin and end with silence.
        pieces.append(torch.from_numpy(samples[max(0, (len(samples) - PIECE) // 2) :][:PIECE]))
    return pieces


def row(name: str, pieces: Sequence[Tensor], leaves: Sequence[Leaf]) -> None:
    for how, energies in HOW.items():
        figures = " | ".join(f"{figure:.1e}" for figure in errors(energies, pieces, leaves))
        print(f"| {name} | {figures} |" if how == "moodline" else f"| {how} computation | {figures} |", flush=True)


def errors(
    energies: Callable[[Leaf, Tensor], Tensor], pieces: Sequence[Tensor], leaves: Sequence[Leaf]
) -> tuple[float, float, float, float, float]:
    """Compute the columns of the table; for gradients, those of the worst piece."""
    all_of, all_expected, of_parameters, of_waveforms = [], [], [], []
    for leaf in leaves:
        for piece in pieces:
            with torch.no_grad():
                all_of.append(energies(leaf, piece).flatten())
                all_expected.append(direct_energies(in_double(leaf), piece.double()).flatten())
            expected = gradients(direct_energies, in_double(leaf), piece.double())
            of_waveform, *others = map(relative_error, gradients(energies, leaf, piece), expected)
            of_waveforms.append(of_waveform)
            of_parameters.append(max(others))
    actual, expected = torch.cat(all_of), torch.cat(all_expected)
    deviations = ((actual - expected).abs() / (expected + 1e-5)).sort().values
    most = deviations[int(0.99 * len(deviations))].item(), deviations[-1].item()
    return relative_error(actual, expected), *most, max(of_parameters), max(of_waveforms)


if __name__ == "__main__":
    main()
