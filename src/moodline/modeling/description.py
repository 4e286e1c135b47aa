"""What a model's folder says of it: recipe, label set, provenance, temperatures, statistics of its training data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from moodline.config import Recipe
from moodline.conversation import LabelSet, parse_label_set
from moodline.errors import MoodlineError, quote
from moodline.hub import explain_encoder
from moodline.io import read_description, read_json

BANDWIDTH = "bandwidth"  # Hz
LOUDNESS = "loudness"  # dB of full scale
SIGNAL_TO_NOISE = "signal_to_noise"  # dB
PIECES_PER_WORD = "pieces_per_word"
UNKNOWN_PIECES = "unknown_pieces"  # share of the pieces, from 0 to 1
MEASURES = (BANDWIDTH, LOUDNESS, SIGNAL_TO_NOISE, PIECES_PER_WORD, UNKNOWN_PIECES)

DataStatistics = Mapping[str, float]
"""The measures of one conversation or recording, without those that could not be measured."""

SCHEMA = 3  # 2 adds temperatures, which a reader of 1 ignores; 3 adds a licence, which a reader of 2 refuses
UNSTATED_LICENCE = "not stated: the terms of its corpus hold"
CONFIG_FILE = "config.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingStatistics:
    """Describe a model's training set by each measure's lowest and highest value, without a few extremes."""

    conversations: int  # that were measured
    ranges: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Record what a model was made from; see also ``moodline.conversation.HasTrainingRecord``."""

    protocol: str
    fold: str
    fold_hash: str
    corpus_reader: str
    corpus_hash: str
    trained_on: tuple[str, ...]
    selected_on: tuple[str, ...]
    class_counts: Mapping[str, int]
    moodline_version: str
    torch_version: str
    selected_on_turns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # sentences that every report prints beside the model's scores
    words: str = "reference"  # or recognised
    embeddings: Mapping[str, str] = field(default_factory=dict)  # of encoders that a file replaces: its name and hash
    licence: str = ""  # empty if not stated

    @property
    def licence_text(self) -> str:
        return self.licence or UNSTATED_LICENCE

    @property
    def majority_class(self) -> str:
        """The most frequent class of the training set."""
        return max(self.class_counts, key=lambda name: self.class_counts[name])


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """Describe a model: the content of its config.json."""

    recipe: Recipe
    label_set: LabelSet
    provenance: Provenance
    temperatures: Mapping[str, float] = field(default_factory=dict)  # divisors of logits; empty if not calibrated
    conditions: TrainingStatistics | None = None  # None for a model older than these measures
    threshold: float | None = None  # turns whose label is less probable are uncertain unless a user asks otherwise

    def get_temperature(self, stage: str) -> float:
        return self.temperatures.get(stage, 1.0)


def load_description(folder: Path) -> ModelDescription:
    """Read a model folder's description, without its weights.

    Raises:
        MoodlineError: the folder is not a model, such as a pretrained encoder alone, or has a newer schema
    """
    from moodline.recipe import parse_recipe

    path = folder / CONFIG_FILE
    found = [one for place in ("model", "fold-*/model") for one in folder.glob(f"{place}/{CONFIG_FILE}")]
    if found and not path.is_file():
        models = ", ".join(sorted(str(one.parent) for one in found))
        raise MoodlineError(
            f"{folder} is the folder of a run, not of a model. Give one of its models: {models}.",
            code="model.run_folder",
        )
    if fault := explain_encoder(str(folder), read_json(path, "model folder")):
        raise MoodlineError(fault, code="model.untrained_encoder")
    content = read_description(path, "model folder", SCHEMA)
    try:
        recipe = parse_recipe(content["recipe"], str(path))
        return ModelDescription(
            recipe=recipe,
            label_set=parse_label_set(content["label_set"], str(path)),
            provenance=Provenance(**content["provenance"]),
            temperatures=parse_temperatures(content, recipe.stages),
            conditions=None if content.get("conditions") is None else parse_training_statistics(content["conditions"]),
            threshold=parse_threshold(content.get("threshold")),
        )
    except (KeyError, TypeError) as error:
        raise MoodlineError(
            f"{path} does not describe a model: {error}. Train the model again.", code="model.invalid_description"
        ) from error


def parse_temperatures(content: Mapping[str, Any], stages: Sequence[str]) -> Mapping[str, float]:
    """Parse a description's temperatures (an older schema has none) or raise ``TypeError``."""
    found = content["temperatures"] if content["schema"] > 1 else {}
    if not isinstance(found, dict) or (found and set(found) != set(stages)):
        raise TypeError(f"temperatures {quote(found)}, expected one for each of {', '.join(stages)}")
    for stage, value in found.items():
        if not isinstance(value, float) or not 0 < value < math.inf:
            raise TypeError(f"temperature {quote(value)} of {stage}, expected a positive number")
    return found


def parse_threshold(found: Any) -> float | None:
    """Parse a description's threshold or raise ``TypeError``."""
    if found is not None and not (isinstance(found, float) and 0 <= found <= 1):
        raise TypeError(f"threshold {quote(found)}, expected a probability")
    return found


def parse_training_statistics(content: Any) -> TrainingStatistics:
    """Parse training statistics from JSON or raise ``TypeError``."""
    try:
        found = TrainingStatistics(**content)
        ranges = {measure: (low, high) for measure, (low, high) in found.ranges.items()}
        valid = isinstance(found.conversations, int) and ranges.keys() <= set(MEASURES)
        if valid and all(-math.inf < low <= high for low, high in ranges.values()):
            return replace(found, ranges=ranges)
    except (TypeError, ValueError, AttributeError):  # raised below, with the content
        pass
    raise TypeError(
        f"conditions {quote(content)}, expected a number of conversations and a range for each of {', '.join(MEASURES)}"
    )
