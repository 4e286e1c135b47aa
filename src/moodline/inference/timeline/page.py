"""A timeline as one HTML page that needs nothing beside it: to be heard, read on a phone and printed."""

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from moodline import pages
from moodline.audio.recording import Recording
from moodline.inference.timeline import sound
from moodline.inference.timeline.signs import signs
from moodline.inference.timeline.subtitles import probability
from moodline.inference.timeline.timeline import Timeline, TimelineTurn
from moodline.inference.timeline.times import in_milliseconds, rounded

PACKAGE = "moodline.inference.timeline"


def html(timeline: Timeline, recording: Recording | None = None) -> str:
    """The page. Words are shown as text whatever is in them, and no script runs but the page's own.

    Args:
        recording: heard from within the page, or, where it is longer than ``sound.LONGEST_EMBEDDED``, from a file of
            its name beside the page; without it, or where turns have no times, the page has no player

    Raises:
        MoodlineError: the recording cannot be read
    """
    heard = sound.read(recording) if recording is not None and timeline.timed else None
    timeline = in_milliseconds(timeline)
    script = (files(PACKAGE) / "templates" / "timeline.js").read_text(encoding="utf-8")
    environment = pages.environment(PACKAGE)
    environment.filters |= {"probability": probability, "runner_up": runner_up, "signed": signed}
    return environment.get_template("timeline.html.jinja").render(
        timeline=timeline,
        signs={sign.name: sign for sign in signs(timeline.classes)},
        sound=heard,
        source=None if heard is None else heard.embedded or (heard.beside and quote(heard.beside)),
        longest=sound.LONGEST_EMBEDDED,
        data=_for_script(_data(timeline, heard)),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


def runner_up(turn: TimelineTurn) -> tuple[str, float] | None:
    """The second likeliest class and its probability; None where there is one class."""
    others = [(name, value) for name, value in turn.probabilities.items() if name != turn.likeliest]
    return max(others, key=lambda one: one[1], default=None)


def signed(value: float) -> str:
    """Two digits; what rounds to nothing is no fall: ``+0.00``."""
    return f"{value:+z.2f}".replace("-", "\N{MINUS SIGN}")


def _data(timeline: Timeline, heard: sound.Sound | None) -> dict[str, Any]:
    """What the script draws; the words it takes from the table."""
    known = signs(timeline.classes)
    names = [sign.name for sign in known]
    seconds = rounded(heard.duration) if heard else 0.0
    ends = [timeline.duration or 0.0, seconds, *(turn.end or 0.0 for turn in timeline.turns)]
    return {
        "timed": timeline.timed,
        "duration": max(ends) if timeline.timed else len(timeline.turns),
        "signs": [[sign.name, sign.letter, sign.colour, sign.pattern] for sign in known],
        "speakers": list(timeline.speakers),
        "gaps": [[gap.start, gap.end] for gap in timeline.gaps if timeline.timed],
        "sound": None if heard is None else {"seconds": seconds, "envelope": heard.envelope_base64},
        "turns": [
            [
                number if turn.start is None else turn.start,
                number + 1 if turn.end is None else turn.end,
                timeline.speakers.index(turn.speaker),
                names.index(turn.label),
                [round(value, 3) for value in turn.probabilities.values()],
            ]
            for number, turn in enumerate(timeline.turns)
        ],
    }


def _for_script(data: dict[str, Any]) -> Markup:
    """JSON to stand in a script element, which ends at the first ``</script``, wherever that is."""
    return Markup(json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))
