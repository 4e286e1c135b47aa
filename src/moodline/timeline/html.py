"""A timeline as one self-contained HTML page with a player, for phones and for paper."""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import numpy as np
import soundfile
from markupsafe import Markup

from moodline import pages
from moodline.audio.recording import Recording
from moodline.timeline.style import ClassStyle, assign_styles
from moodline.timeline.timeline import Reasons, TimelineContent, round_to_milliseconds
from moodline.timeline.writers import format_probability

PACKAGE = "moodline.timeline"
MAX_EMBEDDED_SECONDS = 30 * 60.0  # a page of some ten megabytes
SAMPLE_RATE = 16_000
COMPRESSION = 0.85  # 32 kbit/s at this rate, measured
# Samples by which MP3 delays the sound: LAME's 576 and each decoder's 529, which no header gives at this rate.
ENCODER_DELAY = 1105
POINTS_PER_SECOND = 20
STRETCH = SAMPLE_RATE // POINTS_PER_SECOND  # samples of a point
MAX_POINTS = 20_000
MAX_LEVEL = 127
LOUD_QUANTILE = 0.98


@dataclass(frozen=True, kw_only=True, slots=True)
class PageAudio:
    """A recording's duration in seconds, its envelope, int8 (points, 2), and its sound in a page.

    The sound is ``embedded`` as a data URI, or too long for a page, which plays the file ``beside`` it, if any.
    """

    duration: float
    envelope: np.ndarray
    embedded: str | None
    beside: str | None


def read_page_audio(recording: Recording) -> PageAudio:
    """Compute a recording's envelope, and encode its sound if it is at most ``MAX_EMBEDDED_SECONDS`` long."""
    is_short, buffer = recording.duration <= MAX_EMBEDDED_SECONDS, io.BytesIO()
    extremes: list[np.ndarray] = []  # the lowest and the highest sample of each stretch, each (stretches, 2)
    rest, skipped = np.zeros(0, dtype=np.float32), ENCODER_DELAY
    coding = {"bitrate_mode": "CONSTANT", "compression_level": COMPRESSION}
    with soundfile.SoundFile(buffer, "w", SAMPLE_RATE, 1, "MPEG_LAYER_III", format="MP3", **coding) as file:
        for block in recording.iter_blocks(SAMPLE_RATE):
            if is_short:  # the file lacks the first samples, so that the encoder's delay shifts no sound
                file.write(np.clip(block[skipped:], -1, 1))
                skipped = max(0, skipped - len(block))
            samples = np.concatenate([rest, block])
            stretches = samples[: len(samples) // STRETCH * STRETCH].reshape(-1, STRETCH)  # (stretches, STRETCH)
            extremes.append(np.stack([stretches.min(axis=1), stretches.max(axis=1)], axis=1))
            rest = samples[stretches.size :]
    if len(rest):
        extremes.append(np.array([[rest.min(), rest.max()]]))
    uri = f"data:audio/mpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return PageAudio(
        duration=recording.duration,
        envelope=scale_envelope(np.concatenate(extremes)),
        embedded=uri if is_short else None,
        beside=None if is_short or recording.path is None else recording.path.name,
    )


def scale_envelope(extremes: np.ndarray) -> np.ndarray:
    """Scale the lowest and the highest sample of each stretch, (stretches, 2), to int8 (points, 2).

    A point has one stretch, or more for at most ``MAX_POINTS``. The scale saturates the loudest: a single shout does
    not flatten the rest.
    """
    points = min(MAX_POINTS, len(extremes))
    first = np.arange(points) * len(extremes) // points
    low, high = np.minimum.reduceat(extremes[:, 0], first), np.maximum.reduceat(extremes[:, 1], first)
    both = np.stack([low, high], axis=1)  # (points, 2)
    loud = np.quantile(np.abs(both).max(axis=1), LOUD_QUANTILE) or np.abs(both).max() or 1.0
    return np.round(np.clip(both / loud, -1, 1) * MAX_LEVEL).astype(np.int8)


def render_page(timeline: TimelineContent, recording: Recording | None = None) -> str:
    """Render the page. Words appear as text whatever they contain, and only the page's own script runs.

    It has a player for turns with times and a recording; a long one is played from a file beside the page.
    """
    sound = read_page_audio(recording) if recording is not None and timeline.timed else None
    timeline = round_to_milliseconds(timeline)
    timeline = replace(timeline, turns=tuple(replace(one, reasons=_drop_zeros(one.reasons)) for one in timeline.turns))
    styles = assign_styles(timeline.classes)
    drawn = _build_page_data(timeline, styles, sound)
    data = json.dumps(drawn, ensure_ascii=False, separators=(",", ":"))
    script = (files(PACKAGE) / "templates" / "timeline.js").read_text(encoding="utf-8")
    environment = pages.build_environment(PACKAGE)
    environment.filters |= {"probability": format_probability, "signed": format_signed}
    return environment.get_template("timeline.html.jinja").render(
        timeline=timeline,
        styles={style.name: style for style in styles},
        speakers=drawn["speakers"],
        sound=sound,
        source=sound and (sound.embedded or (sound.beside and quote(sound.beside))),
        longest=MAX_EMBEDDED_SECONDS,
        data=Markup(data.replace("<", "\\u003c")),  # a script element ends at the first </script, wherever it is
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def format_signed(value: float) -> str:
    """Format a sign and two digits."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _drop_zeros(reasons: Reasons | None) -> Reasons | None:
    """Remove reasons that are zero in two digits; None where none remains."""
    if reasons is None:
        return None
    context = tuple(one for one in reasons.context if round(one.weight, 2))
    speech, words = (value if value and round(value, 2) else None for value in (reasons.speech, reasons.words))
    remains = context or speech is not None or words is not None
    return Reasons(context=context, speech=speech, words=words) if remains else None


def _build_page_data(
    timeline: TimelineContent, styles: Sequence[ClassStyle], sound: PageAudio | None
) -> dict[str, Any]:
    """Collect what the script draws; it takes words from the table."""
    class_indices = {style.name: index for index, style in enumerate(styles)}
    speaker_indices: dict[str, int] = {}  # in the order of their first turns
    seconds = round(sound.duration, 3) if sound else 0.0
    ends = [timeline.duration or 0.0, seconds, *(turn.end or 0.0 for turn in timeline.turns)]
    turns = [
        [
            number if turn.start is None else turn.start,
            number + 1 if turn.end is None else turn.end,
            speaker_indices.setdefault(turn.speaker, len(speaker_indices)),
            class_indices[turn.label],
            [round(value, 3) for value in turn.probabilities.values()],
        ]
        for number, turn in enumerate(timeline.turns)
    ]
    return {
        "timed": timeline.timed,
        "duration": max(ends) if timeline.timed else len(timeline.turns),
        "styles": [[style.name, style.letter, style.colour, style.pattern] for style in styles],
        "speakers": list(speaker_indices),
        "gaps": [[gap.start, gap.end] for gap in timeline.gaps if timeline.timed],
        "sound": sound and {"seconds": seconds, "envelope": base64.b64encode(sound.envelope.tobytes()).decode()},
        "turns": turns,
    }
