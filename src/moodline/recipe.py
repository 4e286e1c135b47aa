"""Recipe files: their bases and former keys, checks of keys and types, and keys without effect."""

import dataclasses
import difflib
import importlib.resources
import json
import logging
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodline.config import ENCODERS, STAGES, Recipe
from moodline.console import flatten_text
from moodline.errors import MoodlineError, join_lines, quote
from moodline.io import flatten_keys, read_yaml

if TYPE_CHECKING:
    import jsonargparse

# Former keys -> present ones. Recipes, command lines, runs and models with the former ones are read for one release.
RENAMED_KEYS: Mapping[str, str] = {
    "audio_utterance.front_end": "audio_utterance.frontend",
    "audio_utterance.front_end_rate": "audio_utterance.frontend_lr_scale",
    "text_utterance.bert": "text_utterance.pretrained",
    "text_utterance.trained_layers": "text_utterance.num_unfrozen_layers",
    "text_utterance.bert_rate": "text_utterance.text_encoder_lr_scale",
    "fusion.modalities": "fusion.input_modalities",
    **{f"{stage}.training.gradient_norm": f"{stage}.training.max_grad_norm" for stage in STAGES},
    **{f"{stage}.training.averaging": f"{stage}.training.ema_decay" for stage in STAGES},
}
BASE = "base"
# jsonargparse's messages about a value -> the rule that the value breaks; an empty rule is built from ``kinds``.
ERROR_PATTERNS = {
    r'key "(?P<key>[\w.]+)": Unable to load config [\'"](?P<value>.*?)[\'"]( -|$)': "a section of keys and values",
    r'key "(?P<key>[\w.]+)": Does .* Subtypes: \[(?P<kinds>.+?)\] Errors: .* Given value: (?P<value>.+)': "",
    r'key "(?P<key>[\w.]+)": .*?Expected an? (?P<kinds>.+?)\. Got value: (?P<value>.+)': "",
}
TYPE_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "tuple": "a list",
    "NoneType": "null",
}


@cache
def list_keys() -> tuple[str, ...]:
    """List every dotted key of a recipe, sections included."""
    paths = [key.split(".") for key in flatten_keys(dataclasses.asdict(Recipe()))]
    return tuple(dict.fromkeys(".".join(path[: end + 1]) for path in paths for end in range(len(path))))


def find_nearest_key(key: str) -> str:
    """Find the known key most similar to a misspelt one; its last part may be in another section."""
    keys = list_keys()
    same_last_part = (known for known in keys if known.rpartition(".")[2] == key.rpartition(".")[2])
    return next(iter(difflib.get_close_matches(key, keys, n=1, cutoff=0.6)), "") or next(same_last_part, "")


def rename_keys(content: Any, origin: str) -> dict[str, Any]:
    """Check a recipe's nested or dotted keys, and return them dotted, former ones under their present names.

    One warning names the former keys; it and errors name ``origin``, the place that the keys come from.
    """
    keys = list_keys()
    sections = {key.rpartition(".")[0] for key in keys}  # the recipe itself has the empty key
    renamed: dict[str, Any] = {}
    former: dict[str, str] = {}
    pending = [("", content)]
    while pending:
        key, value = pending.pop()
        if key in sections and isinstance(value, dict):
            pending += [(f"{key}.{name}".removeprefix("."), one) for name, one in reversed(value.items())]
            continue
        present = RENAMED_KEYS.get(key, key)
        if key in sections:
            where = f" under {key}" if key else ""
            raise MoodlineError(
                f"a recipe consists of keys and values, not {quote(value)}{where} ({origin})",
                code="recipe.not_a_mapping",
            )
        if present not in keys:
            nearest = find_nearest_key(key)
            hint = f"did you mean {nearest}?" if nearest else "moodline train --help lists the keys"
            raise MoodlineError(f"a recipe has no key {quote(key)} ({origin}); {hint}", code="recipe.unknown_key")
        if present != key:
            former[present] = key
        if present in renamed:
            raise MoodlineError(
                f"{present} is set twice, also by its former name {former[present]} ({origin}). "
                f"Remove {former[present]}.",
                code="recipe.duplicate_key",
            )
        renamed[present] = value
    if former:
        warn_of_former_keys(tuple(former.values()), origin)
    return renamed


@cache  # once per file, however often it is read
def warn_of_former_keys(former: tuple[str, ...], origin: str) -> None:
    pairs = dict.fromkeys(tuple(".".join(key.split(".")[-2:]) for key in (old, RENAMED_KEYS[old])) for old in former)
    names = ", ".join(f"{old} is now {new}" for old, new in pairs)
    logging.getLogger("moodline").warning(
        "%s: %s; the next release rejects the former names", flatten_text(origin), names
    )


