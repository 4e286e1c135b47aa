"""NIST's text formats of turns and words: RTTM, STM and CTM.

RTTM has speakers and times, without words (RT-09 evaluation plan, appendix A), STM turns with words, and CTM words with
times (SCTK, doc/infmts.htm).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from moodline.conversation import UNKNOWN, Segment
from moodline.errors import format_count, quote
from moodline.transcripts.transcript import Cue, ParsedTranscript, build_error, format_places, group_words

RTTM, STM, CTM = "RTTM", "STM", "CTM"
SPEAKER, MISSING, COMMENT = "SPEAKER", "<NA>", ";;"
OTHER_TYPES = frozenset(  # types of RTTM's lines that are not turns
    {"SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH"}
    | {"FILLER", "EDIT", "IP", "SU", "CB", "A/P", "SPKR-INFO"}
)
COMMENTS = rf"\s*(?:(?<![^\r\n]){COMMENT}[^\r\n]*[\r\n]\s*)*"
TYPE_PATTERN = "|".join(map(re.escape, (SPEAKER, *OTHER_TYPES)))
RTTM_PATTERN = re.compile(rf"{COMMENTS}(?:{TYPE_PATTERN})(?:[^\S\r\n]+\S+){{4}}")  # a line of five or more cells
SAMPLE_LINES = 3  # that show whether a text is STM or CTM
TIME_PATTERN = re.compile(r"\d+(?:\.\d*)?", re.ASCII)
STM_LABEL = re.compile(r"<[^<>]*>")  # of the conditions of a turn, before its words
STM_IGNORED = frozenset({"ignore_time_segment_in_scoring", "<noise>"})
CTM_WORD_TYPES = frozenset({"lex"})  # of the column after the confidence, where there is one


def iter_lines(text: str, origin: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each line's place and cells, without comments."""
    for number, line in enumerate(text.splitlines(), start=1):
        if (cells := line.split()) and not line.lstrip().startswith(COMMENT):
            yield f"{origin}:{number}", cells


def refuse_several_recordings(names: Sequence[str], origin: str) -> None:
    """Refuse a file with lines of several recordings."""
    recordings = list(dict.fromkeys(names))
    if len(recordings) > 1:
        found = f"{format_count(len(recordings), 'recording')} ({format_places(recordings)})"
        raise build_error(origin, found, "the lines of one", "transcript.several_recordings")


def parse_rttm(text: str, origin: str) -> ParsedTranscript:
    """Parse the turns of the file's one recording; refuse several recordings."""
    lines = list(iter_lines(text, origin))
    turns = [(place, cells) for place, cells in lines if cells[0] not in OTHER_TYPES]
    cues = [(place, parse_rttm_turn(cells, place)) for place, cells in turns]
    refuse_several_recordings([cells[1] for _, cells in turns], origin)
    others = len(lines) - len(turns)
    notes = [f"{format_count(others, 'line')} of other types than {SPEAKER} skipped"] if others else []
    return ParsedTranscript(RTTM, cues, notes)


def parse_rttm_turn(cells: Sequence[str], place: str) -> Segment:
    try:
        kind, _, _, start, duration, _, _, name, *_ = cells
        if kind != SPEAKER:
            raise ValueError
        begin = float(start)
        end = round(begin + float(duration), 6)  # not 0.30000000000000004 of 0.1 and 0.2
    except ValueError:
        expected = f"{SPEAKER} file channel start duration {MISSING} {MISSING} name {MISSING} {MISSING}"
        raise build_error(place, quote(" ".join(cells)), expected, "transcript.invalid_line") from None
    return Segment(start=begin, end=end, speaker=UNKNOWN if name == MISSING else name)


def parse_stm(text: str, origin: str) -> ParsedTranscript:
    """Parse the turns of the file's one recording; segments that scoring ignores are left out."""
    lines = list(iter_lines(text, origin))
    refuse_several_recordings([cells[0] for _, cells in lines], origin)
    cues = [(place, parse_stm_turn(cells, place)) for place, cells in lines]
    scored = [(place, turn) for place, turn in cues if (turn.words or "").lower() not in STM_IGNORED]
    ignored = len(cues) - len(scored)
    notes = [f"{format_count(ignored, 'segment')} that scoring ignores left out"] if ignored else []
    return ParsedTranscript(STM, scored, notes)


def parse_stm_turn(cells: Sequence[str], place: str) -> Segment:
    try:
        _, _, speaker, start, end, *words = cells
        begin, stop = float(start), float(end)
    except ValueError:
        expected = "file channel speaker start end words"
        raise build_error(place, quote(" ".join(cells)), expected, "transcript.invalid_line") from None
    if words and STM_LABEL.fullmatch(words[0]) and words[0].lower() not in STM_IGNORED:
        words = words[1:]
    return Segment(start=begin, end=stop, speaker=speaker, words=" ".join(words))


def parse_ctm(text: str, origin: str) -> ParsedTranscript:
    """Parse the words of the file's one recording, and group them to turns; with two channels, each is a speaker."""
    lines = list(iter_lines(text, origin))
    refuse_several_recordings([cells[0] for _, cells in lines], origin)
    channels = list(dict.fromkeys(cells[1] for _, cells in lines if len(cells) > 1))
    words = [(place, parse_ctm_word(cells, place)) for place, cells in lines]
    cues: list[Cue] = []
    for channel in channels:
        speaker = f"channel {channel}" if len(channels) > 1 else UNKNOWN
        own = [
            (place, replace(word, speaker=speaker))
            for (place, word), (_, cells) in zip(words, lines, strict=True)
            if word is not None and cells[1] == channel
        ]
        cues += group_words(own)
    return ParsedTranscript(CTM, cues)


def parse_ctm_word(cells: Sequence[str], place: str) -> Segment | None:
    """Parse a word; None for what is no word, such as a noise."""
    try:
        _, _, start, duration, word, *others = cells
        begin = float(start)
        end = round(begin + float(duration), 6)
    except ValueError:
        expected = "file channel start duration word"
        raise build_error(place, quote(" ".join(cells)), expected, "transcript.invalid_line") from None
    if len(others) > 1 and others[1].lower() not in CTM_WORD_TYPES:
        return None
    return Segment(start=begin, end=end, words=word)


def detect_line_format(text: str) -> Callable[[str, str], ParsedTranscript] | None:
    """Detect STM or CTM by the numbers in the first lines; neither has a mark of its own."""
    lines = [cells for _, cells in islice(iter_lines(text, ""), SAMPLE_LINES)]
    if lines and all(is_time(cells, 2) and is_time(cells, 3, 5) for cells in lines):
        return parse_ctm  # of which words may be numbers, too
    spans = (is_time(cells, 3) and is_time(cells, 4) and float(cells[3]) < float(cells[4]) for cells in lines)
    return parse_stm if lines and all(spans) else None


def is_time(cells: Sequence[str], place: int, least: int = 0) -> bool:
    """Check whether a cell is a number, in a line of at least ``least`` cells."""
    return len(cells) >= max(least, place + 1) and TIME_PATTERN.fullmatch(cells[place]) is not None


def format_rttm(turns: Sequence[Segment]) -> str:
    """Format turns without words, and ``_`` for blanks in names, which RTTM cannot hold."""
    names = [MISSING if turn.speaker == UNKNOWN else re.sub(r"\s+", "_", turn.speaker) for turn in turns]
    return "".join(
        f"{SPEAKER} recording 1 {turn.start:.3f} {turn.end - turn.start:.3f} {MISSING} {MISSING} {name} {MISSING} "
        f"{MISSING}\n"
        for turn, name in zip(turns, names, strict=True)
    )
