"""A model on disk: a self-describing folder that loads without a corpus, a recipe or a pickle."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from moodline.config import STAGE_NAMES, TEXT_UTTERANCE, Recipe
from moodline.console import format_path
from moodline.conversation import LabelSet, convert_to_content, parse_label_set
from moodline.device import CPU
from moodline.errors import MoodlineError, get_first_line, quote
from moodline.io import open_atomic_file, read_description, write_json, write_text
from moodline.modeling.model import ConversationModel, build_stage
from moodline.modeling.text_encoder import Tokenizer, build_empty_bert

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
BERT_CONFIG_FILE = "bert/config.json"
TOKENIZER_FILE = "bert/tokenizer.json"


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

    def get_temperature(self, stage: str) -> float:
        return self.temperatures.get(stage, 1.0)


@dataclass(frozen=True, kw_only=True)
class TrainedModel(ModelDescription):
    """Hold the loaded content of a model folder."""

    network: ConversationModel
    tokenizer: Tokenizer | None


def save_stage(folder: Path, stage: str, part: nn.Module) -> None:
    """Write one trained part's weights."""
    from safetensors.torch import save

    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in part.state_dict().items()})
    with open_atomic_file(folder / f"{stage}.safetensors") as temporary:
        temporary.write_bytes(weights)


def load_part(folder: Path, stage: str, recipe: Recipe, label_set: LabelSet) -> nn.Module:
    """Load one trained part of a model folder, or raise MoodlineError; the folder need not be complete."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights, bert = f"{stage}.safetensors", None
    for name in (BERT_CONFIG_FILE, TOKENIZER_FILE, weights) if stage == TEXT_UTTERANCE else (weights,):
        if not (folder / name).is_file():
            raise MoodlineError(
                f"model {folder} lacks {name}. Copy the whole folder, or train it again.", code="model.missing_file"
            )
    if stage == TEXT_UTTERANCE:
        bert = build_empty_bert(folder / BERT_CONFIG_FILE)
    part = build_stage(stage, recipe, len(label_set.classes), bert)
    try:
        part.load_state_dict(load_file(folder / weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = get_first_line(error)
        raise MoodlineError(
            f"{folder / weights} does not match its config.json ({reason}). Copy the model folder again.",
            code="model.mismatched_weights",
        ) from error
    return part.eval()


def save_text_assets(folder: Path, bert: Any, tokenizer: Tokenizer) -> None:
    """Save BERT's configuration and tokenizer with the model: loading then needs neither hub nor wheel."""
    size = json.loads(bert.config.to_json_string(use_diff=False))
    size.pop("_name_or_path", None)  # a path of this machine
    write_json(folder / BERT_CONFIG_FILE, size)
    with open_atomic_file(folder / TOKENIZER_FILE) as temporary:
        tokenizer.save(temporary)


def save_description(
    folder: Path,
    recipe: Recipe,
    label_set: LabelSet,
    provenance: Provenance,
    temperatures: Mapping[str, float] = MappingProxyType({}),
    conditions: TrainingStatistics | None = None,
) -> None:
    """Write the model card and, last, config.json, which marks a complete model."""
    from moodline.pages import build_environment

    environment = build_environment("moodline.modeling").overlay(autoescape=False)
    card = environment.get_template("model_card.md.jinja").render(
        recipe=recipe,
        labels=label_set,
        mapping=", ".join(f"{found} -> {emotion}" for found, emotion in label_set.mapping.items()),
        made=provenance,
        temperatures=", ".join(f"{STAGE_NAMES[stage]} {value:.3g}" for stage, value in temperatures.items()),
    )
    write_text(folder / "README.md", card + "\n")
    content = {
        "schema": SCHEMA,
        "recipe": asdict(without_places(recipe)),
        "label_set": convert_to_content(label_set),
        "provenance": asdict(provenance),
        "temperatures": dict(temperatures),
        "conditions": None if conditions is None else asdict(conditions),
    }
    write_json(folder / CONFIG_FILE, content)


def without_places(recipe: Recipe) -> Recipe:
    """Reduce the recipe's absolute paths, which a model folder does not need, to their last component."""
    bert, label_set = (
        Path(place).name if Path(place).expanduser().is_absolute() else place
        for place in (recipe.text_utterance.bert, recipe.label_set)
    )
    return replace(recipe, label_set=label_set, text_utterance=replace(recipe.text_utterance, bert=bert))


def name_of_model(folder: Path) -> str:
    """Name a model for outputs: its relative path below the working folder, else its run, fold and folder name."""
    name = format_path(folder)
    of_run = folder.parent.name.startswith("fold-") and name == folder.name
    return "/".join(folder.parts[-3:]) if of_run else name


def load_description(folder: Path) -> ModelDescription:
    """Read a model folder's description, without its weights.

    Raises:
        MoodlineError: the folder is not a model, or has a newer schema
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
    content = read_description(path, "model folder", SCHEMA)
    try:
        recipe = parse_recipe(content["recipe"], str(path))
        return ModelDescription(
            recipe=recipe,
            label_set=parse_label_set(content["label_set"], str(path)),
            provenance=Provenance(**content["provenance"]),
            temperatures=parse_temperatures(content, recipe.stages),
            conditions=None if content.get("conditions") is None else parse_training_statistics(content["conditions"]),
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


def load_model(folder: Path, device: torch.device = CPU) -> TrainedModel:
    """Load a model folder onto a device, or raise MoodlineError."""
    described = load_description(folder)
    recipe, tokenizer = described.recipe, None
    parts = {stage: load_part(folder, stage, recipe, described.label_set) for stage in recipe.stages}
    if TEXT_UTTERANCE in parts:
        tokenizer = Tokenizer.from_file(folder / TOKENIZER_FILE, recipe.text_utterance.maximum_tokens)
    return TrainedModel(**vars(described), network=ConversationModel(parts).eval().to(device), tokenizer=tokenizer)
