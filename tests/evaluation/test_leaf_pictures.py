"""What moodline plot leaf draws is what the model holds."""

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.figure import Figure

from moodline.config import AUDIO_UTTERANCE, AudioUtteranceConfig, Recipe
from moodline.conversation import find_label_set
from moodline.evaluation.leaf_figures import (
    PCEN_LABELS,
    PICTURES,
    build_log_mel,
    compute_bandwidths,
    compute_responses,
    draw_features,
    draw_filters,
    draw_pcen,
    draw_pooling,
    draw_responses,
    get_centre_frequencies,
    load_encoder,
    plot_leaf,
)
from moodline.modeling.audio_encoder import LeafCnn
from moodline.modeling.checkpoint import save_description, save_stage
from moodline.modeling.description import Provenance
from moodline.modeling.frontend import LogMel
from moodline.modeling.leaf import Leaf
from moodline.modeling.model import build_stage
from tests.refusals import refuses
from tests.rounding import rounding
from tests.system import moodline

SVG = "{http://www.w3.org/2000/svg}"
MEL = 60.0, 7800.0


def trained(leaf: Leaf) -> Leaf:
    """The front-end with every parameter moved, each filter's by another amount."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in leaf.parameters():
            parameter.mul_(0.9 + 0.2 * torch.rand(parameter.shape, generator=generator))
    leaf.project()
    return leaf


BEFORE, AFTER = Leaf(), trained(Leaf())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fold's folder with a model of speech, as far as its utterance encoder goes."""
    return write_model(tmp_path_factory.mktemp("leaf") / "fold-5", Recipe(modalities="audio"))


def write_model(fold: Path, recipe: Recipe) -> Path:
    label_set = find_label_set("iemocap4")
    encoder = build_stage(AUDIO_UTTERANCE, recipe, len(label_set.classes))
    assert isinstance(encoder, LeafCnn)
    if isinstance(encoder.front_end, Leaf):
        trained(encoder.front_end)
    save_stage(fold / "model", AUDIO_UTTERANCE, encoder)
    provenance = Provenance(
        protocol="all",
        fold="all",
        fold_hash="",
        corpus_reader="table",
        corpus_hash="",
        trained_on=(),
        selected_on=(),
        class_counts={},
        moodline_version="",
        torch_version="",
        embeddings=dict.fromkeys(recipe.given, "a file"),
    )
    save_description(fold / "model", recipe, label_set, provenance)
    return fold


def points(figure: Figure, axes: int, line: int) -> np.ndarray:
    return np.asarray(figure.axes[axes].lines[line].get_ydata())


def test_centre_frequencies_and_bandwidths_are_drawn_in_hertz() -> None:
    figure = Figure()
    draw_filters(figure, BEFORE, AFTER)
    for line, leaf in enumerate((BEFORE, AFTER)):
        np.testing.assert_allclose(
            points(figure, 0, line), leaf.gabor.centre_frequencies.detach() * 16000 / (2 * math.pi), rtol=rounding(4)
        )
        np.testing.assert_allclose(points(figure, 2, line), compute_bandwidths(leaf))
    for axes, measure in ((1, get_centre_frequencies), (3, compute_bandwidths)):
        ends = np.array([segment[:, 1] for segment in figure.axes[axes].collections[0].get_segments()])
        np.testing.assert_allclose(ends[:, 1] - ends[:, 0], measure(AFTER) - measure(BEFORE))


def test_a_response_is_half_its_peak_at_the_ends_of_its_bandwidth() -> None:
    """Of filters that the window does not cut and the spectrum's ends do not reach."""
    frequencies, gains = compute_responses(AFTER)
    whole = (AFTER.gabor.inverse_bandwidths.detach() < 40).numpy()
    assert whole.sum() > 20
    for place in np.flatnonzero(whole):
        centre, width = get_centre_frequencies(AFTER)[place], compute_bandwidths(AFTER)[place]
        at = np.interp([centre - width / 2, centre, centre + width / 2], frequencies, gains[place])
        np.testing.assert_allclose(at, [0.5, 1, 0.5], rtol=0.01)


def test_responses_are_those_that_a_tone_finds() -> None:
    """The energy of a filter's output, a tone put in, is the square of its gain there: filters that are cut, too."""
    frequencies, gains = compute_responses(BEFORE)
    bins = [20, 60, 250]
    tones = torch.tensor(2 * np.cos(2 * np.pi * frequencies[bins, None] * np.arange(8000) / 16000))
    pooled = BEFORE.double().compute_energies(tones, [8000] * len(bins))[..., 8]  # (B, filters), away from the ends
    BEFORE.float()
    window = np.exp(-0.5 * (np.arange(-200, 201) / (200 * 0.4)) ** 2).sum()
    np.testing.assert_allclose(pooled.detach() / window, gains[:, bins].T ** 2, atol=0.01)


def test_both_panels_of_responses_hold_every_filter() -> None:
    figure = Figure()
    draw_responses(figure, BEFORE, AFTER)
    for axes, leaf in zip(figure.axes, (BEFORE, AFTER), strict=True):
        drawn = np.stack([line.get_ydata() for line in axes.lines])
        frequencies, gains = compute_responses(leaf)
        np.testing.assert_array_equal(drawn, gains[:, np.isin(frequencies, axes.lines[0].get_xdata())])


