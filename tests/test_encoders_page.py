"""docs/encoders.md: its commands and keys exist, its settings are valid, and its tables have the recipes' encoders."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from moodline.cli.main import build_parser
from moodline.cli.options import accept_dashes
from moodline.cli.train import resolve_recipe
from moodline.errors import MoodlineError
from moodline.modeling.audio_backbone import READERS
from moodline.modeling.pretrained import AUDIO_TYPES
from moodline.recipe import list_keys, parse_recipe, read_recipe
from tests.test_docs import ROOT, commands

PAGE = ROOT / "docs" / "encoders.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = ("audio_utterance", "text_utterance")
SETTINGS = sorted(set(re.findall(r"`((?:\w+\.)?\w+: [^`]+)`", TEXT)))
DOTTED = sorted(set(re.findall(rf"`((?:{'|'.join(SECTIONS)}|training)\.\w+)", TEXT)))
ROW = re.compile(r"^\| `(?P<name>[^`]+)`.*$", re.MULTILINE)


@pytest.mark.parametrize("command", commands(PAGE), ids=" ".join)
def test_every_command_trains_a_valid_recipe_or_is_another_command(command: list[str]) -> None:
    options = build_parser().parse_args(accept_dashes(command), defaults=False)
    if command[0] == "train":
        resolve_recipe(options["train"]["recipe"], options["train"])


@pytest.mark.parametrize("key", DOTTED)
def test_every_dotted_key_is_one(key: str) -> None:
    assert any(known.endswith(key) for known in list_keys())


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_is_valid_in_a_section(setting: str) -> None:
    ((key, value),) = yaml.safe_load(setting).items()
    section, _, name = key.rpartition(".")
    assert any(is_valid(one, name, value) for one in ((section,) if section else SECTIONS))


def is_valid(section: str, name: str, value: Any) -> bool:
    try:
        parse_recipe({section: {name: value}}, "page")
    except MoodlineError:
        return False
    return True


def test_the_page_names_settings_and_keys() -> None:
    assert {"pooling: attentive", "encoder: faster-whisper", "num_unfrozen_layers: 0"} <= set(SETTINGS)
    assert {f"{section}.pooling" for section in SECTIONS} <= set(DOTTED)
    assert not is_valid("text_utterance", "pooling", "attentive")


@pytest.mark.parametrize("name", ["wavlm-roberta", "whisper-modernbert"])
@pytest.mark.parametrize("section", SECTIONS)
def test_a_recipes_encoder_is_in_a_table_with_its_revision(name: str, section: str) -> None:
    config = getattr(parse_recipe(read_recipe(name)[0], name), section)
    (row,) = (found[0] for found in ROW.finditer(TEXT) if found["name"] == config.pretrained)
    revisions = re.findall(r"`(refs/pr/\d+)`", row)
    assert revisions == ([config.revision] if config.revision else [])


def test_the_page_names_every_family_of_speech() -> None:
    """Without regard to hyphens, digits and blanks, as in "wav2vec 2.0"."""
    named = re.sub(r"[^a-z0-9]", "", TEXT.lower())
    assert [one for one in sorted(AUDIO_TYPES) if one.replace("-", "") not in named] == []
    assert set(READERS) <= AUDIO_TYPES | {"faster-whisper"}


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:modeling|tests)/[\w/]+\.py)`", TEXT))))
def test_the_steps_name_files(path: str) -> None:
    assert (ROOT / path).is_file() or (ROOT / "src" / "moodline" / Path(path)).is_file()


@pytest.mark.parametrize(
    "name", ["AUDIO_TYPES", "WaveformReader", "AudioReader", "READERS", "MASKED_FAMILIES", "GroupNormConvolutions"]
)
def test_the_steps_name_what_the_source_has(name: str) -> None:
    assert f"`{name}`" in TEXT
    source = [path.read_text(encoding="utf-8") for path in (ROOT / "src" / "moodline" / "modeling").glob("*.py")]
    assert any(re.search(rf"^(?:class )?{name}\b", one, re.MULTILINE) for one in source)
