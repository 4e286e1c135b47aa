"""Real dialogues and real voices, laid out as IEMOCAP is; see CONTRIBUTING.md for where they come from."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import fftconvolve

import moodline as package
from moodline.audio import io
from moodline.config import STAGES
from moodline.corpora.corpus import read_corpus
from moodline.modeling.leaf import Leaf
from tests.system import moodline

pytestmark = pytest.mark.realdata
DIALOGUES = 10


@pytest.fixture(scope="module")
def place(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tree of real dialogues, prepared: tree/, corpus/."""
    place = tmp_path_factory.mktemp("real")
    script = shared / "corpora" / "compose_iemocap_tree.py"
    command = [sys.executable, str(script), str(place / "tree"), "--dialogues", str(DIALOGUES)]
    subprocess.run(command, check=True)
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    return place


def test_every_turn_of_the_tree_is_in_the_corpus(place: Path) -> None:
    corpus = read_corpus(place / "corpus")
    found = Counter(utterance.label for utterance in corpus.utterances)
    texts = [path.read_text() for path in (place / "tree").glob("Session?/dialog/EmoEvaluation/*.txt")]
    expected = Counter(label for text in texts for label in re.findall(r"^\[.*\]\tSes\S+\t(\w+)\t", text, re.MULTILINE))
    assert found == expected
    assert len(corpus.conversations) == len(texts) == DIALOGUES
    assert not corpus.left_out
    assert not corpus.faults
    for utterance in corpus.utterances:
        assert utterance.audio is not None
        assert utterance.audio.duration == pytest.approx((utterance.end or 0) - (utterance.start or 0), abs=1e-3)


def test_the_whole_system_runs_on_real_speech(place: Path) -> None:
    short = [option for stage in STAGES for option in (f"--{stage}.training.epochs", "1")]
    options = ("--recipe", "small", "--protocol", "session5", *short)
    moodline("train", place / "corpus", *options, "-o", place / "run")
    moodline("evaluate", place / "run")
    results = json.loads((place / "run" / "results.json").read_text())
    test = [one for one in read_corpus(place / "corpus").conversations if one.session == "5"]
    scored = [u for one in test for u in one.utterances if u.label in ("ang", "hap", "exc", "sad", "neu")]
    for entry in results["scores"]:
        assert entry["pooled"]["utterances"] == len(scored)
        assert sum(map(sum, entry["confusion"])) == len(scored)
    predicted = package.load(place / "run/fold-5/model").predict(test[0]).utterances
    assert [one.id for one in predicted] == [utterance.id for utterance in test[0].utterances]


def test_leaf_on_real_speech_is_the_direct_computation(shared: Path) -> None:
    """Pooled energies of a recording against float64 convolutions."""
    path = sorted((shared / "corpora" / "ravdess").glob("*.flac"))[0]
    samples = io.read_clip(io.inspect_file(path), 16_000)
    leaf = Leaf()
    with torch.no_grad():
        energies = leaf.compute_energies(torch.from_numpy(samples)[None], [len(samples)])[0].numpy()
    time = np.arange(-200, 201)
    frames = np.arange(0, len(samples), leaf.stride)
    filters = (leaf.gabor.centre_frequencies, leaf.gabor.inverse_bandwidths, leaf.pooling.widths)
    parameters = zip(*(values.tolist() for values in filters), strict=True)
    for channel, (mu, sigma, width) in enumerate(parameters):
        gabor = np.exp(-(time**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma) * np.exp(1j * mu * time)
        energy = np.abs(fftconvolve(samples.astype(np.float64), gabor, mode="same")) ** 2
        pooled = fftconvolve(energy, np.exp(-((time / (200 * width)) ** 2) / 2), mode="same")[frames]
        assert np.linalg.norm(energies[channel] - pooled) <= 2e-5 * np.linalg.norm(pooled) + 1e-9


def test_recordings_are_read_whole(shared: Path) -> None:
    for path in sorted((shared / "corpora" / "ravdess").glob("*.flac"))[::24]:
        samples, rate = soundfile.read(path, dtype="float32")
        clip = io.inspect_file(path)
        assert clip.sample_rate == rate
        assert np.array_equal(io.read_clip(clip, rate), samples)
        assert len(io.read_clip(clip, rate // 2)) == pytest.approx(len(samples) / 2, abs=1)