def parse_recipe(content: Any, origin: str) -> Recipe:
    """Build a recipe from nested or dotted keys and values; errors name ``origin``, their file."""
    import jsonargparse

    content = rename_keys(content, origin)
    try:
        return build_config(Recipe, build_recipe_parser().parse_object(content).as_dict())
    except jsonargparse.ArgumentError as error:
        raise MoodlineError(f"{rewrite_message(join_lines(error))} ({origin})", code="recipe.bad_type") from error
    except MoodlineError as error:
        raise MoodlineError(f"{error} ({origin})", code=error.code) from error


@cache  # to build it takes as long as to parse
def build_recipe_parser() -> "jsonargparse.ArgumentParser":
    import jsonargparse

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe)
    return parser


def build_config(config: Any, values: Mapping[str, Any]) -> Any:
    """Build a dataclass from typed values, its sections first."""
    types = {item.name: item.type for item in dataclasses.fields(config)}
    return config(
        **{key: build_config(types[key], one) if isinstance(one, dict) else one for key, one in values.items()}
    )


def rewrite_message(message: str) -> str:
    """Reword jsonargparse's message about a value's type; return any other message unchanged."""
    for pattern, rule in ERROR_PATTERNS.items():
        if match := re.search(pattern, message):
            kinds = re.split(r", (?=<class|tuple\[)", match["kinds"]) if "kinds" in match.groupdict() else []
            return f"{match['key']} must be {rule or ' or '.join(map(describe_type, kinds))}, not {match['value']}"
    return message


def describe_type(kind: str) -> str:
    """Describe a type that jsonargparse names."""
    kind = kind.removeprefix("<class '").removesuffix("'>").removeprefix("typing.")
    if choices := re.fullmatch(r"Literal\[(.+)\]", kind):
        return ("one of " if "," in choices[1] else "") + choices[1].replace("'", "")
    return TYPE_NAMES.get(kind.partition("[")[0], kind)


def find_recipe(name: str, folder: Path = Path()) -> Path:
    """Find a recipe's file by its path from a folder or, for one that comes with moodline, by its name."""
    if (folder / name).is_file():
        return folder / name
    shipped = [
        Path(str(importlib.resources.files("moodline"))) / "recipes",  # installed
        Path(__file__).resolve().parents[2] / "recipes",  # a checkout
    ]
    files = {file.stem: file for one in reversed(shipped) for file in sorted(one.glob("*.yaml"))}
    stem = name.removeprefix("recipes/").removesuffix(".yaml")  # the documentation's spelling works from any folder
    if stem not in files:
        raise MoodlineError(
            f"recipe {name!r} is neither a file nor one of moodline's own: {', '.join(sorted(files))}",
            code="recipe.not_found",
        )
    return files[stem]


def read_recipe(name: str) -> tuple[dict[str, Any], Path]:
    """Read a recipe file merged over its base; return its dotted keys and values, and the file.

    Raises:
        MoodlineError: a file cannot be read or has an unknown key; a base does not exist or is its own base
    """
    content: dict[str, Any] = {}
    chain = [find_recipe(name)]
    while True:
        path = chain[-1]
        if any(path.samefile(one) for one in chain[:-1]):
            raise MoodlineError(
                f"recipe {path} is its own base ({' -> '.join(one.name for one in chain)}): remove the key {BASE} from "
                "one of these files",
                code="recipe.circular_base",
            )
        own = read_yaml(path, "recipe") or {}
        has_base = isinstance(own, dict) and BASE in own
        base = own.pop(BASE) if has_base else None
        content = rename_keys(own, str(path)) | content
        if not has_base:
            return content, chain[0]
        if not isinstance(base, str):
            raise MoodlineError(f"{BASE} must be a recipe's path or name, not {base} ({path})", code="recipe.bad_type")
        try:
            chain.append(find_recipe(base, path.parent))
        except MoodlineError as error:
            raise MoodlineError(f"{BASE}: {error} ({path})", code=error.code) from error


