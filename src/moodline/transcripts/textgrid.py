"""Praat's TextGrids, long and short (https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html)."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from moodline.conversation import Segment
from moodline.errors import MoodlineError, format_count, quote
from moodline.transcripts.transcript import ParsedTranscript, build_error

NAME, INTERVALS, MAX_COUNT = "TextGrid", "IntervalTier", 1e9
HEADER_PATTERN = re.compile(r'\s*(?:File type\s*=\s*)?"ooTextFile"\s+(?:Object class\s*=\s*)?"TextGrid"')
# A text, a number or a flag between blanks, or an unclosed quote; comments begin with !. Of praatio only the writer is
# used: its reader drops what follows a malformed interval, names no line, and splits texts that contain "item [".
TOKEN_PATTERN = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"|(?<!\S)(?P<number>[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)(?!\S)|(?P<flag><\w+>)|'
    r'(?P<open>")|(?<!\S)![^\n]*',
    re.ASCII,
)
# Names in lower case without numbers. A unit may be the last of several words, as in an aligner's "Ann - words".
UNIT_PATTERN = re.compile(r"words?|phon(?:e(?:me)?s?)?|syllables?|mau|kan")
ANNOTATION_PATTERN = re.compile(  # of the speech, other than its words
    r"comments?|notes?|emotions?|labels?|silences?|noise|events?|gestures?|topics?|pos|translation"
)
GENERAL_NAME_PATTERN = re.compile(
    r"utterances?|sentences?|segments?|transcript(?:ion)?|text|speech|turns?|ort(?:hography)?|tier|unknown|default"
)
NUMBERED_NAME = "{} ({})"  # a further tier of a speaker, who has one of the name alone
NUMBERED_NAME_PATTERN = re.compile(r"(?P<name>.+) \(\d+\)", re.DOTALL)
# A tier of any name holds single words if it has at least so many intervals, nearly all of one word, most abutting.
ENOUGH, NEARLY_ALL, MOST, ABUTTING = 8, 0.95, 0.5, 0.005

Tier = tuple[str, Sequence[Segment]]  # its name, and intervals in order without overlap, labelled by their words


def parse_textgrid(text: str, origin: str) -> ParsedTranscript:
    """Parse the labelled intervals of each tier of utterances."""
    tiers, points = read_tiers(text, origin)
    others = [identify_other(*tier) for tier in tiers]
    notes = [
        f"tier {quote(name)} skipped: it holds {what}" for (name, _), what in zip(tiers, others, strict=True) if what
    ]
    chosen = [tier for tier, what in zip(tiers, others, strict=True) if what is None]
    if not chosen:
        sentence = f"{origin} has no tier of utterances ({'; '.join(notes) or 'no tier of intervals'}). Add one."
        raise MoodlineError(sentence, code="transcript.no_utterance_tier")
    if points:
        notes.append(f"{format_count(points, 'tier')} of points skipped")
    speakers = find_speakers([name for name, _ in chosen])
    cues = [
        (f"{origin}, tier {quote(name)}, interval {number}", replace(interval, speaker=speaker))
        for (name, intervals), speaker in zip(chosen, speakers, strict=True)
        for number, interval in enumerate(intervals, start=1)
        if (interval.words or "").strip()  # an empty interval is silence
    ]
    return ParsedTranscript(NAME, cues, notes)


def read_tiers(text: str, origin: str) -> tuple[list[Tier], int]:
    """Read the tiers of intervals, and count the tiers of points."""
    tokens = TOKEN_PATTERN.finditer(text)

    def read(what: str, kind: str = "number") -> str:
        token = next((one for one in tokens if one.lastgroup), None)
        if token is None:
            raise MoodlineError(f"{origin} ends before {what}. Save it again in Praat.", code="transcript.truncated")
        if token.lastgroup != kind:
            line = text.count("\n", 0, token.start()) + 1
            raise build_error(f"{origin}:{line}", quote(token[0]), what, "transcript.invalid_line")
        return token[kind].replace('""', '"')

    def read_interval() -> Segment:
        start, end = float(read("an interval's start")), float(read("an interval's end"))
        return Segment(start=start, end=end, words=read("an interval's text", "text"))

    read("the type of file", "text")
    read("the class of object", "text")
    read("its start")
    read("its end")
    tiers: list[Tier] = []
    count = int(min(float(read("the number of tiers")), MAX_COUNT)) if read("<exists>", "flag") == "<exists>" else 0
    for _ in range(count):
        kind, name = read("a tier's class", "text"), read("a tier's name", "text")
        read("a tier's start")
        read("a tier's end")
        size = int(min(float(read("a tier's size")), MAX_COUNT))
        if kind == INTERVALS:
            tiers.append((name, [read_interval() for _ in range(size)]))
            continue
        for _ in range(size):
            read("a point's time")
            read("a point's mark", "text")
    return tiers, count - len(tiers)


def identify_other(name: str, intervals: Sequence[Segment]) -> str | None:
    """Identify the content of a tier without utterances; None for a tier of utterances."""
    letters = extract_letters(name)
    if ANNOTATION_PATTERN.fullmatch(letters):
        return "remarks"
    worded = [(one, len(words)) for one in intervals if (words := (one.words or "").split())]
    single = sum(count == 1 for _, count in worded)
    abutting = sum(after.start - before.end <= ABUTTING for (before, _), (after, _) in pairwise(worded))
    has_words = single >= NEARLY_ALL * len(worded) and abutting >= MOST * (len(worded) - 1) and len(worded) >= ENOUGH
    return "words or phones" if has_words or UNIT_PATTERN.fullmatch(letters.split(" ")[-1]) else None


def find_speakers(names: Sequence[str]) -> list[str]:
    """Find each tier's speaker: its name, or empty for a general one; a numbered tier belongs to its first tier."""
    numbered = [NUMBERED_NAME_PATTERN.fullmatch(name) for name in names]
    first = [
        found["name"] if found and found["name"] in names else name for name, found in zip(names, numbered, strict=True)
    ]
    return ["" if GENERAL_NAME_PATTERN.fullmatch(extract_letters(name)) else name for name in first]


