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
from moodline.errors import MoodlineError, get_first_line, quote
from moodline.hub import find_hub_name
from moodline.io import (
    open_atomic_file,
    open_replacement_folder,
    read_json,
    report_write_errors,
    write_json,
    write_text,
)
from moodline.modeling.audio_assets import BACKBONE_FILES, build_empty_backbone, load_audio_backbone, save_backbone
from moodline.modeling.audio_backbone import FASTER_WHISPER
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
from moodline.modeling.pretrained import build_empty, describe_config, load_checkpoint
from moodline.modeling.pretrained_audio import PretrainedAudio
from moodline.modeling.pretrained_files import WHEELS, locate_checkpoint, refuse_other_weights, resolve_model
from moodline.modeling.text_encoder import TextEncoder, Tokenizer
from moodline.starter import find_starter_name

TEXT_FOLDER = "bert"  # of any family; models of all versions have this name
TEXT_CONFIG_FILE = f"{TEXT_FOLDER}/config.json"
TOKENIZER_FILE = f"{TEXT_FOLDER}/tokenizer.json"
AUDIO_FOLDER = "audio"  # of a pretrained encoder of speech
# The folders of pretrained encoders, by stage.
ASSET_FOLDERS = {AUDIO_UTTERANCE: AUDIO_FOLDER, TEXT_UTTERANCE: TEXT_FOLDER}
# Of the names of a pretrained encoder's weights among a part's.
BACKBONE_PREFIXES = {AUDIO_UTTERANCE: "backbone.", TEXT_UTTERANCE: "bert."}
REFERENCE_FILE = "reference.json"


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


def save_part(folder: Path, stage: str, part: Any, tokenizer: Tokenizer | None, wheel: str | None = None) -> None:
    """Write a trained part, with all that describes its pretrained encoder: loading needs neither hub nor wheel.

    Files of an encoder that the folder had before are removed.

    Args:
        wheel: name of the one that the frozen encoder comes from; it is then not copied, and loading needs that wheel
    """
    save_stage(folder, stage, part, without=BACKBONE_PREFIXES[stage] if wheel else None)
    if isinstance(part, TextEncoder):
        assert tokenizer is not None, "a model of words is loaded with its tokenizer"
        save_text_assets(folder, part.bert, tokenizer)
    elif isinstance(part, PretrainedAudio) and wheel is None:
        save_audio_assets(folder, part)
    elif stage in ASSET_FOLDERS:
        shutil.rmtree(folder / ASSET_FOLDERS[stage], ignore_errors=True)
    if wheel is not None:
        write_json(folder / get_reference(stage), {"wheel": wheel, "sha256": WHEELS[wheel].sha256})


def save_stage(folder: Path, stage: str, part: nn.Module, without: str | None = None) -> None:
    """Write one trained part's weights; those with a name that begins with ``without`` are left out."""
    from safetensors.torch import save

    kept = {name: one for name, one in part.state_dict().items() if without is None or not name.startswith(without)}
    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()})
    with open_atomic_file(folder / f"{stage}.safetensors") as temporary:
        temporary.write_bytes(weights)


def load_part(folder: Path, stage: str, recipe: Recipe, label_set: LabelSet) -> nn.Module:
    """Load one trained part of a model folder, or raise MoodlineError; the folder need not be complete.

    A description that asks for more than the weights hold is refused before memory is taken for it.
    """
    from safetensors.torch import load_file

    weights, encoder = folder / f"{stage}.safetensors", recipe.audio_utterance.encoder
    wheel = read_reference(folder, stage)
    for path in (*(folder / name for name in list_assets(stage, encoder, wheel)), weights):
        if not path.is_file():
            raise MoodlineError(
                f"model {folder} lacks {path.relative_to(folder)}. Copy the whole folder, or train it again.",
                code="model.missing_file",
            )

    def build() -> nn.Module:
        backbone = None
        if wheel is not None:
            backbone = load_wheel(wheel, stage)
        elif stage == TEXT_UTTERANCE:
            backbone = build_empty(folder / TEXT_CONFIG_FILE, weights, prefix=BACKBONE_PREFIXES[stage])
        elif stage == AUDIO_UTTERANCE and encoder != "leaf_cnn":
            backbone = build_empty_backbone(folder / AUDIO_FOLDER, weights, encoder)
        return build_stage(stage, recipe, len(label_set.classes), backbone)

    try:
        if wheel is None:
            check_sizes(build, asdict(getattr(recipe, stage)), weights)
        part = build()
        found = load_file(weights)
        if wheel is not None:  # its own weights are there
            own = part.state_dict()
            found |= {name: own[name] for name in own if name.startswith(BACKBONE_PREFIXES[stage])}
        part.load_state_dict(found)
    except MoodlineError:
        raise
    except Exception as error:  # PyTorch and safetensors raise various errors, by the faulty value
        reason = get_first_line(error)
        raise MoodlineError(
            f"{weights} does not match its config.json ({reason}). Copy the model folder again.",
            code="model.mismatched_weights",
        ) from error
    return part.eval()


