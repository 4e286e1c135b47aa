"""Recipes on disk: YAML to the configuration's dataclasses, with errors that name the key."""

import dataclasses
import difflib
import importlib.resources
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from moodline.config import Recipe
from moodline.errors import MoodlineError, one_line
from moodline.yaml_file import read_yaml

# jsonargparse's complaints of a value -> the rule that it breaks; where that is empty, it names the kinds of value.
COMPLAINTS = {
    r'key "(?P<key>[\w.]+)": Unable to load config [\'"](?P<value>.*?)[\'"]( -|$)': "a section of keys and values",
    r'key "(?P<key>[\w.]+)": Does .* Subtypes: \[(?P<kinds>.+?)\] Errors: .* Given value: (?P<value>.+)': "",
    r'key "(?P<key>[\w.]+)": .*?Expected an? (?P<kinds>.+?)\. Got value: (?P<value>.+)': "",
}
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "tuple": "a list",
    "NoneType": "null",
}


def known_keys(config: type = Recipe, prefix: str = "") -> list[str]:
    """Every dotted key of a recipe, sections included."""
    keys: list[str] = []
    for field in dataclasses.fields(config):
        keys.append(prefix + field.name)
        if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            keys += known_keys(field.type, f"{prefix}{field.name}.")
    return keys


def nearest(key: str, keys: list[str]) -> str:
    """The known key most like a misspelt one: by its own name within other sections too."""
    close = difflib.get_close_matches(key, keys, n=1, cutoff=0.6)
    if close:
        return close[0]
    last = key.rsplit(".", 1)[-1]
    return next((known for known in keys if known.rsplit(".", 1)[-1] == last), "")


def check_keys(content: Any, origin: str, prefix: str = "") -> None:
    """Refuse the first key that no recipe has, naming the nearest that it could have meant."""
    keys = known_keys()
    if not isinstance(content, Mapping):
        where = f" under {prefix[:-1]}" if prefix else ""
        raise MoodlineError(f"a recipe is made of keys and values, not {content!r}{where} ({origin})")
    for name, value in content.items():
        key = f"{prefix}{name}"
        if key not in keys:
            raise MoodlineError(unknown_key(key, origin))
        if any(known.startswith(f"{key}.") for known in keys):
            check_keys(value, origin, f"{key}.")


def unknown_key(key: str, origin: str) -> str:
    guess = nearest(key, known_keys())
    hint = f"did you mean {guess}?" if guess else "moodline train --help lists the keys"
    return f"a recipe has no key {key!r} ({origin}); {hint}"


def recipe_from(content: Any, origin: str) -> Recipe:
    """A recipe from nested keys and values; ``origin`` names their file in errors."""
    import jsonargparse

    check_keys(content, origin)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe)
    try:
        values = parser.parse_object(dict(content)).as_dict()
    except jsonargparse.ArgumentError as error:
        raise MoodlineError(f"{told(one_line(error))} ({origin})") from error
    return built(Recipe, values, origin)


def told(message: str) -> str:
    """jsonargparse's complaint of a value's type, in words for a person; any other message as it is."""
    for complaint, rule in COMPLAINTS.items():
        if match := re.search(complaint, message):
            kinds = re.split(r", (?=<class)", match["kinds"]) if "kinds" in match.groupdict() else []
            return f"{match['key']} must be {rule or ' or '.join(map(kind_of_value, kinds))}, not {match['value']}"
    return message


def kind_of_value(kind: str) -> str:
    """A type as jsonargparse writes it, as people say it."""
    kind = kind.removeprefix("<class '").removesuffix("'>").removeprefix("typing.")
    if choices := re.fullmatch(r"Literal\[(.+)\]", kind):
        return "one of " + choices[1].replace("'", "")
    return KINDS.get(kind, kind)


def built(config: Any, values: Mapping[str, Any], origin: str, prefix: str = "") -> Any:
    """A dataclass from typed values, its sections first: a refused value is told with the section it is in."""
    content: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        key, value = f"{prefix}{field.name}", values[field.name]
        if isinstance(value, Mapping):
            value = built(field.type, value, origin, f"{key}.")
        elif value is None and type(None) not in get_args(field.type):
            raise MoodlineError(f"{key} must have a value, not null; give it one or leave it out ({origin})")
        content[field.name] = value
    try:
        return config(**content)
    except MoodlineError as error:
        raise MoodlineError(f"{prefix}{error} ({origin})") from error


def find_recipe(name: str) -> Path:
    """The file that ``--recipe`` names: a path, or the name of a recipe that comes with moodline."""
    path = Path(name)
    if path.is_file():
        return path
    folders = [
        Path(str(importlib.resources.files("moodline"))) / "recipes",  # installed
        Path(__file__).resolve().parents[2] / "recipes",  # a checkout
    ]
    for folder in folders:
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    names = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    raise MoodlineError(f"recipe {name!r} is neither a file nor one of moodline's own: {', '.join(names)}")


def read_recipe(name: str) -> tuple[dict[str, Any], Path]:
    """A recipe file's keys and values, checked for keys that do not exist, and the file."""
    path = find_recipe(name)
    content = read_yaml(path, "recipe") or {}
    check_keys(content, str(path))
    return content, path
