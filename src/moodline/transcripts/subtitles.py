"""SubRip (.srt) and WebVTT (.vtt, https://www.w3.org/TR/webvtt1/) subtitles."""

import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from moodline.conversation import UNKNOWN, Segment
from moodline.errors import quote
from moodline.tabular import parse_seconds
from moodline.transcripts.transcript import MARKUP_PATTERN, Cue, ParsedTranscript, build_error

SRT, VTT, SIGNATURE = "SRT", "WebVTT", "WEBVTT"
SKIPPED_BLOCKS = (SIGNATURE, "NOTE", "STYLE", "REGION")
CLOCK_PATTERN = r"(?:\d+:)?\d+:\d+(?:[.,]\d+)?"
SRT_PATTERN = re.compile(rf"\s*(?:\d+\s+)?{CLOCK_PATTERN}\s*-+>\s*{CLOCK_PATTERN}(?:\s|$)", re.ASCII)
VTT_PATTERN = re.compile(rf"\s*{SIGNATURE}(?:\s|$)")
# Settings of the cue's place may follow its times.
TIMES_PATTERN = re.compile(rf"\s*({CLOCK_PATTERN})\s*-+>\s*({CLOCK_PATTERN})(?:\s.*)?", re.ASCII)
BROKEN_TIMES_PATTERN = re.compile(rf".*-->|\s*{CLOCK_PATTERN}\s+\S*\s*{CLOCK_PATTERN}", re.ASCII)
TIMES = "times such as 00:01:02,000 --> 00:01:03,500"
NUMBER_PATTERN = re.compile(r"\s*\d+\s*", re.ASCII)
ARROW_PATTERN = re.compile(r"-+>")
MAX_NAME_LENGTH = 40  # letters
BRACKETED_PREFIX = re.compile(r"\s*\[(?P<name>.+?)\]:(?:\s+|$)(?P<words>.*)", re.DOTALL)
PREFIX_PATTERN = re.compile(
    rf"\s*(?:\[(?P<name>[^\[\]\n]{{1,{MAX_NAME_LENGTH}}})\]"
    rf"|(?P<bare>[^\W\d_][^\n:.,;!?\[\]]{{0,{MAX_NAME_LENGTH - 1}}}):)"
    r"\s+(?P<words>.+)",
    re.DOTALL,
)
DASH_PATTERN = re.compile(r"\s*(?:<[^<>]*>)?[-\u2010-\u2015]+\s*")  # perhaps within a tag
NAME_LINE_PATTERN = re.compile(rf"[^\W\d_][^\n:;!?\[\]]{{0,{MAX_NAME_LENGTH - 1}}}(?<![.,])")
LANGUAGE_PATTERN = re.compile(r"^Language:\s*(\S+)", re.MULTILINE | re.IGNORECASE)  # as YouTube writes it
VOICE_PATTERN = re.compile(r"<v(?:\.[^\s<>]*)?(?:\s+([^<>]*))?>")
TAG_PATTERN = re.compile(r"</?[a-zA-Z][^<>]*>|</>|<\d[\d:.]*>")


class TextLine(NamedTuple):
    """A line that is not blank."""

    number: int
    text: str
    starts_paragraph: bool


def has_times(text: str) -> bool:
    """Check whether a line holds SubRip's times, malformed or not."""
    return any(TIMES_PATTERN.fullmatch(line) or BROKEN_TIMES_PATTERN.match(line) for line in text.splitlines())


def parse_srt(text: str, origin: str) -> ParsedTranscript:
    """Parse SubRip; see ``parse_cues`` and ``find_speakers``."""
    return ParsedTranscript(SRT, find_speakers(parse_cues(text, origin)))


def parse_vtt(text: str, origin: str) -> ParsedTranscript:
    """Parse WebVTT: a cue of several voices gives a turn each; without voices see ``find_speakers``."""
    lines, is_skipped = [], False
    for previous, line in pairwise(("", *text.splitlines())):
        if line.strip() and not previous.strip():
            is_skipped = line.split()[0] in SKIPPED_BLOCKS
        lines.append("" if is_skipped else line)
    found = parse_cues("\n".join(lines), origin)
    cues = [(place, part) for place, cue in found for part in split_voices(cue)]
    if all(turn.speaker == UNKNOWN for _, turn in cues):
        cues = find_speakers(cues)
    header, *_ = re.split(r"\r?\n\r?\n", text, maxsplit=1)
    language = LANGUAGE_PATTERN.search(header)
    return ParsedTranscript(VTT, cues, language=language[1] if language else None)


def split_voices(cue: Segment) -> Iterator[Segment]:
    """Yield a segment for each voice."""
    before, *rest = VOICE_PATTERN.split(cue.words or "")
    parts = [("", before), *zip(rest[::2], rest[1::2], strict=True)]
    for name, text in parts[1:] if rest and not remove_tags(before).strip() else parts:
        yield replace(cue, speaker=html.unescape(name or "") or UNKNOWN, words=remove_tags(text))


def remove_tags(text: str) -> str:
    return html.unescape(TAG_PATTERN.sub("", text))


