"""Compare LEAF with SpeechBrain's: seconds of forward and training passes, and peak memory of training.

    .venv/bin/python benchmarks/leaf.py -o leaf.json
    .venv/bin/python benchmarks/leaf.py --device cuda -o leaf-cuda.json

The two alternate in one process, on two threads, for ratios that hold on a machine under load. SpeechBrain is installed
into a virtual environment of its own, which uses PyTorch of the environment that runs the benchmark. On a GPU both
compute in full single precision, each pass is timed until it is finished there, and the memory is the GPU's.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sysconfig
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEER = ["speechbrain==1.1.2", "hyperpyyaml==1.2.2", "ruamel.yaml==0.18.6", "sentencepiece==0.2.0", "joblib==1.4.2"]
THREADS = 2
STRIDE_MS = 10.0
SAMPLE_RATE = 16000
# Number of signals, seconds of each, and number of repetitions.
CASES = {"4x10": (4, 10, 7), "16x20": (16, 20, 3), "16x34": (16, 34, 3), "64x34": (64, 34, 7)}
USUAL_CASES = {"cpu": ["4x10", "16x20", "16x34"], "cuda": ["64x34"]}
IMPLEMENTATIONS = ("moodline", "speechbrain")
# The purpose of PyTorch's operations within filters, squared modulus and pooling.
KINDS = {
    "FFTs": {"aten::_fft_c2c", "aten::_fft_r2c", "aten::_fft_c2r"},
    "products": {"aten::mul", "aten::mul_", "aten::cat", "aten::addcmul_"},
    "pooling": {"aten::bmm", "aten::baddbmm_", "aten::pow", "aten::pow_", "aten::sum"},
}
MEBIBYTE = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, help="signals x seconds of each")
    parser.add_argument("--device", choices=USUAL_CASES, default="cpu", help="where both run")
    parser.add_argument("-o", "--output", type=Path, help="JSON file of all results")
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)  # what a child process measures
    arguments = parser.parse_args()
    if arguments.task:
        print(json.dumps(TASKS[arguments.task[0]](*arguments.task[1:])))
        return
    python, device = environment(), arguments.device
    measured = {"machine": run(python, "machine", device), "threads": THREADS, "stride_ms": STRIDE_MS}
    measured["distance"] = run(python, "distance", device)
    print("relative L2 of the default features from the LEAF authors' implementation:")
    for name, distance in measured["distance"].items():
        print(f"  {name:12s} {distance:.1e}")
    print(f"{'case':8s}{'what':12s}{'moodline':>12s}{'speechbrain':>14s}{'times less':>12s}")
    measured["cases"] = {}
    for case in arguments.cases or USUAL_CASES[device]:
        results = run(python, "seconds", case, device)
        results["peak MiB"] = {name: run(python, "memory", case, name, device) for name in IMPLEMENTATIONS}
        measured["cases"][case] = results
        for what, of in results.items():
            ratio = of["speechbrain"] / of["moodline"]
            print(f"{case:8s}{what:12s}{of['moodline']:12.3f}{of['speechbrain']:14.3f}{ratio:12.1f}", flush=True)
        if device != "cpu":
            continue
        shares = results["shares of training"] = run(python, "shares", case)
        print(f"{case:8s}where training's time goes:", ", ".join(f"{of} {share:.0%}" for of, share in shares.items()))
    if arguments.output:
        arguments.output.write_text(json.dumps(measured, indent=2) + "\n")


def environment() -> Path:
    """Return the Python of SpeechBrain's virtual environment, created on first use."""
    folder = HERE / ".venv"
    python = folder / "bin" / "python"
    done = folder / "complete"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        packages = next(folder.glob("lib/python*/site-packages"))
        (packages / "project.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT / 'src'}\n")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *PEER], check=True)
        done.touch()
    return python


def run(python: Path, *task: str) -> Any:
    """Run a measurement in a new process."""
    threads = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [python, __file__, "--task", *task]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | threads)
    return json.loads(done.stdout.splitlines()[-1])


def build(name: str, device: str, padding: str = "symmetric") -> Callable:
    """Build a front-end of waveforms (B, T) on a device."""
    import torch

    torch.set_num_threads(THREADS)
    torch.backends.cudnn.allow_tf32 = False
    if name == "moodline":
        from moodline.modeling.leaf import Leaf

        leaf = Leaf(stride_ms=STRIDE_MS, padding=padding).to(device)
        return lambda waveforms: leaf(waveforms)[0]
    import speechbrain_leaf

    return speechbrain_leaf.build(STRIDE_MS).to(device)