def test_pooling_windows_are_drawn_in_milliseconds() -> None:
    figure = Figure()
    draw_pooling(figure, BEFORE, AFTER)
    np.testing.assert_allclose(points(figure, 0, 0), 0.4 * 12.5, rtol=rounding(4))  # of half a window of 25 ms
    np.testing.assert_allclose(points(figure, 0, 1), AFTER.pooling.widths.detach() * 12.5, rtol=rounding(4))


def test_the_normalisations_parameters_are_drawn_as_they_are() -> None:
    figure = Figure()
    draw_pcen(figure, BEFORE, AFTER)
    assert {name for name, _ in AFTER.pcen.named_parameters()} == set(PCEN_LABELS)
    for axes, (name, label) in enumerate(PCEN_LABELS.items()):
        assert figure.axes[axes].get_ylabel() == label
        for line, leaf in enumerate((BEFORE, AFTER)):
            np.testing.assert_allclose(points(figure, axes, line), getattr(leaf.pcen, name).detach(), rtol=rounding(4))


def test_features_are_drawn_as_they_are_beside_as_many_frames_of_log_mel() -> None:
    figure, waveform = Figure(), 0.1 * torch.randn(9000, generator=torch.Generator().manual_seed(0))
    draw_features(figure, BEFORE, AFTER, waveform=waveform, frequencies=MEL)
    mel, initial, learnt = (np.asarray(axes.images[0].get_array()) for axes in figure.axes)
    with torch.no_grad():
        np.testing.assert_array_equal(initial, BEFORE(waveform[None])[0][0])
        np.testing.assert_array_equal(learnt, AFTER(waveform[None])[0][0])
    assert mel.shape == initial.shape


@pytest.mark.parametrize("samples", [1, 480, 481, 7000])
@pytest.mark.parametrize("arguments", [{}, {"sample_rate": 8000, "maximum_frequency": 3900.0, "stride_ms": 10.0}])
def test_log_mel_has_leafs_frames(arguments: dict[str, Any], samples: int) -> None:
    leaf, waveform = Leaf(**arguments), torch.randn(samples, generator=torch.Generator().manual_seed(0))
    expected = LogMel(**arguments)(waveform[None])[0][0]
    np.testing.assert_array_equal(
        build_log_mel(leaf, (60.0, arguments.get("maximum_frequency", 7800.0)))(waveform[None])[0][0], expected
    )
    assert expected.shape[1] == int(leaf.frames(torch.tensor(samples)))


def test_the_model_is_read_from_its_folder_or_its_fold(model: Path) -> None:
    for folder in (model, model / "model"):
        encoder, config = load_encoder(folder)
        assert config == AudioUtteranceConfig()
        for name, parameter in AFTER.named_parameters():
            torch.testing.assert_close(encoder.front_end.get_parameter(name), parameter, rtol=0, atol=0)


def test_pictures_are_told_in_words_and_name_their_axes(model: Path, tmp_path: Path) -> None:
    audio = tmp_path / "one.wav"
    soundfile.write(audio, np.random.default_rng(0).normal(0, 0.1, 12000), 22050)
    paths = plot_leaf(model, tmp_path, audio)
    assert [path.stem for path in paths] == [*(picture.name for picture in PICTURES), "features"]
    for path in paths:
        root = ElementTree.parse(path).getroot()
        texts = {text for element in root.iter(f"{SVG}text") for text in element.itertext()}
        assert root.findtext(f"{SVG}title"), path
        assert root.findtext(f"{SVG}desc"), path
        assert {"initial", "trained"} <= {text.removeprefix("LEAF, ") for text in texts}, path
        assert texts & {"channel", "frequency (Hz)"}, path
        assert not any("$" in text for text in texts), path
    for path, again in zip(paths, plot_leaf(model, tmp_path / "again", audio), strict=True):
        assert path.read_text() == again.read_text()


def test_pictures_can_be_png(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moodline("plot", "leaf", model, "-o", tmp_path / "new", "--format", "png")
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(paths) == sorted((tmp_path / "new").iterdir())
    assert len(paths) == len(PICTURES)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_a_model_that_reads_embeddings_instead_of_recordings_is_refused(tmp_path: Path) -> None:
    fold = write_model(tmp_path / "fold-1", Recipe(modalities="audio").with_precomputed({AUDIO_UTTERANCE: 100}))
    with refuses("model.no_audio_encoder", "fold-1"):
        plot_leaf(fold, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_with_log_mel_in_leafs_place_is_refused(tmp_path: Path) -> None:
    config = AudioUtteranceConfig(frontend="log_mel")
    fold = write_model(tmp_path / "fold-1", Recipe(modalities="audio", audio_utterance=config))
    with refuses("model.no_leaf", "audio_utterance.frontend log_mel"):
        plot_leaf(fold, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_recording_that_cannot_be_read_is_named_and_nothing_drawn(model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    for audio, code in ((broken, "audio.unreadable"), (tmp_path / "none.wav", "audio.missing_file")):
        with refuses(code, audio.name):
            plot_leaf(model, tmp_path / "out", audio)
    assert not (tmp_path / "out").exists()
