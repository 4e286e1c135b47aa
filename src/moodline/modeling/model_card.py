"""The model card: a page for people, with a YAML header for model hubs."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from moodline.config import AUDIO_UTTERANCE, STAGE_NAMES, TEXT_UTTERANCE, Recipe
from moodline.conversation import LabelSet
from moodline.hub import HUB_NAME
from moodline.modeling.description import Provenance

# The identifiers of licences that hubs know, of those that models and corpora have; another one is "other".
HUB_LICENCES = frozenset(
    {"apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-2.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0"}
    | {"cc0-1.0", "unlicense", "openrail", "cc-by-3.0", "cc-by-sa-3.0"}
    | {f"cc-by{terms}-4.0" for terms in ("", "-sa", "-nc", "-nd", "-nc-sa", "-nc-nd")}
)
PUBLIC_CORPORA = ("iemocap", "meld", "ravdess")
WHEEL_ORIGINS = {
    "wheel:all-minilm-l6-v2": "sentence-transformers/all-MiniLM-L6-v2",
    "wheel:tiny.en": "openai/whisper-tiny.en",
}
# Hub names without an owner, and where the hub keeps them.
FORMER_HUB_NAMES = {
    **{
        f"bert-{size}-{case}": f"google-bert/bert-{size}-{case}"
        for size in ("base", "large")
        for case in ("cased", "uncased")
    },
    **{
        name: f"FacebookAI/{name}"
        for name in ("roberta-base", "roberta-large", "xlm-roberta-base", "xlm-roberta-large")
    },
    "distilbert-base-uncased": "distilbert/distilbert-base-uncased",
}


def format_card(
    recipe: Recipe,
    label_set: LabelSet,
    provenance: Provenance,
    temperatures: Mapping[str, float],
    name: str | None = None,
) -> str:
    """Format a model's card; its example loads ``name``, such as org/name."""
    from moodline.pages import build_environment

    environment = build_environment("moodline.modeling").overlay(autoescape=False)
    card = environment.get_template("model_card.md.jinja").render(
        header=yaml.safe_dump(build_header(recipe, provenance), sort_keys=False, allow_unicode=True),
        name=name or "this folder",
        recipe=recipe,
        labels=label_set,
        mapping=", ".join(f"{found} -> {emotion}" for found, emotion in label_set.mapping.items()),
        made=provenance,
        temperatures=", ".join(f"{STAGE_NAMES[stage]} {value:.3g}" for stage, value in temperatures.items()),
    )
    return card + "\n"


def build_header(recipe: Recipe, provenance: Provenance) -> dict[str, Any]:
    """Collect the header's keys, as ``huggingface_hub.ModelCardData`` has them; unknown ones are left out."""
    speech, words = recipe.modalities != "text", recipe.modalities != "audio"
    tags = ["emotion-recognition", "emotion-recognition-in-conversation"]
    header: dict[str, Any] = {
        **describe_licence(provenance.licence),
        "library_name": "moodline",
        "pipeline_tag": "audio-classification" if speech else "text-classification",
        "tags": [*tags, *(["speech"] if speech else []), *(["text"] if words else [])],
        "metrics": ["accuracy", "recall"],  # weighted accuracy, and unweighted: the mean of the classes' recalls
        "datasets": [one for one in PUBLIC_CORPORA if one == provenance.corpus_reader],
        "base_model": find_base_models(recipe),
    }
    return {key: value for key, value in header.items() if value != []}


def describe_licence(licence: str) -> dict[str, str]:
    """Name a licence as hubs do: one of their identifiers, or other with a name, or unknown where it is not stated."""
    name = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-")
    if name in HUB_LICENCES:
        return {"license": name}
    if not licence:
        return {"license": "unknown"}
    return {"license": "other", "license_name": name} if name else {"license": "other"}


def find_base_models(recipe: Recipe) -> list[str]:
    """List the hub's names of the pretrained encoders; those from folders and files have none."""
    audio, text = recipe.audio_utterance, recipe.text_utterance
    names = [audio.pretrained] if AUDIO_UTTERANCE in recipe.stages and audio.encoder != "leaf_cnn" else []
    names += [text.pretrained] if TEXT_UTTERANCE in recipe.stages else []
    found = (WHEEL_ORIGINS.get(name) or FORMER_HUB_NAMES.get(name, name) for name in names)
    return [name for name in found if HUB_NAME.fullmatch(name) and not Path(name).exists()]
