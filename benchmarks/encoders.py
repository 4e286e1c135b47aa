"""Compare pretrained speech encoders through moodline with a plain loop of transformers: time, memory, results.

    .venv/bin/python benchmarks/encoders.py -o encoders.json
    .venv/bin/python benchmarks/encoders.py --minutes 3 --encoders wavlm-base

One pass over utterances as long as IEMOCAP's. The plain loop pads 16 utterances at a time, in the corpus's order, to
the longest of them, and computes under no_grad: with gradients, 16 utterances of 30 s take more than 24 GiB. The two
advance in turn in one process, on two threads; the cores must be idle, since threads that others interrupt wait for
each other. Weights are random, in full size. Results are compared with those of each utterance by itself: padding
changes them in encoders with group normalisation, and the plain loop has no remedy.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import Tensor

from moodline.inference.encode import ENCODER_BATCH
from moodline.modeling.batching import build_length_batches, pad_sequences
from moodline.modeling.pretrained_audio import PretrainedAudio

THREADS = 2
SAMPLE_RATE = 16_000
BATCH_SECONDS = 544.0  # the recipes' default
PLAIN_BATCH = 16
COMPARED = 12  # utterances
ENCODERS = ("wavlm-base", "hubert-base", "whisper-tiny")
IMPLEMENTATIONS = ("moodline", "plain")
Results = dict[int, Tensor]
"""The mean of each layer (L, D) over an utterance's frames, by its index."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of audio")
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("-o", "--output", type=Path, help="JSON file of all results")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)  # what a child process measures
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    waveforms = draw_waveforms(options.minutes)
    if options.memory:
        print(measure_memory(waveforms, *options.memory))
        return
    print(f"{len(waveforms)} utterances, {sum(map(len, waveforms)) / SAMPLE_RATE:.0f} s")
    print(f"{'':14s}{'seconds':>20s}{'':8s}{'peak MiB':>20s}   off from each utterance alone")
    print(f"{'':14s}{'moodline':>10s}{'plain':>10s}{'ratio':>8s}{'moodline':>10s}{'plain':>10s}")
    measured = {}
    for name in options.encoders:
        found = measured[name] = compare(name, waveforms)
        found["MiB"] = {one: start_child(options.minutes, name, one) for one in IMPLEMENTATIONS}
        seconds, peak, off = found["seconds"], found["MiB"], found["off"]
        ratio = seconds["plain"] / seconds["moodline"]
        print(
            f"{name:14s}{seconds['moodline']:10.1f}{seconds['plain']:10.1f}{ratio:8.2f}"
            f"{peak['moodline']:10.0f}{peak['plain']:10.0f}   {off['moodline']:.1e} and {off['plain']:.1e}",
            flush=True,
        )
    if options.output:
        options.output.write_text(json.dumps(measured, indent=2) + "\n")


def draw_waveforms(minutes: float) -> list[np.ndarray]:
    """Draw noise in utterances of 0.6 to 30 s, 4.5 s on average."""
    generator = np.random.default_rng(0)
    waveforms: list[np.ndarray] = []
    left = minutes * 60
    while left > 0:
        seconds = float(np.clip(generator.lognormal(np.log(3.5), 0.7), 0.6, 30.0))
        waveforms.append(0.1 * generator.standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32))
        left -= seconds
    return waveforms


def build(name: str) -> tuple:
    """Build an encoder and its feature extractor."""
    torch.manual_seed(0)
    if name == "whisper-tiny":
        encoder = transformers.WhisperModel(transformers.WhisperConfig()).get_encoder()
        return encoder.eval(), transformers.WhisperFeatureExtractor()
    wavlm = name == "wavlm-base"
    encoder = (
        transformers.WavLMModel(transformers.WavLMConfig())
        if wavlm
        else transformers.HubertModel(transformers.HubertConfig())
    )
    return encoder.eval(), transformers.Wav2Vec2FeatureExtractor(do_normalize=not wavlm)


