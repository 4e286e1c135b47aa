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
from moodline.conversation import LabelSet, convert_to_content, parse_label_set
from moodline.device import CPU
from moodline.errors import MoodlineError, get_first_line, shown
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
"""Of one conversation or recording: those of MEASURES that could be measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingStatistics:
    """Of a model's training set.

    Attributes:
        conversations: how many were measured
        ranges: by measure, the lowest and the highest of these conversations but for a few
    """

    conversations: int
    ranges: Mapping[str, tuple[float, float]]


def parse_training_statistics(content: Any) -> TrainingStatistics:
    """What JSON tells.

    Raises:
        TypeError: it is no count and ranges
    """
    fault = f"its conditions are a number of conversations and a range for each of {', '.join(MEASURES)}: {content!r}"
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


SCHEMA = 3  # 2: temperatures, which a reader of 1 would pass over; 3: a licence, which a reader of 2 refuses
UNSTATED_LICENCE = "not stated: the terms of its corpus hold"
CONFIG_FILE = "config.json"
BERT_CONFIG_FILE = "bert/config.json"
TOKENIZER_FILE = "bert/tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a model was made from.

    Attributes:
        trained_on, selected_on, selected_on_turns: see ``moodline.conversation.HasTrainingRecord``
        notes: what stands beside every score of the model, a sentence each
        words: the column of the corpus's that the model was trained on: reference, or recognised
        embeddings: the files that were given in the place of utterance encoders: encoder -> name and hash
        licence: of the model; empty where nobody gave one
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
    """What a model folder says of itself.

    Attributes:
        temperatures: by stage, what its logits are divided by; empty for a model that is not calibrated
        conditions: of the training set; None for a model of before they were measured
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
    """A model folder's content, loaded."""

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
        number = re.search(r"os error (\d+)", str(error))  # the system's, in the words of another library
        reason = OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))
        raise build_write_error(path, reason) from error


def load_stage(folder: Path, stage: str, part: nn.Module) -> None:
    """Fill a part with the weights that a folder holds."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = get_stage_file(folder, stage)
    try:
        part.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise MoodlineError(f"model {folder} lacks {path.name}: copy the whole folder, or train it again") from None
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = get_first_line(error)
        raise MoodlineError(
            f"{path} does not hold the weights its config.json tells: {reason}; copy it again"
        ) from error


def save_text_assets(folder: Path, bert: Any, tokenizer: Tokenizer) -> None:
    """Keep BERT's size and its tokenizer with the model, so that loading needs neither hub nor wheel."""
    size = json.loads(bert.config.to_json_string(use_diff=False))
    size.pop("_name_or_path", None)  # where BERT lay on this machine
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
    """Write the model card and, last of all, config.json: a folder that has it is a whole model."""
    write_text(folder / "README.md", write_model_card(recipe, label_set, provenance, temperatures))
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
    """The recipe with the names alone of what lies elsewhere on this machine, BERT's folder and the label set's file.

    A model needs neither to load: it holds its label set, BERT's size and its tokenizer.
    """
    text = replace(recipe.text_utterance, bert=name_alone(recipe.text_utterance.bert))
    return replace(recipe, label_set=name_alone(recipe.label_set), text_utterance=text)


def name_alone(place: str) -> str:
    """The name of an absolute path; a path from the working folder or a hub's name as it is."""
    return Path(place).name if Path(place).expanduser().is_absolute() else place


def name_of_model(folder: Path) -> str:
    """How outputs name a model: by its folder from the working folder, or elsewhere by its run, fold and name."""
    name = shown(folder)
    of_run = folder.parent.name.startswith("fold-") and name == folder.name
    return "/".join(folder.parts[-3:]) if of_run else name


