"""Pictures of the LEAF front-end of a trained model."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure

from moodline.audio import waveform
from moodline.audio.leaf import Leaf
from moodline.audio.leaf_cnn import LeafCnn, scale_to_unit_rms
from moodline.checkpoint import CONFIG_FILE, load_description, load_part
from moodline.config import AUDIO_UTTERANCE, AudioUtteranceConfig
from moodline.errors import MoodlineError
from moodline.evaluation.figures.drawing import figure_of, write
from moodline.evaluation.figures.leaf_features import draw_features
from moodline.evaluation.figures.leaf_parameters import draw_filters, draw_pcen, draw_pooling, draw_responses
from moodline.model import build_audio_utterance


class Picture(NamedTuple):
    """A file's name without its ending, the title, inches, and what draws it and tells what it shows."""

    name: str
    title: str
    width: float
    height: float
    draw: Callable[[Figure, Leaf, Leaf], str]


PICTURES = (
    Picture("filters", "Centre frequencies and bandwidths of the filters", 7.2, 4.4, draw_filters),
    Picture("responses", "Frequency responses of the filters", 7.2, 4.0, draw_responses),
    Picture("pooling", "Widths of the pooling windows", 7.2, 2.4, draw_pooling),
    Picture("pcen", "Parameters of the energy normalisation", 7.2, 4.2, draw_pcen),
)
FEATURES_TITLE = "LEAF features beside the log-mel spectrogram"


def plot_leaf(folder: Path, out: Path, audio: Path | None = None, file_format: str = "svg") -> list[Path]:
    """Draw the front-end of a model as it began and as it was trained; with a recording, its features too.

    Args:
        folder: a model folder, or a run's fold with one
        out: the pictures' folder
        audio: a recording; it is scaled as the model scales speech
        file_format: svg or png

    Raises:
        MoodlineError: the folder is no model, the model has no speech encoder with LEAF, or the recording cannot be
            read
    """
    encoder, config = trained_encoder(folder)
    before, after = leaf_of(build_audio_utterance(config, len(encoder.classifier.bias))), leaf_of(encoder)
    pictures = list(PICTURES)
    if audio is not None:
        pictures.append(features_picture(audio, encoder, config))
    paths = []
    for picture in pictures:
        paths.append(out / f"{picture.name}.{file_format}")
        with figure_of(picture.width, picture.height) as figure:
            told = picture.draw(figure, before, after)
            write(figure, paths[-1], picture.name, picture.title, told)
    return paths


def trained_encoder(folder: Path) -> tuple[LeafCnn, AudioUtteranceConfig]:
    """The speech encoder of a model folder, or of a run's fold with one, and its part of the recipe."""
    if not (folder / CONFIG_FILE).exists() and (folder / "model" / CONFIG_FILE).exists():
        folder = folder / "model"
    description = load_description(folder)
    recipe = description.recipe
    if AUDIO_UTTERANCE not in recipe.stages:
        given = "embeddings from a file" if AUDIO_UTTERANCE in recipe.given else "words alone"
        raise MoodlineError(
            f"LEAF is drawn of a model that was trained on recordings, and {folder} reads {given}: "
            "name a model with speech"
        )
    if recipe.audio_utterance.front_end != "leaf":
        raise MoodlineError(
            f"LEAF is drawn of a model that has it, and {folder} has audio_utterance.front_end "
            f"{recipe.audio_utterance.front_end}: name a model with leaf"
        )
    encoder = load_part(folder, AUDIO_UTTERANCE, recipe, description.label_set)
    assert isinstance(encoder, LeafCnn)
    return encoder, recipe.audio_utterance


def leaf_of(encoder: LeafCnn) -> Leaf:
    assert isinstance(encoder.front_end, Leaf), "trained_encoder has refused any other"
    return encoder.front_end


def features_picture(audio: Path, encoder: LeafCnn, config: AudioUtteranceConfig) -> Picture:
    samples = torch.from_numpy(waveform.read(waveform.inspect(audio), config.sample_rate))
    if encoder.waveform_normalisation:
        samples = scale_to_unit_rms(samples[None], torch.tensor([len(samples)]))[0]
    frequencies = config.minimum_frequency, config.maximum_frequency

    def draw(figure: Figure, before: Leaf, after: Leaf) -> str:
        return draw_features(figure, samples, before, after, frequencies)

    return Picture("features", FEATURES_TITLE, 7.2, 5.4, draw)
