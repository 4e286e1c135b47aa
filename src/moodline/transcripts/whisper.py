"""The JSON of recognisers: Whisper (openai-whisper, its API and compatible programs), WhisperX and whisper.cpp."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from moodline.conversation import UNKNOWN, Segment
from moodline.transcripts.tables import build_record
from moodline.transcripts.transcript import ParsedTranscript, build_error

WHISPER, WHISPERX, WHISPER_CPP = "JSON of Whisper", "JSON of WhisperX", "JSON of whisper.cpp"
SEGMENTS, TRANSCRIPTION = "segments", "transcription"  # the keys that identify them
MAX_TIME = 1e15


def parse_whisper(content: Mapping[str, Any], origin: str) -> ParsedTranscript:
    """Parse each segment as one turn, whatever its words' times."""
    from_cpp = SEGMENTS not in content
    key = TRANSCRIPTION if from_cpp else SEGMENTS
    segments = content[key]
    if not isinstance(segments, list):
        raise build_error(origin, f"the {key} {format_value(segments)}", "a list of objects", "transcript.invalid_json")
    places = [f"{origin}, segment {number}" for number in range(1, len(segments) + 1)]
    cues = [(place, parse_turn(segment, place, from_cpp)) for place, segment in zip(places, segments, strict=True)]
    result = content.get("result")
    language = result.get("language") if isinstance(result, dict) else content.get("language")
    is_whisperx = "word_segments" in content or any("speaker" in segment for segment in segments)
    name = WHISPER_CPP if from_cpp else WHISPERX if is_whisperx else WHISPER
    return ParsedTranscript(name, cues, language=language if isinstance(language, str) and language else None)


def parse_turn(segment: Any, place: str, from_cpp: bool) -> Segment:
    """Parse a segment, its speaker or else the only one of its words; whisper.cpp gives offsets in milliseconds."""
    times = segment.get("offsets") if from_cpp and isinstance(segment, dict) else segment
    first, last, scale = ("from", "to", 1000) if from_cpp else ("start", "end", 1)
    if not isinstance(times, dict) or not (is_time(times.get(first)) and is_time(times.get(last))):
        raise build_error(place, format_value(times), f"the numbers {first} and {last}", "transcript.invalid_time")
    text = segment.get("text")
    if not isinstance(text, str | None):
        raise build_error(place, f"the text {format_value(text)}", "a string", "transcript.invalid_text")
    words = segment.get("words")
    named = [word.get("speaker") for word in words if isinstance(word, dict)] if isinstance(words, list) else []
    of_words = {str(speaker) for speaker in named if speaker}
    speaker = segment.get("speaker") or (of_words.pop() if len(of_words) == 1 else "")
    return Segment(start=times[first] / scale, end=times[last] / scale, words=text, speaker=str(speaker))


def is_time(value: Any) -> bool:
    """Check whether a value can be a time: NaN cannot, nor an integer beyond any float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_TIME


def format_value(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "deeply nested values"
    return text if len(text) <= 80 else f"{text[:80]}..."


def format_whisper(turns: Sequence[Segment]) -> str:
    """Format turns as WhisperX does, which has no key for an unknown speaker."""
    records = [build_record(turn) for turn in turns]
    for record in records:
        if (speaker := record.pop("speaker")) != UNKNOWN:
            record["speaker"] = speaker  # as the last key
    return json.dumps({SEGMENTS: records}, indent=2, ensure_ascii=False) + "\n"
