"""Load pretrained encoders of ``transformers``: from a hub, a folder or a wheel."""

import inspect
import json
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from moodline.errors import MoodlineError, get_first_line
from moodline.modeling.bounds import build_sketch
from moodline.modeling.pretrained_files import Checkpoint, locate_checkpoint, refuse_too_large

Kind = Literal["text", "audio"]
ATTENTIONS = (None, "eager", "sdpa")  # of transformers itself; it looks for others on a hub
AUDIO_TYPES = frozenset(
    {"wav2vec2", "hubert", "wavlm", "data2vec-audio", "sew", "sew-d", "unispeech", "unispeech-sat"}
    | {"wav2vec2-conformer", "wav2vec2-bert", "whisper"}
)
# Encoders trained by masked language modelling whose results for a sequence depend on its batch's padding, and those
# that read more than words.
PADDING_DEPENDENT = frozenset(
    {"big_bird", "convbert", "fnet", "funnel", "mra", "nystromformer", "perceiver", "reformer", "yoso"}
)
READ_MORE = frozenset({"layoutlm", "modernvbert", "tapas", "ultravbert"})
# Parameters that checkpoints may lack: no encoder here reads a pooler, and only training masks time steps.
OPTIONAL_PARAMETERS = ("pooler.", "masked_spec_embed")


def load_pretrained(name: str, *, key: str, revision: str | None = None, kind: Kind = "text") -> Any:
    """Load a pretrained encoder, an ``nn.Module`` in eval mode and single precision, from safetensors alone.

    Args:
        name: a hub's name, a folder, or what ``resolve_model`` knows
        key: of the recipe, which errors name
        revision: of the hub: a branch, a tag or a commit
        kind: of input; Whisper's encoder is loaded without its decoder

    Raises:
        MoodlineError: the model is no encoder of this kind, its weights are missing, incomplete, not finite or larger
            than this machine's memory, the revision does not exist, or the hub is out of reach and has nothing cached
    """
    return load_checkpoint(locate_checkpoint(name, key, revision), kind)


def load_checkpoint(checkpoint: Checkpoint, kind: Kind) -> Any:
    """Load the encoder of a checkpoint; see ``load_pretrained``."""
    from transformers import AutoConfig

    with checkpoint.loading():
        config = AutoConfig.from_pretrained(**checkpoint.options)
        if fault := find_fault(config, kind):
            raise checkpoint.build_error(fault, code="model.unfit_encoder")
        refuse_too_large(checkpoint, config)
        model_class = find_class(config)
        loaded: Any = model_class.from_pretrained(
            **checkpoint.options,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **select_options(model_class),
        )
    model, report = loaded
    # transformers accepts missing weights, which stay random.
    if missing := [name for name in report["missing_keys"] if not name.startswith(OPTIONAL_PARAMETERS)]:
        raise checkpoint.build_error(f"its weights lack {min(missing)}")
    encoder = take_encoder(model).eval()
    if broken := next((name for name, one in encoder.named_parameters() if not one.isfinite().all()), None):
        raise checkpoint.build_error(f"its weights contain NaN or infinity, in {broken}", code="model.not_finite")
    return encoder


def find_class(config: Any) -> Any:
    """Find the class of ``transformers`` without a head."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    return MODEL_MAPPING[type(config)]


def select_options(model_class: Any) -> dict[str, Any]:
    """Leave a pooler out where the class can."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(model_class).parameters else {}


def take_encoder(model: Any) -> Any:
    return model.get_encoder() if model.config.is_encoder_decoder else model


