"""A timeline as one self-contained HTML page with a player, for phones and for paper."""

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import numpy as np
import soundfile
from markupsafe import Markup

from moodline import pages
from moodline.audio.recording import Recording
from moodline.timeline.style import assign_styles
from moodline.timeline.timeline import TimelineContent, TimelineTurn, round_to_milliseconds
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
    if recording.duration > MAX_EMBEDDED_SECONDS:
        envelope, embedded = compute_envelope(recording.iter_blocks(SAMPLE_RATE)), None
    else:
        buffer, coding = io.BytesIO(), {"bitrate_mode": "CONSTANT", "compression_level": COMPRESSION}
        with soundfile.SoundFile(buffer, "w", SAMPLE_RATE, 1, "MPEG_LAYER_III", format="MP3", **coding) as file:
            envelope = compute_envelope(_encode_blocks(recording.iter_blocks(SAMPLE_RATE), file))
        embedded = f"data:audio/mpeg;base64,{_encode_base64(buffer.getvalue())}"
    beside = None if embedded is not None or recording.path is None else recording.path.name
    return PageAudio(duration=recording.duration, envelope=envelope, embedded=embedded, beside=beside)


def _encode_blocks(blocks: Iterable[np.ndarray], file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Write blocks to an MP3 file and pass them on; without their first samples, so that the delay shifts no sound."""
    skipped = ENCODER_DELAY
    for samples in blocks:
        file.write(np.clip(samples[skipped:], -1, 1))
        skipped = max(0, skipped - len(samples))
        yield samples


def compute_envelope(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Compute the lowest and the highest sample of each ``STRETCH``, or of more for at most ``MAX_POINTS``.

    From consecutive blocks, float32 (frames,), to int8 (points, 2), whose scale saturates the loudest: a single shout
    does not flatten the rest.
    """
    extremes: list[np.ndarray] = []  # each (stretches, 2)
    rest = np.zeros(0, dtype=np.float32)
    for block in blocks:
        samples = np.concatenate([rest, block])
        whole = len(samples) - len(samples) % STRETCH
        extremes.append(_find_extremes(samples[:whole].reshape(-1, STRETCH)))  # (stretches, STRETCH)
        rest = samples[whole:]
    if len(rest):
        extremes.append(_find_extremes(rest[None]))
    both = np.concatenate(extremes)  # (stretches, 2)
    points = min(MAX_POINTS, len(both))
    first = np.arange(points) * len(both) // points
    low, high = np.minimum.reduceat(both[:, 0], first), np.maximum.reduceat(both[:, 1], first)
    both = np.stack([low, high], axis=1)  # (points, 2)
    loud = np.quantile(np.abs(both).max(axis=1), LOUD_QUANTILE) or np.abs(both).max() or 1.0
    return np.round(np.clip(both / loud, -1, 1) * MAX_LEVEL).astype(np.int8)


def _find_extremes(stretches: np.ndarray) -> np.ndarray:
    """(stretches, samples) -> (stretches, 2)"""
    return np.stack([stretches.min(axis=1), stretches.max(axis=1)], axis=1)


def render_page(timeline: TimelineContent, recording: Recording | None = None) -> str:
    """Render the page. Words appear as text whatever they contain, and only the page's own script runs.

    It has a player for turns with times and a recording; a long one is played from a file beside the page.
    """
    sound = read_page_audio(recording) if recording is not None and timeline.timed else None
    timeline = round_to_milliseconds(timeline)
    script = (files(PACKAGE) / "templates" / "timeline.js").read_text(encoding="utf-8")
    environment = pages.build_environment(PACKAGE)
    environment.filters |= {"probability": format_probability, "runner_up": find_runner_up, "signed": format_signed}
    data = json.dumps(_build_page_data(timeline, sound), ensure_ascii=False, separators=(",", ":"))
    return environment.get_template("timeline.html.jinja").render(
        timeline=timeline,
        styles={style.name: style for style in assign_styles(timeline.classes)},
        sound=sound,
        source=sound and (sound.embedded or (sound.beside and quote(sound.beside))),
        longest=MAX_EMBEDDED_SECONDS,
        data=Markup(data.replace("<", "\\u003c")),  # a script element ends at the first </script, wherever it is
        script=Markup(script),
        script_hash=_encode_base64(hashlib.sha256(script.encode()).digest()),
    )


def find_runner_up(turn: TimelineTurn) -> tuple[str, float] | None:
    """Find the second most probable class and its probability; None for a single class."""
    others = [(name, value) for name, value in turn.probabilities.items() if name != turn.likeliest]
    return max(others, key=lambda one: one[1], default=None)


def format_signed(value: float) -> str:
    """Format a sign and two digits, without a negative zero: ``+0.00``."""
    return f"{value:+z.2f}".replace("-", "\N{MINUS SIGN}")


def _build_page_data(timeline: TimelineContent, sound: PageAudio | None) -> dict[str, Any]:
    """Collect what the script draws; it takes words from the table."""
    styles = assign_styles(timeline.classes)
    class_indices = {style.name: index for index, style in enumerate(styles)}
    speaker_indices = {speaker: index for index, speaker in enumerate(timeline.speakers)}
    seconds = round(sound.duration, 3) if sound else 0.0
    ends = [timeline.duration or 0.0, seconds, *(turn.end or 0.0 for turn in timeline.turns)]
    return {
        "timed": timeline.timed,
        "duration": max(ends) if timeline.timed else len(timeline.turns),
        "styles": [[style.name, style.letter, style.colour, style.pattern] for style in styles],
        "speakers": list(speaker_indices),
        "gaps": [[gap.start, gap.end] for gap in timeline.gaps if timeline.timed],
        "sound": sound and {"seconds": seconds, "envelope": _encode_base64(sound.envelope.tobytes())},
        "turns": [
            [
                number if turn.start is None else turn.start,
                number + 1 if turn.end is None else turn.end,
                speaker_indices[turn.speaker],
                class_indices[turn.label],
                [round(value, 3) for value in turn.probabilities.values()],
            ]
            for number, turn in enumerate(timeline.turns)
        ],
    }


def _encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
