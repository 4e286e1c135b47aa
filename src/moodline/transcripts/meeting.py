"""Transcripts of meeting programs, as .docx or .txt: a line with a speaker and a time, and what was said.

Teams, Zoom, Otter and others write a turn's start and no end; Google Meet writes names, and a time every few minutes.
"""

import math
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from moodline.conversation import Segment
from moodline.errors import MoodlineError, get_first_line
from moodline.tabular import parse_seconds
from moodline.transcripts.tables import ParsedTable
from moodline.transcripts.transcript import Cue, ParsedTranscript

TIMED, UNTIMED = "meeting transcript", "lines of speakers"
CLOCK = r"(?:[0-9]{1,2}:)?[0-9]{1,2}:[0-9]{2}(?:[.,][0-9]+)?"
NAME = r"[^\W\d_][^\n:\[\]()<>]{0,60}?"
HEADER_PATTERNS = tuple(  # lines that begin a turn; what follows the time or the name on the line are words
    re.compile(pattern)
    for pattern in (
        rf"\[?(?P<name>{NAME})\]? ?[ ,\-\u2013(] ?\[?(?P<time>{CLOCK})\]?\)?:?",
        rf"[\[(]?(?P<time>{CLOCK})[\])]? ?[\-\u2013|]? ?\[?(?P<name>{NAME})\]?:(?: (?P<words>.*))?",
    )
)
TIME_PATTERN = re.compile(rf"[\[(]?{CLOCK}[\])]?")
SPEAKER_PATTERN = re.compile(rf"(?P<name>{NAME}):\s+(?P<words>.+)")
MIN_HEADERS = 2  # that a meeting's transcript has
DOCX_TEXT, MAX_DOCX_BYTES = "word/document.xml", 2**26
DOCX_ERRORS = (
    *(OSError, EOFError, KeyError, ValueError, RuntimeError),  # of files that are cut or changed
    *(zipfile.BadZipFile, zlib.error, ElementTree.ParseError),
)
ZIP_MARK = b"PK\x03\x04"


class Header(NamedTuple):
    """A line that begins a turn."""

    speaker: str
    start: float
    words: str


