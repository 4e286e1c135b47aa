"""The JSON of recognisers: of Whisper (openai-whisper, its API and what writes alike), WhisperX and whisper.cpp."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from moodline.conversation import UNKNOWN, Segment
from moodline.errors import MoodlineError
from moodline.transcripts.subtitles import round_to_milliseconds
from moodline.transcripts.transcript import Cue, ParsedTranscript

WHISPER, WHISPERX, WHISPER_CPP = "JSON of Whisper", "JSON of WhisperX", "JSON of whisper.cpp"
SEGMENTS, TRANSCRIPTION = "segments", "transcription"  # the keys by which they are told

MAX_TIME = 1e15


def parse_whisper(content: Mapping[str, Any], origin: str) -> ParsedTranscript:
    """Turns of segments; the words of a segment do not part it.

    Raises:
        MoodlineError: a segment has no times or no text
    """
    from_cpp = SEGMENTS not in content
    key = TRANSCRIPTION if from_cpp else SEGMENTS
    segments = content[key]
    if not isinstance(segments, list):
        raise MoodlineError(f"{key} is a list of objects: {origin} has {format_value(segments)}; write it again")
    cues = [parse_cue(segment, f"{origin}, segment {number}", from_cpp) for number, segment in enumerate(segments, 1)]
    result = content.get("result")
    language = result.get("language") if isinstance(result, dict) else content.get("language")
    name = WHISPER_CPP if from_cpp else WHISPERX if is_whisperx(content) else WHISPER
    return ParsedTranscript(name, cues, language=language if isinstance(language, str) and language else None)


def is_whisperx(content: Mapping[str, Any]) -> bool:
    return "word_segments" in content or any("speaker" in segment for segment in content[SEGMENTS])


def parse_cue(segment: Any, place: str, from_cpp: bool) -> Cue:
    """A segment; the offsets of whisper.cpp are milliseconds."""
    times = segment.get("offsets") if from_cpp and isinstance(segment, dict) else segment
    names, scale = (("from", "to"), 1000) if from_cpp else (("start", "end"), 1)
    if not isinstance(times, dict) or not all(is_number(times.get(name)) for name in names):
        raise MoodlineError(
            f"a segment has its times as numbers, {names[0]} and {names[1]}: {place} has {format_value(times)}; "
            f"correct it"
        )
    text = segment.get("text")
    if not isinstance(text, str | None):
        raise MoodlineError(f"a segment's text is a text: {place} has {format_value(text)}; correct it")
    start, end = (times[name] / scale for name in names)
    return Cue(place=place, start=start, end=end, words=text, speaker=find_speaker(segment))


def is_number(value: Any) -> bool:
    """Whether a value is a number that can be a time; no NaN is, nor an integer beyond any float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_TIME


def find_speaker(segment: Mapping[str, Any]) -> str:
    """The segment's speaker, or else the only one that its words have."""
    words = segment.get("words")
    named = [word.get("speaker") for word in words if isinstance(word, dict)] if isinstance(words, list) else []
    of_words = {speaker for speaker in named if speaker}
    speaker = segment.get("speaker") or (of_words.pop() if len(of_words) == 1 else "")
    return str(speaker)


def format_value(value: Any) -> str:
    """A value as JSON has it, cut to a glance."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}..."


def format_whisper(turns: Sequence[Segment]) -> str:
    """WhisperX's form, times to the millisecond."""
    return json.dumps({SEGMENTS: [build_segment(turn) for turn in turns]}, indent=2, ensure_ascii=False) + "\n"


def build_segment(turn: Segment) -> dict[str, Any]:
    start, end = (time / 1000 for time in round_to_milliseconds(turn))
    words = {} if turn.words is None else {"text": turn.words}
    speaker = {} if turn.speaker == UNKNOWN else {"speaker": turn.speaker}
    return {"start": start, "end": end, **words, **speaker}
