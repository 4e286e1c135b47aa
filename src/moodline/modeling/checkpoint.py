"""A model on disk: a self-describing folder that loads without a corpus, a recipe or a pickle."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE, Recipe
from moodline.console import format_path
from moodline.conversation import LabelSet, convert_to_content
from moodline.device import CPU, refusing_full_memory
from moodline.errors import MoodlineError, get_first_line
from moodline.hub import find_hub_name
from moodline.io import open_atomic_file, open_replacement_folder, report_write_errors, write_json, write_text
from moodline.modeling.audio_assets import BACKBONE_FILES, build_empty_backbone, save_backbone
from moodline.modeling.bounds import check_sizes, refuse_large_model
from moodline.modeling.description import (
    CONFIG_FILE,
    SCHEMA,
    ModelDescription,
    Provenance,
    TrainingStatistics,
    load_description,
)
from moodline.modeling.model import ConversationModel, build_stage
from moodline.modeling.model_card import format_card
from moodline.modeling.pretrained import build_empty, describe_config
from moodline.modeling.pretrained_audio import PretrainedAudio
from moodline.modeling.text_encoder import TextEncoder, Tokenizer

TEXT_FOLDER = "bert"  # of any family; models of all versions have this name
TEXT_CONFIG_FILE = f"{TEXT_FOLDER}/config.json"
TOKENIZER_FILE = f"{TEXT_FOLDER}/tokenizer.json"
AUDIO_FOLDER = "audio"  # of a pretrained encoder of speech
# The folders of pretrained encoders, by stage.
ASSET_FOLDERS = {AUDIO_UTTERANCE: AUDIO_FOLDER, TEXT_UTTERANCE: TEXT_FOLDER}


@dataclass(frozen=True, kw_only=True)
class TrainedModel(ModelDescription):
    """Hold the loaded content of a model folder."""

    network: ConversationModel
    tokenizer: Tokenizer | None


def hash_weights(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, weights in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(weights.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def save_part(folder: Path, stage: str, part: Any, tokenizer: Tokenizer | None) -> None:
    """Write a trained part, with all that describes its pretrained encoder: loading needs neither hub nor wheel.

    Files of an encoder that the folder had before are removed.
    """
    save_stage(folder, stage, part)
    if isinstance(part, TextEncoder):
        assert tokenizer is not None, "a model of words is loaded with its tokenizer"
        save_text_assets(folder, part.bert, tokenizer)
    elif isinstance(part, PretrainedAudio):
        save_audio_assets(folder, part)
    elif stage in ASSET_FOLDERS:
        shutil.rmtree(folder / ASSET_FOLDERS[stage], ignore_errors=True)


def save_stage(folder: Path, stage: str, part: nn.Module) -> None:
    """Write one trained part's weights."""
    from safetensors.torch import save

    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in part.state_dict().items()})
    with open_atomic_file(folder / f"{stage}.safetensors") as temporary:
        temporary.write_bytes(weights)


def load_part(folder: Path, stage: str, recipe: Recipe, label_set: LabelSet) -> nn.Module:
    """Load one trained part of a model folder, or raise MoodlineError; the folder need not be complete.

    A description that asks for more than the weights hold is refused before memory is taken for it.
    """
    from safetensors.torch import load_file

    weights, encoder = folder / f"{stage}.safetensors", recipe.audio_utterance.encoder
    for path in (*(folder / name for name in list_assets(stage, encoder)), weights):
        if not path.is_file():
            raise MoodlineError(
                f"model {folder} lacks {path.relative_to(folder)}. Copy the whole folder, or train it again.",
                code="model.missing_file",
            )

    def build() -> nn.Module:
        backbone = None
        if stage == TEXT_UTTERANCE:
            backbone = build_empty(folder / TEXT_CONFIG_FILE, weights, prefix="bert.")
        elif stage == AUDIO_UTTERANCE and encoder != "leaf_cnn":
            backbone = build_empty_backbone(folder / AUDIO_FOLDER, weights, encoder)
        return build_stage(stage, recipe, len(label_set.classes), backbone)

    try:
        check_sizes(build, asdict(getattr(recipe, stage)), weights)
        part = build()
        part.load_state_dict(load_file(weights))
    except MoodlineError:
        raise
    except Exception as error:  # PyTorch and safetensors raise various errors, by the faulty value
        reason = get_first_line(error)
        raise MoodlineError(
            f"{weights} does not match its config.json ({reason}). Copy the model folder again.",
            code="model.mismatched_weights",
        ) from error
    return part.eval()


