"""Audio read in worker processes, and read once: the weights are those of a process that reads alone."""

import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from moodline.audio import io
from moodline.config import AUDIO_UTTERANCE, Recipe
from moodline.conversation import IEMOCAP4, AudioClip, Conversation, Utterance
from moodline.corpora.corpus import Corpus
from moodline.corpora.protocols import build_folds
from moodline.errors import MoodlineError
from moodline.experiments.paper_tables import change_config
from moodline.inference.encode import read_waveform
from moodline.modeling.model import build_stage
from moodline.training.dataset import (
    BatchLoader,
    StageData,
    WaveformCache,
    WaveformItems,
    select_scored,
)
from moodline.training.lightning_module import StageModule
from moodline.training.trainer import CACHE_BYTES, Hardware, seed_initialisation, train_stage

RATE = 16_000
EPOCHS = 3
RECIPE = change_config(
    Recipe(),
    {
        "audio_utterance.channels": [4, 4, 6, 6, 8, 8],
        "audio_utterance.embedding": 8,
        "audio_utterance.dropout": 0.3,
        "audio_utterance.mask_channels": 3,
        "audio_utterance.speed_change": 0.1,
        "audio_utterance.training.epochs": EPOCHS,
        "audio_utterance.training.learning_rate": 1e-2,
        "audio_utterance.training.batch_size": 8,
    },
)


def audio_data(corpus: Corpus) -> StageData:
    sets = build_folds(corpus, "session5")[0].get_training_sets(IEMOCAP4, RECIPE.context)
    cache = WaveformCache(CACHE_BYTES)
    scored = [select_scored(one, IEMOCAP4) for one in (sets.train, sets.validation)]
    return StageData(*(WaveformItems(*one, RECIPE, train=one is scored[0], sound=cache) for one in scored))


def train(corpus: Corpus, folder: Path, workers: int, *, resume: bool = False) -> StageModule:
    seed_initialisation(RECIPE.seed, AUDIO_UTTERANCE)
    module = StageModule(
        AUDIO_UTTERANCE,
        build_stage(AUDIO_UTTERANCE, RECIPE, len(IEMOCAP4.classes)),
        audio_data(corpus),
        RECIPE,
        classes=len(IEMOCAP4.classes),
        scored_labels=torch.arange(len(IEMOCAP4.classes)),
        checkpoint=folder / "state.pt",
        workers=workers,
    )
    train_stage(module, folder / "logs", "", Hardware(accelerator="cpu"), Console(quiet=True), resume=resume)
    return module


def assert_same(found: StageModule, expected: StageModule) -> None:
    assert found.history == expected.history
    weights = expected.part.state_dict()
    assert all(value.equal(weights[name]) for name, value in found.part.state_dict().items())