def get_reference(stage: str) -> str:
    """Name the file that refers to a wheel instead of a pretrained encoder's own files."""
    return f"{ASSET_FOLDERS[stage]}/{REFERENCE_FILE}"


def read_reference(folder: Path, stage: str) -> str | None:
    """Read the name of the wheel that a model refers to for a part's encoder; None if it has a copy.

    Raises:
        MoodlineError: the wheel is unknown to this version of moodline, or the model was trained with other weights
    """
    if stage not in ASSET_FOLDERS or not (path := folder / get_reference(stage)).is_file():
        return None
    content = read_json(path, "model folder")
    content = content if isinstance(content, dict) else {}
    name, known = content.get("wheel"), WHEELS.get(str(content.get("wheel")))
    if known is None or content.get("sha256") != known.sha256:
        raise MoodlineError(
            f"{path} refers to the encoder {quote(name)}, SHA-256 {quote(content.get('sha256'))}, which this version "
            "of moodline does not know. Install the version that the model is for.",
            code="model.unknown_wheel",
        )
    return name


def load_wheel(name: str, stage: str) -> Any:
    """Load a wheel's encoder of a stage, or raise MoodlineError if it is missing or has other weights."""
    key = f"the model's {stage}"
    if stage == AUDIO_UTTERANCE:
        return load_audio_backbone(FASTER_WHISPER, name, key=key)  # checks the weights itself
    refuse_other_weights(Path(resolve_model(name, key)), name)
    return load_checkpoint(locate_checkpoint(name, key), "text")


def find_wheel(stage: str, part: Any, recipe: Recipe) -> str | None:
    """Find the wheel that a part's frozen encoder comes from; None for a trained one, and for other origins."""
    if stage not in ASSET_FOLDERS or not getattr(part, "is_frozen", False):
        return None
    name = getattr(recipe, stage).pretrained
    return name if name in WHEELS else None


def list_assets(stage: str, audio_encoder: str, wheel: str | None) -> tuple[str, ...]:
    """List the files beside its weights that a part is loaded from."""
    if stage == TEXT_UTTERANCE:
        return TEXT_CONFIG_FILE, TOKENIZER_FILE
    if wheel is not None:
        return (get_reference(stage),)
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
    threshold: float | None = None,
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
        "threshold": threshold,
    }
    write_json(folder / CONFIG_FILE, content)


def save_model(folder: Path, model: TrainedModel, name: str | None = None, *, copy_encoders: bool = True) -> None:
    """Write a model folder, which loads as ``model``; the card names it ``name``. Other files in it stay.

    Args:
        copy_encoders: if false, frozen encoders that come from wheels are referred to by name and hash
    """
    with report_write_errors(folder):
        (folder / CONFIG_FILE).unlink(missing_ok=True)  # until all files are the new model's
    for stage, part in model.network.parts.items():
        wheel = None if copy_encoders else find_wheel(stage, part, model.recipe)
        save_part(folder, stage, part, model.tokenizer, wheel)
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

    Its name and commit on the hub, or the starter's name and version; else its relative path below the working folder,
    or its run, fold and folder name.
    """
    if on_hub := find_hub_name(folder):
        return on_hub
    if starter := find_starter_name(folder):
        return starter
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
