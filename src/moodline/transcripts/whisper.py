"""The JSON of recognisers: Whisper (openai-whisper, its API and compatible programs), WhisperX and whisper.cpp."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from moodline.conversation import UNKNOWN, Segment
from moodline.errors import MoodlineError
from moodline.transcripts.subtitles import round_to_milliseconds
from moodline.transcripts.transcript import Cue, ParsedTranscript

WHISPER, WHISPERX, WHISPER_CPP = "JSON of Whisper", "JSON of WhisperX", "JSON of whisper.cpp"
SEGMENTS, TRANSCRIPTION = "segments", "transcription"  # the keys that identify them

MAX_TIME = 1e15


def parse_whisper(content: Mapping[str, Any], origin: str) -> ParsedTranscript:
    """Parse each segment as one turn, whatever its words' times.

    Raises:
        MoodlineError: a segment has invalid times or text
    """
    from_cpp = SEGMENTS not in content
    key = TRANSCRIPTION if from_cpp else SEGMENTS
    segments = content[key]
    if not isinstance(segments, list):
        raise MoodlineError(
            f"{key} of {origin} is {format_value(segments)}, expected a list of objects. Export the file again.",
            code="transcript.invalid_json",
        )
    cues = [parse_cue(segment, f"{origin}, segment {number}", from_cpp) for number, segment in enumerate(segments, 1)]
    result = content.get("result")
    language = result.get("language") if isinstance(result, dict) else content.get("language")
    name = WHISPER_CPP if from_cpp else WHISPERX if is_whisperx(content) else WHISPER
    return ParsedTranscript(name, cues, language=language if isinstance(language, str) and language else None)


def is_whisperx(content: Mapping[str, Any]) -> bool:
    return "word_segments" in content or any("speaker" in segment for segment in content[SEGMENTS])


def parse_cue(segment: Any, place: str, from_cpp: bool) -> Cue:
    """Parse a segment; whisper.cpp gives offsets in milliseconds."""
    times = segment.get("offsets") if from_cpp and isinstance(segment, dict) else segment
    names, scale = (("from", "to"), 1000) if from_cpp else (("start", "end"), 1)
    if not isinstance(times, dict) or not all(is_number(times.get(name)) for name in names):
        raise MoodlineError(
            f"{place} has {format_value(times)}, expected the numbers {names[0]} and {names[1]}. Correct it.",
            code="transcript.invalid_time",
        )
    text = segment.get("text")
    if not isinstance(text, str | None):
        raise MoodlineError(
            f"{place} has the text {format_value(text)}, expected a string. Correct it.", code="transcript.invalid_text"
        )
    start, end = (times[name] / scale for name in names)
    return Cue(place, Segment(start=start, end=end, words=text, speaker=find_speaker(segment)))


def is_number(value: Any) -> bool:
    """Check whether a value can be a time: NaN cannot, nor an integer beyond any float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_TIME


def find_speaker(segment: Mapping[str, Any]) -> str:
    """Find the segment's speaker, or else the only speaker of its words."""
    words = segment.get("words")
    named = [word.get("speaker") for word in words if isinstance(word, dict)] if isinstance(words, list) else []
    of_words = {speaker for speaker in named if speaker}
    speaker = segment.get("speaker") or (of_words.pop() if len(of_words) == 1 else "")
    return str(speaker)


def format_value(value: Any) -> str:
    """Format the beginning of a value as JSON."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}..."


def format_whisper(turns: Sequence[Segment]) -> str:
    """Format turns as WhisperX does; times to the millisecond."""
    return json.dumps({SEGMENTS: [build_segment(turn) for turn in turns]}, indent=2, ensure_ascii=False) + "\n"


def build_segment(turn: Segment) -> dict[str, Any]:
    start, end = (time / 1000 for time in round_to_milliseconds(turn))
    words = {} if turn.words is None else {"text": turn.words}
    speaker = {} if turn.speaker == UNKNOWN else {"speaker": turn.speaker}
    return {"start": start, "end": end, **words, **speaker}