def run_moodline(encoder, extractor, waveforms: list[np.ndarray], results: Results) -> Iterator[int]:
    """Encode the utterances in the batches of ``encode_utterances``; yield the samples of each batch."""
    part = PretrainedAudio(encoder, extractor, classes=4).eval()
    seconds = [len(waveform) / SAMPLE_RATE for waveform in waveforms]
    batches = build_length_batches(seconds, batch_size=ENCODER_BATCH, maximum_total=BATCH_SECONDS)
    for batch in sorted(batches, key=lambda batch: batch[0]):  # so that both advance over all lengths
        with torch.inference_mode():
            found = part.extract(*pad_sequences([torch.from_numpy(waveforms[index]) for index in batch])).values
        results.update(zip(batch, found, strict=True))
        yield sum(len(waveforms[index]) for index in batch)


@torch.no_grad()
def run_plain_batch(encoder, inputs) -> Tensor:
    return torch.stack(encoder(**inputs, output_hidden_states=True).hidden_states, dim=1)  # (B, L, F, D)


def run_plain(encoder, extractor, waveforms: list[np.ndarray], results: Results, size: int) -> Iterator[int]:
    """Encode the utterances in their order, ``size`` at a time; yield the samples of each batch."""
    whisper = isinstance(extractor, transformers.WhisperFeatureExtractor)
    for start in range(0, len(waveforms), size):
        batch = waveforms[start : start + size]
        padding = "max_length" if whisper else True
        inputs = extractor(batch, sampling_rate=SAMPLE_RATE, padding=padding, return_tensors="pt")
        states = run_plain_batch(encoder, inputs)
        for row, waveform in enumerate(batch):
            frames = count_frames(encoder, len(waveform), whisper)
            results[start + row] = states[row, :, :frames].mean(dim=1)
        yield sum(map(len, batch))


def count_frames(encoder, samples: int, whisper: bool) -> int:
    if whisper:
        return -(-samples // 320)
    for kernel, stride in zip(encoder.config.conv_kernel, encoder.config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def start(name: str, implementation: str, waveforms: list[np.ndarray], results: Results) -> Iterator[int]:
    encoder, extractor = build(name)
    if implementation == "moodline":
        return run_moodline(encoder, extractor, waveforms, results)
    return run_plain(encoder, extractor, waveforms, results, PLAIN_BATCH)


def compare(name: str, waveforms: list[np.ndarray]) -> dict[str, dict[str, float]]:
    """Run both in turn, whichever is behind; measure seconds, and how far results are from the utterances' own."""
    results: dict[str, Results] = {one: {} for one in IMPLEMENTATIONS}
    running = {one: start(name, one, waveforms, results[one]) for one in IMPLEMENTATIONS}
    seconds, samples = dict.fromkeys(IMPLEMENTATIONS, 0.0), dict.fromkeys(IMPLEMENTATIONS, 0)
    while running:
        one = min(running, key=lambda each: samples[each])
        started = time.perf_counter()
        done = next(running[one], None)
        seconds[one] += time.perf_counter() - started
        if done is None:
            del running[one]
        else:
            samples[one] += done
    alone: Results = {}
    with torch.inference_mode():
        for _ in run_plain(*build(name), waveforms[:COMPARED], alone, 1):
            pass
    off = {
        one: max(float((results[one][index] - own).abs().max() / own.abs().max()) for index, own in alone.items())
        for one in IMPLEMENTATIONS
    }
    return {"seconds": seconds, "off": off}


def measure_memory(waveforms: list[np.ndarray], name: str, implementation: str) -> float:
    """Measure by how many MiB a pass raises the peak resident memory."""
    encoding = start(name, implementation, waveforms, {})
    before = read_kibibytes("VmRSS")
    for _ in encoding:
        pass
    return (read_kibibytes("VmHWM") - before) / 1024


def read_kibibytes(name: str) -> int:
    """Read one of this process's sizes; unlike getrusage's, its peak does not include the process that started it."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def start_child(minutes: float, *measurement: str) -> float:
    """Measure memory in a process of its own."""
    command = [sys.executable, __file__, "--minutes", str(minutes), "--memory", *measurement]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ).stdout)


if __name__ == "__main__":
    main()