def waveforms(case: str, device: str):
    import torch

    signals, seconds, _ = CASES[case]
    return 0.1 * torch.randn(signals, seconds * SAMPLE_RATE, generator=torch.Generator().manual_seed(0)).to(device)


def finish(device: str) -> None:
    """Wait until a GPU has finished, so that a clock measures its work."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize()


def describe_machine(device: str) -> str:
    """Name the processor that is measured."""
    import torch

    return platform.processor() or platform.machine() if device == "cpu" else torch.cuda.get_device_name()


def measure_seconds(case: str, device: str) -> dict[str, dict[str, float]]:
    """Measure the median seconds of passes of the alternating implementations."""
    import torch

    inputs = waveforms(case, device)
    front_ends = {name: build(name, device) for name in IMPLEMENTATIONS}

    def forward(name: str) -> None:
        with torch.no_grad():
            front_ends[name](inputs)

    def train(name: str) -> None:
        front_ends[name](inputs).square().mean().backward()

    medians = {}
    for what, step in (("forward s", forward), ("training s", train)):
        seconds = {name: [] for name in IMPLEMENTATIONS}
        for _ in range(CASES[case][2] + 1):
            for name in IMPLEMENTATIONS:
                finish(device)
                started = time.perf_counter()
                step(name)
                finish(device)
                seconds[name].append(time.perf_counter() - started)
        medians[what] = {name: statistics.median(values[1:]) for name, values in seconds.items()}  # the first warms up
    return medians


def measure_memory(case: str, name: str, device: str) -> float:
    """Measure by how many MiB a training pass raises the peak of resident memory, or of a GPU's allocated memory."""
    import torch

    front_end = build(name, device)
    front_end(0.1 * torch.randn(1, SAMPLE_RATE, device=device)).square().mean().backward()
    inputs = waveforms(case, device)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        allocated = torch.cuda.memory_allocated()
        front_end(inputs).square().mean().backward()
        return (torch.cuda.max_memory_allocated() - allocated) / MEBIBYTE
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    front_end(inputs).square().mean().backward()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - resident) / MEBIBYTE


def measure_shares(case: str) -> dict[str, float]:
    """Measure the shares of a training pass: Fourier transforms, the lower bound of the method, and the rest."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from moodline.modeling.leaf import Leaf

    torch.set_num_threads(THREADS)
    leaf, inputs = Leaf(stride_ms=STRIDE_MS), waveforms(case, "cpu")
    lengths = [inputs.shape[1]] * len(inputs)
    leaf.compute_energies(inputs, lengths).sum().backward()
    with profile(activities=[ProfilerActivity.CPU]) as of_energies:
        energies = leaf.compute_energies(inputs, lengths)
        energies.sum().backward()
    with profile(activities=[ProfilerActivity.CPU]) as of_pcen:
        leaf.pcen(energies.detach().requires_grad_()).square().mean().backward()
    times = dict.fromkeys((*KINDS, "rest"), 0.0)
    for event in of_energies.key_averages():
        kind = next((kind for kind, names in KINDS.items() if event.key in names), "rest")
        times[kind] += event.self_cpu_time_total
    times["PCEN"] = sum(event.self_cpu_time_total for event in of_pcen.key_averages())
    return {kind: of / sum(times.values()) for kind, of in times.items()}


def measure_distance(device: str) -> dict[str, float]:
    """Measure the distance from the reference's features of its signal, with the same number of frames."""
    import numpy as np
    import torch

    reference = np.load(ROOT / "tests" / "golden" / "reference_leaf.npz")
    expected = torch.tensor(reference["out_64000_160"][0])  # (F, 40)
    inputs = torch.tensor(reference["x"][:64000])[None].to(device)
    with torch.no_grad():
        own, peer = build("moodline", device, "same")(inputs)[0].T, build("speechbrain", device)(inputs)[0]
    distances = {name: (of.cpu() - expected).norm() for name, of in zip(IMPLEMENTATIONS, (own, peer), strict=True)}
    return {name: float(of / expected.norm()) for name, of in distances.items()}


TASKS = {
    "machine": describe_machine,
    "seconds": measure_seconds,
    "memory": measure_memory,
    "shares": measure_shares,
    "distance": measure_distance,
}

if __name__ == "__main__":
    main()
