"""A model on disk: a self-describing folder that loads without a corpus, a recipe or a pickle."""

import dataclasses
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from moodline.config import STAGE_NAMES, TEXT_UTTERANCE, Recipe
from moodline.console import format_path
from moodline.conversation import LabelSet, convert_to_content, parse_label_set
from moodline.device import CPU
from moodline.errors import MoodlineError, get_first_line
from moodline.io import build_write_error, open_atomic_file, read_description, write_json, write_text
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


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingStatistics:
    """Describe a model's training set by the range of each measure.

    Attributes:
        conversations: number of measured ones
        ranges: by measure, the lowest and the highest value among these conversations, without a few extremes
    """

    conversations: int
    ranges: Mapping[str, tuple[float, float]]


def parse_training_statistics(content: Any) -> TrainingStatistics:
    """Parse training statistics from JSON.

    Raises:
        TypeError: the content is not a count and ranges
    """
    fault = f"conditions {content!r}, expected a number of conversations and a range for each of {', '.join(MEASURES)}"
    if not isinstance(content, dict) or set(content) != {"conversations", "ranges"}:
        raise TypeError(fault)
    if not isinstance(content["conversations"], int) or not isinstance(content["ranges"], dict):
        raise TypeError(fault)
    for measure, limits in content["ranges"].items():
        numbers = isinstance(limits, list) and all(isinstance(limit, float) for limit in limits)
        if measure not in MEASURES or not numbers or len(limits) != 2 or not limits[0] <= limits[1]:
            raise TypeError(fault)
    ranges = {measure: (low, high) for measure, (low, high) in content["ranges"].items()}
    return TrainingStatistics(conversations=content["conversations"], ranges=ranges)


SCHEMA = 3  # 2 adds temperatures, which a reader of 1 ignores; 3 adds a licence, which a reader of 2 refuses
UNSTATED_LICENCE = "not stated: the terms of its corpus hold"
CONFIG_FILE = "config.json"
BERT_CONFIG_FILE = "bert/config.json"
TOKENIZER_FILE = "bert/tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Record what a model was made from.

    Attributes:
        trained_on, selected_on, selected_on_turns: see ``moodline.conversation.HasTrainingRecord``
        notes: sentences that every report prints beside the model's scores
        words: the words that the model was trained on: reference, or recognised
        embeddings: files of precomputed embeddings that replaced utterance encoders: encoder -> name and hash
        licence: of the model; empty if not stated
    """

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
    notes: tuple[str, ...] = ()
    words: str = "reference"
    embeddings: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""

    @property
    def licence_text(self) -> str:
        return self.licence or UNSTATED_LICENCE

    @property
    def majority_class(self) -> str:
        """The most frequent class of the training set."""
        return max(self.class_counts, key=lambda name: self.class_counts[name])


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """Describe a model: the content of its config.json.

    Attributes:
        temperatures: by stage, the divisor of its logits; empty for a model that is not calibrated
        conditions: of the training set; None for a model older than these measures
    """

    recipe: Recipe
    label_set: LabelSet
    provenance: Provenance
    temperatures: Mapping[str, float] = field(default_factory=dict)
    conditions: TrainingStatistics | None = None

    def get_temperature(self, stage: str) -> float:
        return self.temperatures.get(stage, 1.0)


@dataclass(frozen=True, kw_only=True)
class TrainedModel(ModelDescription):
    """Hold the loaded content of a model folder."""

    network: ConversationModel
    tokenizer: Tokenizer | None


def get_stage_file(folder: Path, stage: str) -> Path:
    return folder / f"{stage}.safetensors"


def save_stage(folder: Path, stage: str, part: nn.Module) -> None:
    """Write one trained part's weights."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in part.state_dict().items()}
    path = get_stage_file(folder, stage)
    try:
        with open_atomic_file(path) as temporary:
            save_file(tensors, temporary)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # the system's error, inside the library's message
        reason = OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))
        raise build_write_error(path, reason) from error


def load_stage(folder: Path, stage: str, part: nn.Module) -> None:
    """Load a part's weights from a folder.

    Raises:
        MoodlineError: the file is missing, unreadable or does not fit the part
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = get_stage_file(folder, stage)
    try:
        part.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise build_incomplete_error(folder, path.name) from None
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = get_first_line(error)
        raise MoodlineError(
            f"{path} does not match its config.json ({reason}). Copy the model folder again.",
            code="model.mismatched_weights",
        ) from error


def build_incomplete_error(folder: Path, name: str) -> MoodlineError:
    """Build the error for a file that a model folder lacks."""
    return MoodlineError(
        f"model {folder} lacks {name}. Copy the whole folder, or train it again.", code="model.missing_file"
    )


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
    write_text(folder / "README.md", render_model_card(recipe, label_set, provenance, temperatures))
    write_json(
        folder / CONFIG_FILE,
        {
            "schema": SCHEMA,
            "recipe": dataclasses.asdict(without_places(recipe)),
            "label_set": convert_to_content(label_set),
            "provenance": dataclasses.asdict(provenance),
            "temperatures": dict(temperatures),
            "conditions": None if conditions is None else dataclasses.asdict(conditions),
        },
    )


def without_places(recipe: Recipe) -> Recipe:
    """Reduce the recipe's absolute paths, of BERT's folder and the label set's file, to their last component.

    A model needs neither to load: its folder holds the label set, BERT's configuration and the tokenizer.
    """
    text = replace(recipe.text_utterance, bert=name_alone(recipe.text_utterance.bert))
    return replace(recipe, label_set=name_alone(recipe.label_set), text_utterance=text)


def name_alone(place: str) -> str:
    """Reduce an absolute path to its last component; keep a relative path or a hub's name."""
    return Path(place).name if Path(place).expanduser().is_absolute() else place


