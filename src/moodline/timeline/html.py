"""A timeline as one self-contained HTML page with a player, for phones and for paper."""

import base64
import hashlib
import io
import json
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
from moodline.timeline.timeline import TimelineContent, TimelineTurn, round_seconds, round_to_milliseconds
from moodline.timeline.writers import format_probability

MAX_EMBEDDED_SECONDS = 30 * 60.0  # seconds; a page of some ten megabytes
SAMPLE_RATE = 16_000
COMPRESSION = 0.85  # 32 kbit/s at this rate, measured
ENCODER_DELAY = (
    1105  # samples by which MP3 comes late: LAME's 576 and each decoder's 529, which no header tells at this rate
)
POINTS_PER_SECOND = 20
MAX_POINTS = 20_000
MAX_LEVEL = 127
LOUD_QUANTILE = 0.98


@dataclass(frozen=True, kw_only=True, slots=True)
class PageAudio:
    """What a page shows and plays of a recording.

    Attributes:
        duration: in seconds
        envelope: of equal stretches of the recording the lowest and the highest sample, int8 (points, 2)
        embedded: the sound as a data URI; None where it is too long for a page
        beside: the name of the file that a page plays in its place; None where there is none, as of an array
    """

    duration: float
    envelope: np.ndarray
    embedded: str | None
    beside: str | None

    @property
    def envelope_base64(self) -> str:
        return base64.b64encode(self.envelope.tobytes()).decode("ascii")


def read_page_audio(recording: Recording) -> PageAudio:
    """The envelope of a recording, and its sound where it is at most ``MAX_EMBEDDED_SECONDS`` seconds.

    Raises:
        MoodlineError: nothing can be read
    """
    envelope, compressed = EnvelopeBuilder(), Mp3Encoder() if recording.duration <= MAX_EMBEDDED_SECONDS else None
    for samples in recording.iter_blocks(SAMPLE_RATE):
        envelope.add(samples)
        if compressed is not None:
            compressed.add(samples)
    return PageAudio(
        duration=recording.duration,
        envelope=envelope.compute_points(),
        embedded=None if compressed is None else compressed.data_uri(),
        beside=None if compressed is not None or recording.path is None else recording.path.name,
    )


class Mp3Encoder:
    """MP3 of blocks that come one after another: what is at a time in them is heard at that time.

    The first ``ENCODER_DELAY`` samples, which MP3 puts before them, take the place of as many of theirs.
    """

    def __init__(self) -> None:
        self.encoded_samples = ENCODER_DELAY
        self.buffer = io.BytesIO()
        self.file = soundfile.SoundFile(
            self.buffer,
            "w",
            SAMPLE_RATE,
            channels=1,
            format="MP3",
            subtype="MPEG_LAYER_III",
            compression_level=COMPRESSION,
            bitrate_mode="CONSTANT",
        )

    def add(self, samples: np.ndarray) -> None:
        """Take the next samples, float32 (frames,)."""
        self.file.write(np.clip(samples[self.encoded_samples :], -1, 1))
        self.encoded_samples = max(0, self.encoded_samples - len(samples))

    def data_uri(self) -> str:
        """All of it; no samples can be added after that."""
        self.file.close()
        return f"data:audio/mpeg;base64,{base64.b64encode(self.buffer.getvalue()).decode('ascii')}"


class EnvelopeBuilder:
    """The lowest and the highest sample of equal stretches, of blocks that come one after another."""

    STRETCH = SAMPLE_RATE // POINTS_PER_SECOND  # samples

    def __init__(self) -> None:
        self.extremes: list[np.ndarray] = []  # each (stretches, 2)
        self.rest = np.zeros(0, dtype=np.float32)

    def add(self, samples: np.ndarray) -> None:
        """Take the next samples, float32 (frames,)."""
        samples = np.concatenate([self.rest, samples])
        whole = len(samples) - len(samples) % self.STRETCH
        stretches, self.rest = samples[:whole].reshape(-1, self.STRETCH), samples[whole:]  # (stretches, STRETCH)
        self.extremes.append(_find_extremes(stretches))

    def compute_points(self) -> np.ndarray:
        """int8 (points, 2), at ``MAX_LEVEL`` what few stretches are louder than: one shout leaves the rest to be seen.

        What is more than ``MAX_POINTS`` stretches is told in as many.
        """
        rest = [_find_extremes(self.rest[None])] if len(self.rest) else []
        both = np.concatenate([*self.extremes, *rest])  # (stretches, 2)
        points = min(MAX_POINTS, len(both))
        first = np.arange(points) * len(both) // points
        low, high = np.minimum.reduceat(both[:, 0], first), np.maximum.reduceat(both[:, 1], first)
        both = np.stack([low, high], axis=1)  # (points, 2)
        loud = np.quantile(np.abs(both).max(axis=1), LOUD_QUANTILE) or np.abs(both).max() or 1.0
        return np.round(np.clip(both / loud, -1, 1) * MAX_LEVEL).astype(np.int8)