def extract_letters(name: str) -> str:
    """Extract the words of a tier's name in lower case, without numbers."""
    return " ".join(re.findall(r"[^\W\d_]+", name.lower()))


def format_textgrid(turns: Sequence[Segment]) -> str:
    """Format a tier for each speaker, in the order in which they begin, without turns without words.

    A speaker's overlapping turns go to further tiers, ``Ann (2)``.
    """
    worded = sorted((turn for turn in turns if turn.words), key=lambda turn: turn.start)
    by_speaker: dict[str, list[Segment]] = defaultdict(list)
    for turn in worded:
        by_speaker[turn.speaker].append(turn)
    tiers = [
        (speaker if number == 1 else NUMBERED_NAME.format(speaker, number), row)
        for speaker, own in by_speaker.items()
        for number, row in enumerate(split_overlaps(own), start=1)
    ]
    return format_tiers(tiers, max((turn.end for turn in worded), default=0.0))


def format_tiers(tiers: Iterable[Tier], end: float) -> str:
    """Format tiers from 0 s to ``end`` in praatio's long form; intervals do not overlap within a tier."""
    from praatio.utilities.textgrid_io import getTextgridAsStr

    span = {"xmin": 0.0, "xmax": end}
    content = [
        {"class": INTERVALS, "name": name, **span, "entries": [(i.start, i.end, i.words or "") for i in intervals]}
        for name, intervals in tiers
    ]
    return getTextgridAsStr({**span, "tiers": content}, "long_textgrid", True, minimumIntervalLength=0.0)


def split_overlaps(segments: Iterable[Segment]) -> list[list[Segment]]:
    """Distribute segments, in order of their starts, over as few rows as hold them without overlap."""
    rows: list[list[Segment]] = []
    for segment in segments:
        row = next((row for row in rows if row[-1].end <= segment.start), [])
        if not row:
            rows.append(row)
        row.append(segment)
    return rows