def write_model_card(
    recipe: Recipe, label_set: LabelSet, provenance: Provenance, temperatures: Mapping[str, float]
) -> str:
    counts = "\n".join(f"| {name} | {count} |" for name, count in provenance.class_counts.items())
    mapping = ", ".join(f"{found} -> {emotion}" for found, emotion in label_set.mapping.items())
    turns = ", one speaker's turns of each" if provenance.selected_on_turns else ""
    notes = "".join(f"- {note[:1].upper()}{note[1:]}\n" for note in provenance.notes)
    given = "".join(
        f"- Reads embeddings of length {size} in the place of {encoder}; trained on {provenance.embeddings[encoder]}\n"
        for encoder, size in recipe.given.items()
    )
    scaled = ", ".join(f"{STAGE_NAMES[stage]} {value:.3g}" for stage, value in temperatures.items())
    read = ", ".join(f'"{encoder}": moodline.read_embeddings("FILE").vectors' for encoder in recipe.given)
    reading = f".with_embeddings({{{read}}})" if read else ""
    return f"""# A moodline model

Recognises emotion in conversations ({recipe.modalities if recipe.modalities != "both" else "speech and words"}),
after Dutta & Ganapathy, "Multimodal Transformer with Learnable Frontend and Self Attention for Emotion Recognition",
ICASSP 2022.

- Labels: {label_set.name}, version {label_set.version} ({mapping}); context: {recipe.context}
- Corpus: {provenance.corpus_reader}, table {provenance.corpus_hash}
- Protocol: {provenance.protocol}, fold {provenance.fold} ({provenance.fold_hash})
- Trained on {len(provenance.trained_on)} conversations, selected on {len(provenance.selected_on)} others{turns}
- {f"Calibrated on the latter; temperatures: {scaled}" if scaled else "Not calibrated"}
{notes}{given}- Seed: {recipe.seed}
- Licence: {provenance.licence_text}
- Made with moodline {provenance.moodline_version}, torch {provenance.torch_version}

| class | training utterances |
|---|---|
{counts}

    import moodline
    model = moodline.load("this folder"){reading}
    predictions = model.predict(conversation)

It is as good as the corpus that trained it. Score it on recordings like yours before you rely on it, and do not use it
to decide about people.
"""


def load_description(folder: Path) -> ModelDescription:
    """What a model folder says of itself, without its weights.

    Raises:
        MoodlineError: the folder is no model, or is of a newer schema
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
            f"{folder / CONFIG_FILE} is no model's description: {error}; train the model again"
        ) from error


def parse_temperatures(content: Mapping[str, Any], stages: Sequence[str]) -> Mapping[str, float]:
    """Those of a description; that of an older schema has none.

    Raises:
        TypeError: they are not a positive number for each stage
    """
    found = content["temperatures"] if content["schema"] > 1 else {}
    if not isinstance(found, dict) or (found and set(found) != set(stages)):
        raise TypeError(f"its temperatures are one for each of {', '.join(stages)}, not {found!r}")
    for stage, value in found.items():
        if not isinstance(value, float) or not 0 < value < math.inf:
            raise TypeError(f"a temperature is a positive number, and that of {stage} is {value!r}")
    return found


def load_model(folder: Path, device: torch.device = CPU) -> TrainedModel:
    """Load a model folder onto a device.

    Raises:
        MoodlineError: the folder is no model, is of a newer schema, or its files do not fit each other
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
    """Refuse a run's folder, or one fold's, in the place of a model's, naming the models that it has."""
    if not (folder / CONFIG_FILE).is_file():
        found = (*folder.glob(f"model/{CONFIG_FILE}"), *folder.glob(f"fold-*/model/{CONFIG_FILE}"))
        models = sorted(str(one.parent) for one in found)
        if models:
            raise MoodlineError(f"{folder} is a run's folder, not a model's: it holds the models {', '.join(models)}")


def load_part(folder: Path, stage: str, recipe: Recipe, label_set: LabelSet) -> nn.Module:
    """One trained part of a model folder, whole model or not yet."""
    if stage == TEXT_UTTERANCE:
        for name in (BERT_CONFIG_FILE, TOKENIZER_FILE):
            if not (folder / name).is_file():
                raise MoodlineError(f"model {folder} lacks {name}: copy the whole folder, or train it again")
    bert = build_empty_bert(folder / BERT_CONFIG_FILE) if stage == TEXT_UTTERANCE else None
    part = build_stage(stage, recipe, len(label_set.classes), bert)
    load_stage(folder, stage, part)
    return part.eval()
