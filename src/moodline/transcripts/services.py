"""The JSON of speech recognition services, and of Hugging Face's pipeline.

Transformers: https://huggingface.co/docs/transformers/main_classes/pipelines (AutomaticSpeechRecognitionPipeline)
AssemblyAI: https://www.assemblyai.com/docs/api-reference/transcripts/get
Deepgram: https://developers.deepgram.com/docs/utterances and https://developers.deepgram.com/docs/multichannel
Amazon Transcribe: https://docs.aws.amazon.com/transcribe/latest/dg/diarization-output-batch.html and
channel-id-output-batch.html; Call Analytics: tca-output-batch.html
Google Speech-to-Text: https://cloud.google.com/speech-to-text/docs/multiple-voices, and the same page of v2
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, NamedTuple

from moodline.conversation import UNKNOWN, Segment
from moodline.errors import MoodlineError
from moodline.transcripts.tables import LocatedRow
from moodline.transcripts.transcript import Cue, ParsedTranscript, build_error, group_words
from moodline.transcripts.whisper import SEGMENTS, TRANSCRIPTION, format_value, is_time

PIPELINE, ASSEMBLYAI, DEEPGRAM = "JSON of Transformers", "JSON of AssemblyAI", "JSON of Deepgram"
TRANSCRIBE, CALL_ANALYTICS = "JSON of Amazon Transcribe", "JSON of Amazon Call Analytics"
GOOGLE = "JSON of Google Speech-to-Text"
FORMATS = (PIPELINE, ASSEMBLYAI, DEEPGRAM, TRANSCRIBE, CALL_ANALYTICS, GOOGLE)
ENOUGH, NEARLY_ALL = 4, 0.9  # the pipeline's chunks are words if there are so many, and this share is single words
# Thai, Lao and Burmese letters, kana, Han and full-width marks: no blanks separate words of these.
SPACELESS = r"[\u0e00-\u0eff\u1000-\u109f\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]"
SPACELESS_LETTER, SPACELESS_GAP = re.compile(SPACELESS), re.compile(rf"(?<={SPACELESS}) (?={SPACELESS})")
MAX_SPACELESS = 4  # of them in a word
NUMBER_PATTERN = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)s?\s*", re.ASCII)  # protobuf's durations end in s

Parser = Callable[[Mapping[str, Any], str], ParsedTranscript]  # of an object; the second argument names it in errors


class Layout(NamedTuple):
    """The keys of a turn or a word; of several, the first that is not null counts.

    ``scale`` units of its times make a second; ``missing_time`` is what a missing time means.
    """

    text: Sequence[str]
    start: Sequence[str]
    end: Sequence[str]
    speaker: Sequence[str]
    scale: int = 1
    missing_time: int | None = None


class Result(NamedTuple):
    """A result of Google's: its channel as a speaker; the end is None if neither it nor its words have one."""

    place: str
    speaker: str
    text: str
    words: Sequence[Cue]
    end: float | None


ASSEMBLYAI_LAYOUT = Layout(["text"], ["start"], ["end"], ["speaker"], scale=1000)
DEEPGRAM_LAYOUT = Layout(["transcript", "punctuated_word", "word"], ["start"], ["end"], ["speaker"])
AMAZON_SPEAKERS, PARTICIPANTS = ["speaker_label", "channel_label"], ["ParticipantRole", "ParticipantId"]
TRANSCRIBE_LAYOUT = Layout(["transcript", "content"], ["start_time"], ["end_time"], AMAZON_SPEAKERS)
CALL_LAYOUT = Layout(["Content"], ["BeginOffsetMillis"], ["EndOffsetMillis"], PARTICIPANTS, scale=1000)
GOOGLE_LAYOUT = Layout(
    ["word"],
    ["startTime", "startOffset", "start_time", "start_offset"],
    ["endTime", "endOffset", "end_time", "end_offset"],
    ["speakerLabel", "speaker_label", "speakerTag", "speaker_tag"],
    missing_time=0,  # protobuf omits zeros
)
GOOGLE_ENDS = ["resultEndTime", "resultEndOffset", "result_end_time", "result_end_offset"]
GOOGLE_CHANNELS, GOOGLE_LANGUAGES = ["channelTag", "channel_tag"], ["languageCode", "language_code"]