def find_fault(config: Any, kind: Kind) -> str:
    """Say why a model is no encoder of a kind; empty if it is one."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    name, is_audio = config.model_type, config.model_type in AUDIO_TYPES
    if kind == "audio":
        return "" if is_audio else f"it is a {name} model, and speech needs one of {', '.join(sorted(AUDIO_TYPES))}"
    if name in PADDING_DEPENDENT:
        return f"the results of {name} models depend on the other utterances of a batch"
    decodes = config.is_encoder_decoder or getattr(config, "is_decoder", False)
    if name not in MODEL_FOR_MASKED_LM_MAPPING_NAMES or name in READ_MORE or decodes:
        return f"it is a {name} model, and words need an encoder such as bert, roberta, deberta-v2 or modernbert"
    return ""


def build_empty(config_file: Path, weights_file: Path, *, prefix: str, kind: Kind = "text") -> Any:
    """Build an encoder from a saved config.json, to be filled with weights, or raise MoodlineError.

    The weights' shapes are compared before any is allocated, so that no description asks for more memory than its
    weights have.

    Args:
        weights_file: safetensors
        prefix: of the encoder's weights in that file
    """
    from transformers import CONFIG_MAPPING

    try:
        content = json.loads(config_file.read_text(encoding="utf-8"))
        config = CONFIG_MAPPING[content["model_type"]].from_dict(dict(content))
        if fault := find_fault(config, kind):
            raise ValueError(fault)
        # Not all versions of transformers read the key from a description, and some overwrite it there.
        for named in (content.get("attn_implementation"), config._attn_implementation):
            if named not in ATTENTIONS:
                raise ValueError(f"attn_implementation {named!r} would load code from a hub")
        sketch, shapes = build_sketch(partial(build_encoder, config), weights_file)
        for name, tensor in sketch.state_dict().items():
            found = shapes[f"{prefix}{name}"].shape if f"{prefix}{name}" in shapes else None
            if found != tensor.shape:
                raise ValueError(f"{name} is {found} in {weights_file.name}, not {tensor.shape}")
        return build_encoder(config)
    except Exception as error:  # transformers raises various errors, by the faulty value
        raise MoodlineError(
            f"{config_file} does not describe the encoder of its weights: {get_first_line(error).removesuffix('.')}. "
            "Copy the model again.",
            code="model.invalid_encoder",
        ) from error


def describe_config(backbone: Any) -> dict[str, Any]:
    """Return an encoder's whole configuration, without the name under which it was loaded: a path of this machine."""
    content = json.loads(backbone.config.to_json_string(use_diff=False))
    content.pop("_name_or_path", None)
    return content


def build_encoder(config: Any) -> Any:
    """Build an encoder with random weights."""
    if config.model_type == "whisper":
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return WhisperEncoder(config).float()
    model_class = find_class(config)
    return model_class(config, **select_options(model_class)).float()


def get_layers(backbone: Any, stage: str) -> nn.ModuleList:
    """Return a transformer's layers, whatever its family calls them, or raise MoodlineError.

    Args:
        stage: of the recipe, which errors name
    """
    count = backbone.config.num_hidden_layers
    for name, module in backbone.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count and "conv" not in name:
            return module
    raise MoodlineError(
        f"the layers of {backbone.config.model_type} models share their weights, and cannot be trained separately. "
        f"Set {stage}.num_unfrozen_layers to 0 or null.",
        code="model.shared_layers",
    )


def freeze(backbone: Any, num_unfrozen_layers: int | None, stage: str) -> None:
    """Train only a transformer's last layers; None trains all its parameters. Errors name the recipe's ``stage``."""
    if num_unfrozen_layers is None:
        return
    count = backbone.config.num_hidden_layers
    if num_unfrozen_layers > count:
        raise MoodlineError(
            f"{stage}.num_unfrozen_layers must be at most the pretrained encoder's {count} layers, not "
            f"{num_unfrozen_layers}. Use null to train all layers and the embeddings below them.",
            code="recipe.too_many_layers",
        )
    backbone.requires_grad_(False)
    if num_unfrozen_layers:
        get_layers(backbone, stage)[count - num_unfrozen_layers :].requires_grad_(True)


def is_frozen(backbone: Any) -> bool:
    """Check whether no parameter is trained."""
    return not any(parameter.requires_grad for parameter in backbone.parameters())


def enable_checkpointing(backbone: Any, stage: str) -> None:
    """Recompute a pretrained encoder's layers in the backward pass, or raise MoodlineError, which names the stage."""
    if not backbone.supports_gradient_checkpointing:
        raise MoodlineError(
            f"{backbone.config.model_type} models cannot recompute their layers. Set {stage}.gradient_checkpointing "
            "to false.",
            code="recipe.no_checkpointing",
        )
    # Older versions of transformers have the second name alone.
    enable = getattr(backbone, "activation_checkpointing_enable", None) or backbone.gradient_checkpointing_enable
    enable({"use_reentrant": False})