def name_of_model(folder: Path) -> str:
    """Name a model for outputs: its relative path below the working folder, else its run, fold and folder name."""
    name = format_path(folder)
    of_run = folder.parent.name.startswith("fold-") and name == folder.name
    return "/".join(folder.parts[-3:]) if of_run else name


def render_model_card(
    recipe: Recipe, label_set: LabelSet, provenance: Provenance, temperatures: Mapping[str, float]
) -> str:
    """Render the folder's README.md."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("moodline.modeling"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("model_card.md.jinja").render(
        recipe=recipe,
        modalities=recipe.modalities if recipe.modalities != "both" else "speech and words",
        labels=label_set,
        mapping=", ".join(f"{found} -> {emotion}" for found, emotion in label_set.mapping.items()),
        made=provenance,
        temperatures=", ".join(f"{STAGE_NAMES[stage]} {value:.3g}" for stage, value in temperatures.items()),
    )


def load_description(folder: Path) -> ModelDescription:
    """Read a model folder's description, without its weights.

    Raises:
        MoodlineError: the folder is not a model, or has a newer schema
    """
    from moodline.config import parse_recipe

    refuse_run_folder(folder)
    content = read_description(folder / CONFIG_FILE, "model folder", SCHEMA)
    try:
        recipe = parse_recipe(content["recipe"], str(folder / CONFIG_FILE))
        return ModelDescription(
            recipe=recipe,
            label_set=parse_label_set(content["label_set"], str(folder / CONFIG_FILE)),
            provenance=Provenance(**content["provenance"]),
            temperatures=parse_temperatures(content, recipe.stages),
            conditions=None if content.get("conditions") is None else parse_training_statistics(content["conditions"]),
        )
    except (KeyError, TypeError) as error:
        raise MoodlineError(
            f"{folder / CONFIG_FILE} does not describe a model: {error}. Train the model again.",
            code="model.invalid_description",
        ) from error


def parse_temperatures(content: Mapping[str, Any], stages: Sequence[str]) -> Mapping[str, float]:
    """Parse a description's temperatures; an older schema has none.

    Raises:
        TypeError: the content is not a positive number for each stage
    """
    found = content["temperatures"] if content["schema"] > 1 else {}
    if not isinstance(found, dict) or (found and set(found) != set(stages)):
        raise TypeError(f"temperatures {found!r}, expected one for each of {', '.join(stages)}")
    for stage, value in found.items():
        if not isinstance(value, float) or not 0 < value < math.inf:
            raise TypeError(f"temperature {value!r} of {stage}, expected a positive number")
    return found


def load_model(folder: Path, device: torch.device = CPU) -> TrainedModel:
    """Load a model folder onto a device.

    Raises:
        MoodlineError: the folder is not a model, has a newer schema, or its files do not match
    """
    described = load_description(folder)
    recipe, label_set = described.recipe, described.label_set
    parts = {stage: load_part(folder, stage, recipe, label_set) for stage in recipe.stages}
    tokenizer = None
    if TEXT_UTTERANCE in parts:
        tokenizer = Tokenizer.from_file(folder / TOKENIZER_FILE, recipe.text_utterance.maximum_tokens)
    return TrainedModel(
        recipe=recipe,
        label_set=label_set,
        provenance=described.provenance,
        temperatures=described.temperatures,
        conditions=described.conditions,
        network=ConversationModel(parts).eval().to(device),
        tokenizer=tokenizer,
    )


def refuse_run_folder(folder: Path) -> None:
    """Refuse the folder of a run or a fold instead of a model, and name the models that it holds."""
    if not (folder / CONFIG_FILE).is_file():
        found = (*folder.glob(f"model/{CONFIG_FILE}"), *folder.glob(f"fold-*/model/{CONFIG_FILE}"))
        models = sorted(str(one.parent) for one in found)
        if models:
            raise MoodlineError(
                f"{folder} is the folder of a run, not of a model. Give one of its models: {', '.join(models)}.",
                code="model.run_folder",
            )


def load_part(folder: Path, stage: str, recipe: Recipe, label_set: LabelSet) -> nn.Module:
    """Load one trained part of a model folder, which need not be complete."""
    if stage == TEXT_UTTERANCE:
        for name in (BERT_CONFIG_FILE, TOKENIZER_FILE):
            if not (folder / name).is_file():
                raise build_incomplete_error(folder, name)
    bert = build_empty_bert(folder / BERT_CONFIG_FILE) if stage == TEXT_UTTERANCE else None
    part = build_stage(stage, recipe, len(label_set.classes), bert)
    load_stage(folder, stage, part)
    return part.eval()