def find_service(content: Mapping[str, Any]) -> Parser | None:
    """Return the parser of the service whose keys a JSON object has; None for another object.

    Words without times identify no service, and objects with a key of Whisper or whisper.cpp belong to these.
    """
    if not content.keys().isdisjoint({SEGMENTS, TRANSCRIPTION}):
        return None
    if find_chunks(content) is not None:
        return parse_pipeline
    # Other services have the same keys and seconds, but no confidence; an utterance alone has a start.
    keys = {"text", "start", "end", "confidence"}
    if "start" not in content and any(has_row(content.get(name), keys) for name in ("utterances", "words")):
        return parse_assemblyai
    if has_row(content.get("Transcript"), {"BeginOffsetMillis"}):
        return parse_call_analytics
    results = content.get("results")
    if isinstance(results, dict) and isinstance(results.get("channels"), list):
        return parse_deepgram
    if isinstance(results, dict) and not results.keys().isdisjoint({"items", "audio_segments", "channel_labels"}):
        return parse_transcribe
    return parse_google if are_google_results(find_results(content)) else None


def has_row(value: Any, keys: Set[str]) -> bool:
    """Check whether a value is a list with an object that has all of some keys."""
    return isinstance(value, list) and any(isinstance(row, dict) and keys <= row.keys() for row in value)


def parse_pipeline(content: Mapping[str, Any], origin: str) -> ParsedTranscript:
    """Parse each chunk as a turn, or group chunks of a word each.

    A null end is the next chunk's start, and the last one's is infinite: the recording's.
    """
    rows = list_rows(find_chunks(content), origin, "chunk")
    spans = [parse_span(row.get("timestamp"), place) for place, row in rows]
    following = [*(start for start, _ in spans[1:]), math.inf]
    cues: list[Cue] = []
    for (place, row), (start, end), after in zip(rows, spans, following, strict=True):
        speaker, text = name_speaker(row.get("speaker"), place), parse_text(row.get("text"), place)
        cues.append((place, Segment(start=start, end=after if end is None else end, speaker=speaker, words=text)))
    texts = [turn.words or "" for _, turn in cues]
    if max(map(len, texts)) < 2 and any(map(str.isspace, texts)):
        expected = 'words or sentences, with return_timestamps="word" or True'
        raise build_error(origin, "chunks of single letters", expected, "transcript.invalid_text")
    if are_words(texts):
        cues = build_turns(cues)
    language = find_language(row.get("language") for _, row in rows)
    return ParsedTranscript(PIPELINE, cues, language=language, has_open_end=True)


def find_chunks(content: Mapping[str, Any]) -> Any:
    """Find the chunks, or the chunks with speakers that insanely-fast-whisper adds; None without either."""
    return next((content[key] for key in ("speakers", "chunks") if has_row(content.get(key), {"timestamp"})), None)


def parse_span(value: Any, place: str) -> tuple[float, float | None]:
    """Parse a start and an end that may be null, in seconds."""
    if not isinstance(value, list) or len(value) != 2:
        raise build_value_error(place, "the timestamp", value, "a start and an end", "transcript.invalid_time")
    start, end = value
    return parse_time(start, "start", place), None if end is None else parse_time(end, "end", place)


def are_words(texts: Sequence[str]) -> bool:
    """Check whether nearly all texts are single words."""
    single = sum(len(text.split()) < 2 and len(SPACELESS_LETTER.findall(text)) <= MAX_SPACELESS for text in texts)
    return len(texts) >= ENOUGH and single >= NEARLY_ALL * len(texts)