def detect_meeting(text: str) -> Callable[[str, str], ParsedTranscript | ParsedTable] | None:
    """Detect lines of speakers with times, or else of speakers alone who speak more than once."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if sum(one is not None for one in find_headers(lines)) >= MIN_HEADERS:
        return parse_timed
    named = [one for one in find_named_lines(lines) if one is not None]
    return parse_untimed if len({name for name, _ in named}) > 1 and 2 * len(named) >= len(lines) else None


def find_headers(lines: Sequence[str]) -> list[Header | None]:
    """Find the lines that begin a turn; None for the others.

    A sentence may end in a time of day, and so may an agenda's lines: some name recurs, and the others look like names.
    """
    found = [parse_header(" ".join(line.split())) for line in lines]
    counts = Counter(one.speaker for one in found if one)
    if max(counts.values(), default=0) < 2:
        return [None] * len(found)
    return [one if one and (counts[one.speaker] > 1 or looks_like_name(one.speaker)) else None for one in found]


def looks_like_name(text: str) -> bool:
    """Check whether the first and the last word begin with a capital, or with a letter that has none."""
    first, *_, last = [text.split()[0], *text.split()]
    return not first[0].islower() and not last[0].islower()


def find_named_lines(lines: Sequence[str]) -> list[tuple[str, str] | None]:
    """Find the names and words of lines that begin with the name of a speaker who speaks again; None for the others."""
    found = [SPEAKER_PATTERN.fullmatch(line.strip()) for line in lines]
    counts = Counter(one["name"] for one in found if one)
    return [(one["name"], one["words"]) if one and counts[one["name"]] > 1 else None for one in found]


def parse_header(line: str) -> Header | None:
    for pattern in HEADER_PATTERNS:
        if found := pattern.fullmatch(line):
            start = parse_seconds(found["time"])
            assert start is not None, "the pattern's time is a clock's"
            return Header(found["name"].strip(), start, found.groupdict().get("words") or "")
    return None


def parse_timed(text: str, origin: str) -> ParsedTranscript:
    """Parse turns that have starts; each lasts to the next start, and the last one has no end."""
    lines = text.splitlines()
    starts: list[tuple[str, Header]] = []
    texts: list[list[str]] = []
    for number, (line, header) in enumerate(zip(lines, find_headers(lines), strict=True), start=1):
        if header:
            starts.append((f"{origin}:{number}", header))
            texts.append([header.words])
        elif texts:  # the lines above the first turn are the meeting's title and date
            texts[-1].append(line)
    said = [" ".join(" ".join(one).split()) for one in texts]
    times = spread_starts([header.start for _, header in starts], [len(one) for one in said])
    cues: list[Cue] = [
        (place, Segment(start=start, end=end, speaker=header.speaker, words=words))
        for (place, header), (start, end), words in zip(starts, pairwise([*times, math.inf]), said, strict=True)
    ]
    note = f"{origin} has no ends of turns: each lasts to the start of the next one"
    return ParsedTranscript(TIMED, cues, [note], has_open_end=True)


def spread_starts(starts: Sequence[float], letters: Sequence[int]) -> list[float]:
    """Spread turns of one start, in whole seconds, over the time to the next later start, by their letters.

    A start before that of the turn above, as of a recording that was resumed, counts as the same start.
    """
    starts = list(accumulate(starts, max))
    spread: list[float] = []
    for start, places in groupby(range(len(starts)), key=starts.__getitem__):
        group = list(places)
        after = group[-1] + 1
        length = starts[after] - start if after < len(starts) else float(len(group))  # a second each at the end
        total = sum(max(1, letters[place]) for place in group)
        before = accumulate((max(1, letters[place]) for place in group[:-1]), initial=0)
        spread += [round(start + length * share / total, 3) for share in before]
    return spread


def parse_untimed(text: str, origin: str) -> ParsedTable:
    """Parse lines of speakers; a line without a speaker continues the turn before it."""
    rows: list[tuple[str, dict[str, str]]] = []
    lines = text.splitlines()
    for number, (line, named) in enumerate(zip(lines, find_named_lines(lines), strict=True), start=1):
        if not line.strip() or TIME_PATTERN.fullmatch(line.strip()):
            continue
        if named is not None:
            rows.append((f"{origin}:{number}", dict(zip(("speaker", "words"), named, strict=True))))
        elif rows:
            rows[-1][1]["words"] += f" {line.strip()}"
    return ParsedTable(UNTIMED, ("speaker", "words"), rows)


def read_docx(path: Path) -> str:
    """Read the text of a Word document, a line for each paragraph and each break."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(DOCX_TEXT) as file:
            content = file.read(MAX_DOCX_BYTES + 1)
        if len(content) > MAX_DOCX_BYTES:
            raise ValueError(f"its text has more than {MAX_DOCX_BYTES // 2**20} MiB")
        return "\n".join(map("".join, map(iter_text, ElementTree.fromstring(content).iter(tag("p")))))
    except DOCX_ERRORS as error:
        raise MoodlineError(
            f"{path} cannot be read as a Word document: {get_first_line(error)}. Save it again, or as text.",
            code="transcript.invalid_docx",
        ) from error


def tag(name: str) -> str:
    return f"{{http://schemas.openxmlformats.org/wordprocessingml/2006/main}}{name}"


def iter_text(paragraph: ElementTree.Element) -> Iterator[str]:
    """Yield a paragraph's texts, with its breaks and tabs."""
    marks = {tag("br"): "\n", tag("cr"): "\n", tag("tab"): "\t"}
    for element in paragraph.iter():
        yield marks.get(element.tag, (element.text or "") if element.tag == tag("t") else "")