def _find_extremes(stretches: np.ndarray) -> np.ndarray:
    """(stretches, samples) -> (stretches, 2)"""
    return np.stack([stretches.min(axis=1), stretches.max(axis=1)], axis=1)


PACKAGE = "moodline.timeline"


def render_page(timeline: TimelineContent, recording: Recording | None = None) -> str:
    """The page. Words are shown as text whatever is in them, and no script runs but the page's own.

    Args:
        recording: heard from within the page, or, where it is longer than ``sound.MAX_EMBEDDED_SECONDS``, from a
        file of
            its name beside the page; without it, or where turns have no times, the page has no player

    Raises:
        MoodlineError: the recording cannot be read
    """
    heard = read_page_audio(recording) if recording is not None and timeline.timed else None
    timeline = round_to_milliseconds(timeline)
    script = (files(PACKAGE) / "templates" / "timeline.js").read_text(encoding="utf-8")
    environment = pages.build_environment(PACKAGE)
    environment.filters |= {"probability": format_probability, "runner_up": find_runner_up, "signed": format_signed}
    return environment.get_template("timeline.html.jinja").render(
        timeline=timeline,
        signs={sign.name: sign for sign in assign_styles(timeline.classes)},
        sound=heard,
        source=None if heard is None else heard.embedded or (heard.beside and quote(heard.beside)),
        longest=MAX_EMBEDDED_SECONDS,
        data=_encode_for_script(_build_page_data(timeline, heard)),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


def find_runner_up(turn: TimelineTurn) -> tuple[str, float] | None:
    """The second likeliest class and its probability; None where there is one class."""
    others = [(name, value) for name, value in turn.probabilities.items() if name != turn.likeliest]
    return max(others, key=lambda one: one[1], default=None)


def format_signed(value: float) -> str:
    """Two digits; what rounds to nothing is no fall: ``+0.00``."""
    return f"{value:+z.2f}".replace("-", "\N{MINUS SIGN}")


def _build_page_data(timeline: TimelineContent, heard: PageAudio | None) -> dict[str, Any]:
    """What the script draws; the words it takes from the table."""
    known = assign_styles(timeline.classes)
    place_of_class = {sign.name: place for place, sign in enumerate(known)}
    place_of_speaker = {speaker: place for place, speaker in enumerate(timeline.speakers)}
    seconds = round_seconds(heard.duration) if heard else 0.0
    ends = [timeline.duration or 0.0, seconds, *(turn.end or 0.0 for turn in timeline.turns)]
    return {
        "timed": timeline.timed,
        "duration": max(ends) if timeline.timed else len(timeline.turns),
        "signs": [[sign.name, sign.letter, sign.colour, sign.pattern] for sign in known],
        "speakers": list(place_of_speaker),
        "gaps": [[gap.start, gap.end] for gap in timeline.gaps if timeline.timed],
        "sound": None if heard is None else {"seconds": seconds, "envelope": heard.envelope_base64},
        "turns": [
            [
                number if turn.start is None else turn.start,
                number + 1 if turn.end is None else turn.end,
                place_of_speaker[turn.speaker],
                place_of_class[turn.label],
                [round(value, 3) for value in turn.probabilities.values()],
            ]
            for number, turn in enumerate(timeline.turns)
        ],
    }


def _encode_for_script(data: dict[str, Any]) -> Markup:
    """JSON to stand in a script element, which ends at the first ``</script``, wherever that is."""
    return Markup(json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))