def parse_assemblyai(content: Mapping[str, Any], origin: str) -> ParsedTranscript:
    """Parse the utterances, which files with speakers or channels have, or group the words."""
    cues = parse_rows(content.get("utterances"), origin, "utterance", ASSEMBLYAI_LAYOUT)
    cues = cues or build_turns(parse_rows(content.get("words"), origin, "word", ASSEMBLYAI_LAYOUT))
    return ParsedTranscript(ASSEMBLYAI, cues, language=find_language([content.get("language_code")]))


def parse_deepgram(content: Mapping[str, Any], origin: str) -> ParsedTranscript:
    """Parse the utterances, or group each channel's words."""
    results = content["results"]
    channels = list_rows(results.get("channels"), origin, "channel")
    several = len(channels) > 1
    cues: list[Cue] = []
    for place, row in list_rows(results.get("utterances"), origin, "utterance"):
        cues.append(parse_row(row, place, DEEPGRAM_LAYOUT, row.get("channel") if several else None))
    for number, (place, channel) in enumerate([] if cues else channels):
        words = get_best(channel, place).get("words")
        cues += build_turns(parse_rows(words, place, "word", DEEPGRAM_LAYOUT, number if several else None))
    language = find_language(channel.get("detected_language") for _, channel in channels)
    return ParsedTranscript(DEEPGRAM, cues, language=language)


def parse_transcribe(content: Mapping[str, Any], origin: str) -> ParsedTranscript:
    """Parse the segments, or, in files without any, group the items of each channel or of the recording."""
    results = content["results"]
    cues = parse_rows(results.get("audio_segments"), origin, "segment", TRANSCRIBE_LAYOUT)
    if not cues:
        speakers = parse_speakers(get_object(results, "speaker_labels", origin), origin)
        channels = list_rows(get_object(results, "channel_labels", origin).get("channels"), origin, "channel")
        for place, owner in channels or [(origin, results)]:
            cues += build_turns(parse_items(owner, place, speakers))
    return ParsedTranscript(TRANSCRIBE, cues, language=find_language([results.get("language_code")]))


def parse_speakers(labels: Mapping[str, Any], origin: str) -> dict[float, str]:
    """Parse the speakers that older files have beside the items, by the items' starts."""
    speakers: dict[float, str] = {}
    for owner, segment in list_rows(labels.get("segments"), origin, "speaker's segment"):
        for place, item in list_rows(segment.get("items"), owner, "item"):
            label = item.get("speaker_label") or segment.get("speaker_label")
            speakers[parse_time(item.get("start_time"), "start_time", place)] = name_speaker(label, place)
    return speakers


def parse_items(owner: Mapping[str, Any], place: str, speakers: Mapping[float, str]) -> list[Cue]:
    """Parse the words of a channel or of a recording, each with the punctuation after it."""
    words: list[Cue] = []
    for where, item in list_rows(owner.get("items"), place, "item"):
        best = get_best(item, where)
        if item.get("type") == "punctuation":
            mark = parse_text(best.get("content"), where)
            words[-1:] = [(before, replace(word, words=f"{word.words}{mark}")) for before, word in words[-1:]]
        else:
            row = {"channel_label": owner.get("channel_label"), **item, **best}
            _, word = parse_row(row, where, TRANSCRIBE_LAYOUT)
            words.append((where, replace(word, speaker=speakers.get(word.start, word.speaker))))
    return words


def parse_call_analytics(content: Mapping[str, Any], origin: str) -> ParsedTranscript:
    """Parse each turn of a call."""
    cues = parse_rows(content["Transcript"], origin, "turn", CALL_LAYOUT)
    return ParsedTranscript(CALL_ANALYTICS, cues, language=find_language([content.get("LanguageCode")]))