def list_assets(stage: str, audio_encoder: str) -> tuple[str, ...]:
    """List the files beside its weights that a part is loaded from."""
    if stage == TEXT_UTTERANCE:
        return TEXT_CONFIG_FILE, TOKENIZER_FILE
    if stage == AUDIO_UTTERANCE and audio_encoder != "leaf_cnn":
        return tuple(f"{AUDIO_FOLDER}/{name}" for name in BACKBONE_FILES[audio_encoder])
    return ()


def save_audio_assets(folder: Path, part: PretrainedAudio) -> None:
    """Save what describes a pretrained encoder of speech."""
    with open_replacement_folder(folder / AUDIO_FOLDER) as temporary:
        save_backbone(temporary, part.backbone, part.reader.extractor)


def save_text_assets(folder: Path, backbone: Any, tokenizer: Tokenizer) -> None:
    """Save a pretrained encoder's configuration and tokenizer."""
    with open_replacement_folder(folder / TEXT_FOLDER) as temporary:
        write_json(temporary / Path(TEXT_CONFIG_FILE).name, describe_config(backbone))
        tokenizer.save(temporary / Path(TOKENIZER_FILE).name)


def save_description(
    folder: Path,
    recipe: Recipe,
    label_set: LabelSet,
    provenance: Provenance,
    temperatures: Mapping[str, float] = MappingProxyType({}),
    conditions: TrainingStatistics | None = None,
    *,
    name: str | None = None,
) -> None:
    """Write the model card, which names the model ``name``, and last config.json, which marks a complete model."""
    write_text(folder / "README.md", format_card(recipe, label_set, provenance, temperatures, name))
    content = {
        "schema": SCHEMA,
        "recipe": asdict(without_places(recipe)),
        "label_set": convert_to_content(label_set),
        "provenance": asdict(provenance),
        "temperatures": dict(temperatures),
        "conditions": None if conditions is None else asdict(conditions),
    }
    write_json(folder / CONFIG_FILE, content)


def save_model(folder: Path, model: TrainedModel, name: str | None = None) -> None:
    """Write a model folder, which loads as ``model``; the card names it ``name``. Other files in it stay."""
    with report_write_errors(folder):
        (folder / CONFIG_FILE).unlink(missing_ok=True)  # until all files are the new model's
    for stage, part in model.network.parts.items():
        save_part(folder, stage, part, model.tokenizer)
    described = {one.name: getattr(model, one.name) for one in fields(ModelDescription)}
    save_description(folder, **described, name=name)


def without_places(recipe: Recipe) -> Recipe:
    """Reduce the recipe's absolute paths, which a model folder does not need, to their last component."""

    def shorten(place: str) -> str:
        return Path(place).name if Path(place).expanduser().is_absolute() else place

    audio, text = recipe.audio_utterance, recipe.text_utterance
    return replace(
        recipe,
        label_set=shorten(recipe.label_set),
        audio_utterance=replace(audio, pretrained=shorten(audio.pretrained)),
        text_utterance=replace(text, pretrained=shorten(text.pretrained)),
    )


def name_of_model(folder: Path) -> str:
    """Name a model for outputs.

    Its name and commit on the hub; else its relative path below the working folder, or its run, fold and folder name.
    """
    if on_hub := find_hub_name(folder):
        return on_hub
    name = format_path(folder)
    of_run = folder.parent.name.startswith("fold-") and name == folder.name
    return "/".join(folder.parts[-3:]) if of_run else name


def load_model(folder: Path, device: torch.device = CPU) -> TrainedModel:
    """Load a model folder onto a device, or raise MoodlineError."""
    described = load_description(folder)
    refuse_large_model(folder)
    recipe, tokenizer = described.recipe, None
    parts = {stage: load_part(folder, stage, recipe, described.label_set) for stage in recipe.stages}
    if TEXT_UTTERANCE in parts:
        tokenizer = Tokenizer.from_file(folder / TOKENIZER_FILE, recipe.text_utterance.maximum_tokens)
    with refusing_full_memory(device):
        network = ConversationModel(parts).eval().to(device)
    return TrainedModel(**vars(described), network=network, tokenizer=tokenizer)
