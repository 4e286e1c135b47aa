"""A turn as a line of JSON gives it: words, speaker, audio, start, end, id."""

import difflib
import json
import math
import sys
from pathlib import Path
from typing import Any

from moodline.audio import waveform
from moodline.config import FUSION, TEXT_UTTERANCE, Modalities, Recipe
from moodline.conversation import Utterance
from moodline.errors import MoodlineError, first_line
from moodline.speech.turn import UNKNOWN

TEXTS = ("id", "speaker", "words", "audio")
TIMES = ("start", "end")
EXAMPLE = '{"words": "Hello."}'


def turn_of(line: bytes, number: int, recipe: Recipe, modalities: Modalities = "both") -> Utterance:
    """The turn that a line holds; ``number`` is its id where it has none.

    ``audio`` is a file with the turn's speech and no other's; ``start`` and ``end`` tell when it is spoken, in seconds.

    Raises:
        MoodlineError: it is no JSON object, a value is not what it should be, or words are read, as the model was never
            without any, and it has none
    """
    content = object_of(line)
    stages = recipe.stages_in(modalities)
    knows_absence = FUSION in stages and recipe.fusion.knows_absence
    if TEXT_UTTERANCE in stages and not knows_absence and "words" not in content:
        raise MoodlineError(f"this model reads words, and the turn has {', '.join(content) or 'nothing'}: add words")
    audio = content.get("audio")
    return Utterance(
        id=content.get("id", str(number)),
        speaker=content.get("speaker", UNKNOWN),
        words=content.get("words", ""),
        audio=None if audio is None else waveform.inspect(Path(audio)),
        start=content.get("start"),
        end=content.get("end"),
    )


def object_of(line: bytes) -> dict[str, Any]:
    """A line's keys and values, those that are null left out; errors as of ``turn_of``."""
    try:
        content = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise MoodlineError(f"a turn is a JSON object in UTF-8, and this is none ({first_line(error)})") from error
    if not isinstance(content, dict):
        raise MoodlineError(f"a turn is a JSON object, such as {EXAMPLE}, and this is {shown(content)}")
    content = {key: value for key, value in content.items() if value is not None}
    if "words" not in content and "text" in content:  # as recognisers call them
        content["words"] = content.pop("text")
    for key, value in content.items():
        refuse_unfit(key, value)
    start, end = content.get("start", -math.inf), content.get("end", math.inf)
    if end < start:
        raise MoodlineError(
            f"a turn ends after it starts, and this starts at {start} s and ends at {end} s: correct it"
        )
    return content


def refuse_unfit(key: str, value: Any) -> None:
    """Refuse a key that a turn does not have, or a value that is not of its kind."""
    if key not in (*TEXTS, *TIMES):
        close = difflib.get_close_matches(key, (*TEXTS, *TIMES), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join((*TEXTS, *TIMES))}"
        raise MoodlineError(f"a turn has no key {key!r}; {hint}")
    if key in TEXTS and not is_text(value):
        raise MoodlineError(f"a turn's {key} is a text, and this is {shown(value)}: correct it")
    if key in TIMES and not is_time(value):
        raise MoodlineError(f"a turn's {key} is a finite number of seconds, and this is {shown(value)}: correct it")


def is_text(value: Any) -> bool:
    """Whether it is a text of whole characters: JSON may hold halves of pairs, which no file does."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def is_time(value: Any) -> bool:
    # JSON's whole numbers may be beyond all floats.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def shown(value: Any) -> str:
    """A value in a sentence, no longer than a line."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]} ..."