def are_google_results(results: Any) -> bool:
    """Check whether results are Google's: IBM's, which resemble them, have the key final, Speechmatics' type."""
    return isinstance(results, list) and any(
        isinstance(row, dict)
        and row.keys().isdisjoint({"final", "type"})
        and any(has_row(row.get("alternatives"), {key}) for key in ("transcript", "words"))
        for row in results
    )


def find_results(content: Mapping[str, Any]) -> Any:
    """Find the results of a response, or of an operation, which in v2 has them below the name of its only file."""
    response = content.get("response")
    results = (response if isinstance(response, dict) else content).get("results")
    if not isinstance(results, dict) or len(results) != 1:
        return results
    (found,) = results.values()
    for keys in (["inlineResult", "inline_result"], ["transcript"], ["results"]):
        found = get_first(found, keys) if isinstance(found, dict) else None
    return found


def parse_google(content: Mapping[str, Any], origin: str) -> ParsedTranscript:
    """Parse the last result alone if it repeats the words of all, as it does with speakers, or else each result."""
    rows = list_rows(find_results(content), origin, "result")
    tags = [get_first(row, GOOGLE_CHANNELS) for _, row in rows]
    several = len({tag for tag in tags if isinstance(tag, int | str) and tag}) > 1
    results = [parse_result(row, place, tag if several else None) for (place, row), tag in zip(rows, tags, strict=True)]
    *others, last = results
    spoken = [(place, word) for place, word in last.words if word.speaker != UNKNOWN]
    # Results of one channel follow each other, unless one repeats another's words.
    first_end = others[0].end if others else 0.0
    repeats = bool(spoken) and not several and (first_end is None or spoken[0][1].start < first_end)
    cues = build_turns(spoken) if repeats else join_results(results)
    return ParsedTranscript(GOOGLE, cues, language=find_language(get_first(row, GOOGLE_LANGUAGES) for _, row in rows))


def parse_result(row: Mapping[str, Any], place: str, channel: Any) -> Result:
    """Parse a result, without words if they have no times."""
    best = get_best(row, place)
    words = [
        # Protobuf's default values, an empty label and the tag 0, are no speakers.
        (where, {key: value for key, value in word.items() if value or key not in GOOGLE_LAYOUT.speaker})
        for where, word in list_rows(best.get("words"), place, "word")
    ]
    timed = any(get_first(word, GOOGLE_LAYOUT.end) is not None for _, word in words)
    cues = [parse_row(word, where, GOOGLE_LAYOUT, channel) for where, word in words] if timed else []
    end = get_first(row, GOOGLE_ENDS, cues[-1][1].end if cues else None)
    text = parse_text(best.get("transcript") or "", place)
    seconds = None if end is None else parse_time(end, GOOGLE_ENDS[0], place)
    return Result(place, name_speaker(None, place, channel), text, cues, seconds)


def join_results(results: Sequence[Result]) -> list[Cue]:
    """Group each result's words; a result without words lasts from the end of its channel's last one to its own."""
    cues: list[Cue] = []
    ends: dict[str, float] = {}
    for place, speaker, text, words, end in results:
        if words:
            cues += build_turns(words)
        elif text and end is None:
            raise build_error(place, "no times", f"times of words or {GOOGLE_ENDS[0]}", "transcript.invalid_time")
        elif text and end is not None:
            cues.append((place, Segment(start=ends.get(speaker, 0.0), end=end, speaker=speaker, words=text)))
        if end is not None:
            ends[speaker] = end
    return cues


def parse_rows(value: Any, place: str, noun: str, layout: Layout, channel: Any = None) -> list[Cue]:
    """Parse a list of turns or words; see ``list_rows`` and ``parse_row``."""
    return [parse_row(row, where, layout, channel) for where, row in list_rows(value, place, noun)]


