"""A timeline as JSON, and back. docs/timeline.md describes the schema."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from moodline.errors import MoodlineError
from moodline.timeline.timeline import (
    Content,
    Gap,
    Influence,
    ModelFacts,
    Reasons,
    TimelineContent,
    TimelineTurn,
    round_to_milliseconds,
)

SCHEMA = 1
Value = TypeVar("Value")


def to_json(timeline: TimelineContent) -> str:
    """Times in milliseconds, other numbers as they are: what is read back is equal but for that."""
    content = {"schema": SCHEMA, **_to_plain(round_to_milliseconds(timeline))}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _to_plain(timeline: TimelineContent) -> dict[str, Any]:
    # asdict copies mappings by their own type, which need not be one that JSON knows.
    turns = [{**_to_shallow(turn), "probabilities": dict(turn.probabilities)} for turn in timeline.turns]
    return _to_shallow(timeline) | {
        "model": asdict(timeline.model),
        "gaps": [asdict(gap) for gap in timeline.gaps],
        "turns": [turn | {"reasons": turn["reasons"] and asdict(turn["reasons"])} for turn in turns],
    }


def _to_shallow(one: TimelineContent | TimelineTurn) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def from_json(text: str, kind: type[Content]) -> Content:
    """Read a timeline of a kind from a text.

    Raises:
        MoodlineError: it is no JSON, no timeline, or one of a newer schema
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MoodlineError(f"a timeline is JSON, and this is not: {error}; write it again") from error
    read = JsonReader(content, "timeline")
    if (schema := read.get_integer("schema")) > SCHEMA:
        raise MoodlineError(
            f"the timeline has schema {schema}, and this moodline reads up to {SCHEMA}: install a newer moodline"
        )
    return kind(
        recording=read.text("recording"),
        duration=read.get_optional("duration", read.number),
        turns=tuple(_parse_turn(one) for one in read.get_objects("turns")),
        classes=read.get_texts("classes"),
        model=_parse_model(read.get_object("model")),
        turns_from=read.text("turns_from"),
        words_from=read.get_optional("words_from", read.text),
        modalities=read.get_texts("modalities"),
        threshold=read.get_optional("threshold", read.number),
        warnings=read.get_texts("warnings"),
        gaps=tuple(
            Gap(start=one.number("start"), end=one.number("end"), reason=one.text("reason"))
            for one in read.get_objects("gaps")
        ),
    )


def _parse_model(read: "JsonReader") -> ModelFacts:
    return ModelFacts(
        name=read.text("name"),
        trained_on=read.text("trained_on"),
        licence=read.text("licence"),
        notes=read.get_texts("notes"),
    )


def _parse_turn(read: "JsonReader") -> TimelineTurn:
    probabilities = read.get_object("probabilities")
    return TimelineTurn(
        start=read.get_optional("start", read.number),
        end=read.get_optional("end", read.number),
        speaker=read.text("speaker"),
        words=read.get_optional("words", read.text),
        label=read.text("label"),
        probabilities={name: probabilities.number(name) for name in probabilities.content},
        channel=read.get_optional("channel", read.get_integer),
        reasons=read.get_optional("reasons", lambda name: _parse_reasons(read.get_object(name))),
    )


def _parse_reasons(read: "JsonReader") -> Reasons:
    return Reasons(
        context=tuple(
            Influence(turn=one.get_integer("turn"), weight=one.number("weight")) for one in read.get_objects("context")
        ),
        speech=read.get_optional("speech", read.number),
        words=read.get_optional("words", read.number),
    )


class JsonReader:
    """Values of a JSON object by their keys, each of its kind; ``place`` says where in the text they are."""

    def __init__(self, content: Any, place: str) -> None:
        if not isinstance(content, Mapping):
            raise MoodlineError(f"a timeline's {place} is an object, not {content!r:.80}; write it again")
        self.content, self.place = content, place

    def get_object(self, name: str) -> "JsonReader":
        return JsonReader(self._get(name, Mapping, "an object"), f"{self.place}.{name}")

    def get_objects(self, name: str) -> "list[JsonReader]":
        found = self._get(name, list, "a list")
        return [JsonReader(one, f"{self.place}.{name}[{position}]") for position, one in enumerate(found)]

    def text(self, name: str) -> str:
        return self._get(name, str, "a text")

    def get_texts(self, name: str) -> tuple[str, ...]:
        found: Sequence[Any] = self._get(name, list, "a list of texts")
        if not all(isinstance(one, str) for one in found):
            raise self._build_error(name, "a list of texts")
        return tuple(found)

    def number(self, name: str) -> float:
        return float(self._get(name, (int, float), "a number"))

    def get_integer(self, name: str) -> int:
        return self._get(name, int, "a whole number")

    def get_optional(self, name: str, read: Callable[[str], Value]) -> Value | None:
        return None if name in self.content and self.content[name] is None else read(name)

    def _get(self, name: str, kind: type | tuple[type, ...], what: str) -> Any:
        value = self.content.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self._build_error(name, what)
        return value

    def _build_error(self, name: str, what: str) -> MoodlineError:
        value = f"{self.content[name]!r:.80}" if name in self.content else "missing"
        return MoodlineError(f"a timeline's {self.place}.{name} is {what}, and it is {value}; write it again")