LEAF_CNN_KEYS = (
    *("frontend", "sample_rate", "filters", "window_ms", "stride_ms", "minimum_frequency", "maximum_frequency"),
    *("channels", "waveform_normalisation", "channel_normalisation", "mask_channels", "mask_frames", "shift_channels"),
    *("frontend_lr_scale", "padding", "padded_seconds"),
)
FINE_TUNING_KEYS = ("layers", "num_unfrozen_layers", "pretrained_lr_scale", "gradient_checkpointing")
# Choice, its only values with which these keys of its section have an effect.
REQUIRED_CHOICES: Sequence[tuple[str, tuple[Any, ...], tuple[str, ...]]] = (
    ("audio_utterance.encoder", ("leaf_cnn",), LEAF_CNN_KEYS),
    ("audio_utterance.encoder", ("pretrained",), FINE_TUNING_KEYS),
    ("audio_utterance.encoder", ("pretrained", "faster-whisper"), ("pretrained", "revision", "pooling")),
    ("audio_utterance.frontend", ("leaf",), ("frontend_lr_scale",)),
    ("audio_utterance.padding", ("released",), ("padded_seconds",)),
    ("text_utterance.pooling", ("gru",), ("hidden", "layers")),
    ("audio_context.kind", ("bigru_attention",), ("layers", "self_attention", "attention", "speaker_gru")),
    ("text_context.kind", ("bigru_attention",), ("layers", "self_attention", "attention", "speaker_gru")),
    ("audio_context.self_attention", (True,), ("attention",)),
    ("text_context.self_attention", (True,), ("attention",)),
    ("fusion.kind", ("transformer",), ("heads", "layers", "feed_forward", "dropout")),
    ("fusion.speaker_crf", (True,), ("crf_lr_scale",)),
)
# Keys without effect while no pretrained layer is trained.
IDLE_IF_FROZEN = {
    "audio_utterance": ("pretrained_lr_scale", "gradient_checkpointing"),
    "text_utterance": ("text_encoder_lr_scale", "gradient_checkpointing"),
}


def note_idle_keys(content: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """Write a sentence for each choice of a recipe that leaves some of the dotted keys of its file without effect.

    One more if the pretrained speech encoder runs in every epoch.
    """
    values = flatten_keys(dataclasses.asdict(recipe))
    idle: dict[str, str] = {}  # keys and sections -> the choice that leaves them without effect
    for stage in STAGES:
        if stage in recipe.given:
            keys = [key for key in vars(getattr(recipe, stage)) if key not in ("given", "embedding")]
            idle |= {f"{stage}.{key}": f"{stage}.given is true" for key in keys}
        elif stage not in recipe.stages:
            idle[stage] = f"modalities is {recipe.modalities}"
    for choice, required, keys in REQUIRED_CHOICES:
        stage = choice.partition(".")[0]
        if stage in recipe.stages and values[choice] not in required:
            reason = f"{choice} is {json.dumps(values[choice])}".replace('"', "")
            idle = {f"{stage}.{key}": reason for key in keys} | idle
    for stage, keys in IDLE_IF_FROZEN.items():
        if stage in recipe.stages and values[f"{stage}.num_unfrozen_layers"] == 0:
            for key in keys:
                idle.setdefault(f"{stage}.{key}", f"{stage}.num_unfrozen_layers is 0")
        if stage == "audio_utterance" and keeps_features(recipe):
            idle.setdefault(f"{stage}.speed_change", "the features of frozen encoders are computed once")
        if stage in recipe.stages and is_local(values[f"{stage}.pretrained"]):
            idle.setdefault(f"{stage}.revision", f"{stage}.pretrained is not on a hub")
    if not {*ENCODERS} & {*recipe.stages}:
        idle["selection"] = "no encoder is trained"
    if recipe.crossfit and not recipe.crossfitted_stages:
        idle["crossfit"] = "no part that is trained reads another one"
    by_reason: dict[str, list[str]] = {}
    for key, reason in idle.items():
        if any(f"{one}.".startswith(f"{key}.") for one in content):
            by_reason.setdefault(reason, []).append(key)
    notes = [f"{', '.join(keys)}: no effect, since {reason}" for reason, keys in by_reason.items()]
    audio = recipe.audio_utterance
    if "audio_utterance" in recipe.stages and audio.encoder == "pretrained" and not keeps_features(recipe):
        choice = "pooling" if audio.num_unfrozen_layers == 0 else "num_unfrozen_layers"
        value = json.dumps(getattr(audio, choice)).replace('"', "")
        notes.append(f"audio_utterance: the encoder reads all audio in every epoch, since {choice} is {value}")
    return notes


def keeps_features(recipe: Recipe) -> bool:
    """Check whether training reads features of a frozen speech encoder, computed once, and no audio."""
    audio = recipe.audio_utterance
    frozen = audio.encoder == "faster-whisper" or (audio.encoder == "pretrained" and audio.num_unfrozen_layers == 0)
    return "audio_utterance" in recipe.stages and frozen and audio.pooling != "attentive"


def is_local(name: str) -> bool:
    """Check whether a pretrained encoder is in a wheel or a folder."""
    return name.startswith("wheel:") or Path(name).is_dir()
