"""A timeline as JSON, and back. docs/timeline.md describes the schema."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from moodline.errors import MoodlineError
from moodline.inference.reasons import Influence, Reasons
from moodline.inference.timeline.timeline import Gap, ModelFacts, Timeline, TimelineTurn
from moodline.inference.timeline.times import in_milliseconds

SCHEMA = 1
Value = TypeVar("Value")


def to_json(timeline: Timeline) -> str:
    """Times in milliseconds, other numbers as they are: what is read back is equal but for that."""
    content = {"schema": SCHEMA, **_plain(in_milliseconds(timeline))}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(timeline: Timeline) -> dict[str, Any]:
    # asdict copies mappings by their own type, which need not be one that JSON knows.
    turns = [{**_shallow(turn), "probabilities": dict(turn.probabilities)} for turn in timeline.turns]
    return _shallow(timeline) | {
        "model": asdict(timeline.model),
        "gaps": [asdict(gap) for gap in timeline.gaps],
        "turns": [turn | {"reasons": turn["reasons"] and asdict(turn["reasons"])} for turn in turns],
    }


def _shallow(one: Timeline | TimelineTurn) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def from_json(text: str) -> Timeline:
    """The timeline of a text.

    Raises:
        MoodlineError: it is no JSON, no timeline, or one of a newer schema
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MoodlineError(f"a timeline is JSON, and this is not: {error}; write it again") from error
    read = Reader(content, "timeline")
    if (schema := read.whole("schema")) > SCHEMA:
        raise MoodlineError(
            f"the timeline has schema {schema}, and this moodline reads up to {SCHEMA}: install a newer moodline"
        )
    return Timeline(
        recording=read.text("recording"),
        duration=read.optional("duration", read.number),
        turns=tuple(_turn(one) for one in read.each("turns")),
        classes=read.texts("classes"),
        model=_model(read.below("model")),
        turns_from=read.text("turns_from"),
        words_from=read.optional("words_from", read.text),
        modalities=read.texts("modalities"),
        threshold=read.optional("threshold", read.number),
        warnings=read.texts("warnings"),
        gaps=tuple(
            Gap(start=one.number("start"), end=one.number("end"), reason=one.text("reason"))
            for one in read.each("gaps")
        ),
    )


def _model(read: "Reader") -> ModelFacts:
    return ModelFacts(
        name=read.text("name"),
        trained_on=read.text("trained_on"),
        licence=read.text("licence"),
        notes=read.texts("notes"),
    )


def _turn(read: "Reader") -> TimelineTurn:
    probabilities = read.below("probabilities")
    return TimelineTurn(
        start=read.optional("start", read.number),
        end=read.optional("end", read.number),
        speaker=read.text("speaker"),
        words=read.optional("words", read.text),
        label=read.text("label"),
        probabilities={name: probabilities.number(name) for name in probabilities.content},
        channel=read.optional("channel", read.whole),
        reasons=read.optional("reasons", lambda name: _reasons(read.below(name))),
    )


def _reasons(read: "Reader") -> Reasons:
    return Reasons(
        context=tuple(Influence(turn=one.whole("turn"), weight=one.number("weight")) for one in read.each("context")),
        speech=read.optional("speech", read.number),
        words=read.optional("words", read.number),
    )


class Reader:
    """Values of a JSON object by their keys, each of its kind; ``place`` says where in the text they are."""

    def __init__(self, content: Any, place: str) -> None:
        if not isinstance(content, Mapping):
            raise MoodlineError(f"a timeline's {place} is an object, not {content!r:.80}; write it again")
        self.content, self.place = content, place

    def below(self, name: str) -> "Reader":
        return Reader(self._of(name, Mapping, "an object"), f"{self.place}.{name}")

    def each(self, name: str) -> "list[Reader]":
        found = self._of(name, list, "a list")
        return [Reader(one, f"{self.place}.{name}[{position}]") for position, one in enumerate(found)]

    def text(self, name: str) -> str:
        return self._of(name, str, "a text")

    def texts(self, name: str) -> tuple[str, ...]:
        found: Sequence[Any] = self._of(name, list, "a list of texts")
        if not all(isinstance(one, str) for one in found):
            raise self._wrong(name, "a list of texts")
        return tuple(found)

    def number(self, name: str) -> float:
        return float(self._of(name, (int, float), "a number"))

    def whole(self, name: str) -> int:
        return self._of(name, int, "a whole number")

    def optional(self, name: str, read: Callable[[str], Value]) -> Value | None:
        return None if name in self.content and self.content[name] is None else read(name)

    def _of(self, name: str, kind: type | tuple[type, ...], what: str) -> Any:
        value = self.content.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self._wrong(name, what)
        return value

    def _wrong(self, name: str, what: str) -> MoodlineError:
        value = f"{self.content[name]!r:.80}" if name in self.content else "missing"
        return MoodlineError(f"a timeline's {self.place}.{name} is {what}, and it is {value}; write it again")