def parse_row(row: Mapping[str, Any], place: str, layout: Layout, channel: Any = None) -> Cue:
    """Parse a turn or a word; ``channel`` is its number in a file of several."""
    start, end = (
        parse_time(get_first(row, keys, layout.missing_time), keys[0], place) / layout.scale
        for keys in (layout.start, layout.end)
    )
    speaker = name_speaker(get_first(row, layout.speaker), place, channel)
    return place, Segment(start=start, end=end, speaker=speaker, words=parse_text(get_first(row, layout.text), place))


def list_rows(value: Any, place: str, noun: str) -> list[LocatedRow]:
    """List the objects of a list, each with its place; none for null."""
    rows = [] if value is None else value
    if not isinstance(rows, list):
        raise build_value_error(place, f"the {noun}s", rows, "a list of objects", "transcript.invalid_json")
    located = [(f"{place}, {noun} {number}", row) for number, row in enumerate(rows, start=1)]
    for where, row in located:
        if not isinstance(row, dict):
            raise build_value_error(where, "the value", row, "an object", "transcript.invalid_json")
    return located


def get_object(owner: Mapping[str, Any], key: str, place: str) -> Mapping[str, Any]:
    """Get an object; an empty one for null."""
    value = owner.get(key)
    if not isinstance(value, dict | None):
        raise build_value_error(place, f"the {key}", value, "an object", "transcript.invalid_json")
    return value or {}


def get_best(owner: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """Get the first alternative, which is the most probable one; an empty object without any."""
    return next((row for _, row in list_rows(owner.get("alternatives"), place, "alternative")), {})


def get_first(row: Mapping[str, Any], keys: Iterable[str], default: Any = None) -> Any:
    """Get the value of the first key whose value is not null."""
    return next((row[key] for key in keys if row.get(key) is not None), default)


def parse_time(value: Any, name: str, place: str) -> float:
    """Parse a number, its text such as ``1.300s``, or an object of seconds and nanoseconds."""
    whole, nanoseconds = (value.get("seconds", 0), value.get("nanos", 0)) if isinstance(value, dict) else (value, 0)
    numbers = [parse_number(whole), parse_number(nanoseconds)]
    if not all(map(is_time, numbers)):
        raise build_value_error(place, f"the {name}", value, "a time", "transcript.invalid_time")
    return numbers[0] + numbers[1] / 1e9


def parse_number(value: Any) -> Any:
    """Parse the text of a number; another value stays."""
    found = NUMBER_PATTERN.fullmatch(value) if isinstance(value, str) else None
    return float(found[1]) if found else value


def parse_text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise build_value_error(place, "the text", value, "a string", "transcript.invalid_text")
    return value


def build_value_error(place: str, name: str, value: Any, expected: str, code: str) -> MoodlineError:
    """Describe a malformed value of a name."""
    return build_error(place, f"{name} {format_value(value)}", expected, code)


def name_speaker(speaker: Any, place: str, channel: Any = None) -> str:
    """Name a speaker as the file does, such as ``A`` or ``spk_0``; a bare number, such as 0, becomes ``speaker 0``.

    The channels of a file may number their speakers apart, so a channel comes first: ``channel 1, speaker 0``.
    """
    names: list[str] = []
    for kind, value in (("channel", channel), ("speaker", speaker)):
        if not isinstance(value, str | int | None) or isinstance(value, bool):
            raise build_value_error(place, f"the {kind}", value, "a name or a number", "transcript.invalid_json")
        text = "" if value is None else str(value).strip()
        names.append(f"{kind} {text}" if text.isdecimal() else text)
    return ", ".join(filter(None, names)) or UNKNOWN


def find_language(values: Iterable[Any]) -> str | None:
    """Find the most frequent language; None if none is named."""
    counts = Counter(value for value in values if isinstance(value, str) and value)
    return max(counts, key=lambda language: counts[language], default=None)


def build_turns(words: Sequence[Cue]) -> list[Cue]:
    """Group words to turns, without blanks between letters of languages that use none."""
    return [(place, replace(turn, words=SPACELESS_GAP.sub("", turn.words or ""))) for place, turn in group_words(words)]