@pytest.fixture(scope="module")
def alone(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> StageModule:
    """Trained by a process that reads alone."""
    return train(corpus, tmp_path_factory.mktemp("alone"), workers=0)


def test_weights_do_not_depend_on_the_number_of_workers(corpus: Corpus, alone: StageModule, tmp_path: Path) -> None:
    assert_same(train(corpus, tmp_path, workers=2), alone)


def test_a_stage_interrupted_and_resumed_with_workers_ends_as_one_without(
    corpus: Corpus, alone: StageModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = StageModule.training_step

    def interrupted(module: StageModule, batch: object, index: int) -> torch.Tensor:
        if (module.current_epoch, index) == (1, 1):
            raise KeyboardInterrupt
        return step(module, batch, index)  # pyright: ignore[reportArgumentType]

    with monkeypatch.context() as patch:
        patch.setattr(StageModule, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(corpus, tmp_path / "resumed", workers=2)
    assert_same(train(corpus, tmp_path / "resumed", workers=2, resume=True), alone)


def test_a_small_corpus_is_decoded_once(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of both sets, in three epochs."""
    read, count = io.read_clip, Counter[AudioClip]()

    def counted(clip: AudioClip, sample_rate: int) -> np.ndarray:
        count[clip] += 1
        return read(clip, sample_rate)

    monkeypatch.setattr(io, "read_clip", counted)
    assert len(train(corpus, tmp_path, workers=0).history) == EPOCHS
    sets = build_folds(corpus, "session5")[0].get_training_sets(IEMOCAP4, RECIPE.context)
    utterances, _ = select_scored((*sets.train, *sets.validation), IEMOCAP4)
    assert count == {utterance.audio: 1 for utterance in utterances}


@pytest.fixture
def utterances(corpus: Corpus) -> list[Utterance]:
    return list(corpus.utterances)[:6]


def test_the_cache_keeps_what_fits_and_reads_the_rest_again(
    utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of six waveforms read twice, the first three fit in; each is what the file holds."""
    sizes = [read_waveform(one, RATE).nbytes for one in utterances]
    expected = [read_waveform(one, RATE) for one in utterances]
    read, clips = io.read_clip, []

    def noted(clip: AudioClip, sample_rate: int) -> np.ndarray:
        clips.append(clip)
        return read(clip, sample_rate)

    monkeypatch.setattr(io, "read_clip", noted)
    cache = WaveformCache(sum(sizes[:3]))
    for _ in range(2):
        found = [cache(one, RATE) for one in utterances]
        assert all(one.equal(other) for one, other in zip(found, expected, strict=True))
        assert sum(one.nbytes for one in cache.kept.values()) <= cache.maximum_bytes
    assert clips == [one.audio for one in (*utterances, *utterances[3:])]
    cache.clear()
    assert not cache.kept


def test_the_cache_tells_sample_rates_apart(utterances: list[Utterance]) -> None:
    cache = WaveformCache(CACHE_BYTES)
    for rate in (RATE, RATE // 2, RATE):
        assert cache(utterances[0], rate).equal(read_waveform(utterances[0], rate))


@pytest.mark.parametrize("workers", [0, 2])
def test_audio_that_cannot_be_read_is_one_sentence_from_a_worker_too(
    utterances: list[Utterance], tmp_path: Path, workers: int
) -> None:
    audio = utterances[1].audio
    assert audio is not None
    utterances[1] = replace(utterances[1], audio=replace(audio, path=tmp_path / "none.wav"))
    with pytest.raises(MoodlineError) as expected:
        read_waveform(utterances[1], RATE)
    items = WaveformItems(utterances, torch.zeros(6, dtype=torch.long), Recipe(), train=False)
    batches = iter(BatchLoader(items, workers).select_epoch(0, [[0], [1], [2]]))
    next(batches)
    with pytest.raises(MoodlineError) as found:
        next(batches)
    assert str(found.value) == str(expected.value)


KILLED_WITH_WORKERS = """
import os, signal, torch
from torch.utils.data._utils import worker
from moodline.training.dataset import BatchLoader, Item, Items
worker.MP_STATUS_CHECK_INTERVAL = 60  # seconds, in which DataLoader's own workers look for their parent
items = Items([Item((torch.ones(3, 2),), torch.tensor(1))] * 100)
loader = BatchLoader(items, workers=2)
batches = iter(loader.select_epoch(0, [[index] for index in range(100)]))
next(batches)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_a_process_that_is_killed() -> None:
    """They hold its output open as long as they live, and the lock of its folder with some versions of filelock."""
    command = [sys.executable, "-c", KILLED_WITH_WORKERS]
    assert subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == -signal.SIGKILL


def test_workers_share_the_memory_that_one_process_has() -> None:
    """There are as many for the training set as for the validation set."""
    for workers in (1, 3):
        assert 2 * workers * Hardware(num_workers=workers).cache_bytes <= Hardware().cache_bytes


def test_a_negative_number_of_workers_is_refused() -> None:
    with pytest.raises(MoodlineError) as refused:
        Hardware(num_workers=-1).check()
    assert refused.value.code == "option.num_workers"
    assert "-1" in str(refused.value)


def test_an_epoch_reaches_workers_that_are_kept(utterances: list[Utterance]) -> None:
    """Each epoch has other speeds, those that the epoch has in this process."""
    talk = Conversation(id="talk", utterances=tuple(utterances))
    here, there = (
        BatchLoader(WaveformItems(*select_scored([talk], IEMOCAP4), RECIPE, train=True), workers) for workers in (0, 2)
    )
    lengths = []
    for epoch in range(3):
        rows = [[index] for index in range(len(here.dataset))]
        found = [[batch.inputs[0] for batch in loader.select_epoch(epoch, rows)] for loader in (here, there)]
        assert all(one.equal(other) for one, other in zip(*found, strict=True))
        lengths.append([one.shape[1] for one in found[0]])
    assert lengths[0] != lengths[1] != lengths[2]