def parse_cues(text: str, origin: str) -> list[Cue]:
    """Parse the cues of a file; a paragraph without times continues the cue before it.

    pysubs2 skips malformed cues silently, and knows neither lines nor WebVTT's voices and notes.
    """
    cues: list[tuple[int, float, float]] = []
    texts: list[list[TextLine]] = [[]]  # before the first cue, then of each cue
    for number, (previous, line) in enumerate(pairwise(("", *text.splitlines())), start=1):
        starts_paragraph, found = not previous.strip(), TIMES_PATTERN.fullmatch(line)
        start, end = map(parse_seconds, found.groups()) if found else (None, None)
        if start is not None and end is not None:
            if texts[-1]:
                # The line above is the cue's number or name, or text of the cue before. Files with doubled line ends
                # have a blank line between a number and its times.
                above = texts[-1][-1]
                signs = (above.starts_paragraph, NUMBER_PATTERN.fullmatch(above.text) is not None)
                if all(signs) if starts_paragraph else any(signs):
                    texts[-1].pop()
            cues.append((number, start, end))
            texts.append([])
        elif BROKEN_TIMES_PATTERN.match(line):
            raise build_error(f"{origin}:{number}", quote(line.strip()), TIMES, "transcript.invalid_time")
        elif line.strip():
            texts[-1].append(TextLine(number, line, starts_paragraph))
    head, *contents = texts
    trailing = [line for line in texts[-1][-1:] if line.starts_paragraph and NUMBER_PATTERN.fullmatch(line.text)]
    if alone := [*head, *trailing]:
        place, fault = f"{origin}:{alone[0].number}", quote(alone[0].text.strip())
        raise build_error(place, fault, f"{TIMES} above it, or no such line", "transcript.text_without_times")
    return [
        (f"{origin}:{number}", Segment(start=start, end=end, words="\n".join(line.text for line in lines)))
        for (number, start, end), lines in zip(cues, contents, strict=True)
    ]


def find_speakers(cues: Sequence[Cue]) -> list[Cue]:
    """Find the speakers in the text of cues: names on lines of their own, dashes, or names before the words."""
    return parse_prefixes([(place, part) for place, cue in parse_name_lines(cues) for part in split_dashes(cue)])


def parse_name_lines(cues: Sequence[Cue]) -> Sequence[Cue]:
    """Move first lines that are all names to the segments, as in meetings that Teams transcribed.

    Each cue has further lines, there are several names, and most cues begin with one that recurs.
    """
    lines = [(cue.words or "").split("\n", 1) for _, cue in cues]
    names = Counter(first.strip() for first, *_ in lines)
    recurring = sum(count for count in names.values() if count > 1)
    are_names = all(len(parts) == 2 and NAME_LINE_PATTERN.fullmatch(parts[0].strip()) for parts in lines)
    if len(names) < 2 or 2 * recurring <= len(lines) or not are_names:
        return cues
    return [
        (place, replace(cue, speaker=first.strip(), words=rest))
        for (place, cue), (first, rest) in zip(cues, lines, strict=True)
    ]


def split_dashes(cue: Segment) -> list[Segment]:
    """Split a cue with two or more lines that begin with dashes: each is a turn, of its share of the letters' time."""
    lines = (cue.words or "").split("\n")
    if sum(DASH_PATTERN.match(line) is not None for line in lines) < 2:
        return [cue]
    texts: list[str] = []
    for line in lines:
        if (dash := DASH_PATTERN.match(line)) or not texts:
            texts.append(line[dash.end() :] if dash else line)
        else:
            texts[-1] += f"\n{line}"
    ends = [sum(map(len, texts[: number + 1])) / max(1, sum(map(len, texts))) for number in range(len(texts))]
    times = [cue.start, *(round(cue.start + share * (cue.end - cue.start), 3) for share in ends[:-1]), cue.end]
    return [
        replace(cue, start=start, end=end, words=words)
        for (start, end), words in zip(pairwise(times), texts, strict=True)
    ]


def parse_prefixes(cues: Sequence[Cue]) -> list[Cue]:
    """Move speakers from the beginning of words, ``[Ann]: `` or ``Ann: ``, to the segments.

    ``[Ann]: `` is always a speaker. Other prefixes count if their name recurs, and if at least half of the cues with
    words have a prefix.
    """
    texts = [MARKUP_PATTERN.sub("", cue.words or "") for _, cue in cues]
    found = [BRACKETED_PREFIX.fullmatch(words) or PREFIX_PATTERN.fullmatch(words) for words in texts]
    names = [" ".join((one["name"] or one["bare"]).split()) if one else "" for one in found]
    begun = Counter(name for one, name in zip(found, names, strict=True) if one)
    sure = [one is not None and one.re is BRACKETED_PREFIX for one in found]
    believed = [certain or begun[name] > 1 for certain, name in zip(sure, names, strict=True)]
    if 2 * sum(believed) < sum(bool(words.strip()) for words in texts):
        believed = sure
    return [
        (place, replace(cue, speaker=name, words=one["words"]) if one and is_speaker else cue)
        for (place, cue), one, name, is_speaker in zip(cues, found, names, believed, strict=True)
    ]


def format_clock(seconds: float, point: str = ".") -> str:
    """Format HH:MM:SS and three decimals after ``point``."""
    whole, milliseconds = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{milliseconds:03}"


def format_srt(turns: Sequence[Segment]) -> str:
    """Format turns with words on one line, and ``[speaker]: `` before a known speaker's; no text can hold ``-->``."""
    cues: list[str] = []
    for number, turn in enumerate(turns, start=1):
        speaker = "" if turn.speaker == UNKNOWN else f"[{turn.speaker}]: "
        text = ARROW_PATTERN.sub("->", f"{speaker}{turn.words or ''}")
        cues.append(f"{number}\n{format_clock(turn.start, ',')} --> {format_clock(turn.end, ',')}\n{text}\n")
    return "\n".join(cues)


def format_vtt(turns: Sequence[Segment]) -> str:
    """Format turns, with a voice for a known speaker."""
    cues = [f"{SIGNATURE}\n"]
    for turn in turns:
        voice = "" if turn.speaker == UNKNOWN else f"<v {html.escape(turn.speaker, quote=False)}>"
        text = html.escape(turn.words or "", quote=False)
        cues.append(f"{format_clock(turn.start)} --> {format_clock(turn.end)}\n{voice}{text}\n")
    return "\n".join(cues)
