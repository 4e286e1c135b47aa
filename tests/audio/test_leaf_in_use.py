"""LEAF among what other projects train with: data-parallel processes, torch.compile, mixed precision, saved states."""

import multiprocessing
from pathlib import Path

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from moodline.modeling import Leaf
from tests.direct_leaf import speech_like
from tests.rounding import assert_rounded_alike

# A gradient sums over the samples of two signals, through taps and pooling windows.
OPERATIONS = 2 * 4000 + 2 * 401


def front_end() -> Leaf:
    return Leaf(filters=6, stride_ms=10.0)


def signals() -> Tensor:
    return 0.1 * torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))


def gradients(leaf: torch.nn.Module, waveforms: Tensor) -> list[Tensor]:
    leaf(waveforms)[0].square().mean().backward()
    return [parameter.grad for parameter in leaf.parameters() if parameter.grad is not None]


def share(rank: int, folder: Path) -> None:
    """One of two processes: its half of the signals, and the gradients that both arrive at."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(
        gradients(DistributedDataParallel(front_end()), signals()[rank : rank + 1]), folder / f"gradients.{rank}"
    )
    distributed.destroy_process_group()


def test_data_parallel_processes_arrive_at_the_gradients_of_the_whole_batch(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=share, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    expected = gradients(front_end(), signals())
    assert len(expected) == 7
    for rank in range(2):
        for found, gradient in zip(torch.load(tmp_path / f"gradients.{rank}"), expected, strict=True):
            assert_rounded_alike(found, gradient, OPERATIONS)


def test_compiled_it_gives_the_same_features_and_gradients() -> None:
    leaf = front_end()
    compiled = torch.compile(front_end(), backend="aot_eager")
    assert_rounded_alike(compiled(signals())[0], leaf(signals())[0], OPERATIONS)
    for found, expected in zip(gradients(compiled, signals()), gradients(leaf, signals()), strict=True):
        assert_rounded_alike(found, expected, OPERATIONS)


def test_mixed_precision_does_not_reach_it() -> None:
    leaf, other = front_end(), front_end()
    waveforms = speech_like(8000)[None]
    expected, _ = leaf(waveforms)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, _ = other(waveforms)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, expected, rtol=0, atol=0)
    for each in (expected, features):
        each.square().mean().backward()
    for parameter, same in zip(other.parameters(), leaf.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, same.grad, rtol=0, atol=0)


def test_its_state_is_its_parameters_alone() -> None:
    leaf = front_end()
    state = leaf.state_dict()
    assert state.keys() == dict(leaf.named_parameters()).keys()
    for values in state.values():
        values += 0.01 * torch.rand_like(values)
    other = front_end()
    other.load_state_dict(state)
    torch.testing.assert_close(other(signals()), leaf(signals()), rtol=0, atol=0)
