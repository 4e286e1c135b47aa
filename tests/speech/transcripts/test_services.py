"""The JSON of recognition services and of Hugging Face's pipeline."""

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.errors import MoodlineError
from moodline.transcripts import services
from moodline.transcripts.services import find_service
from moodline.transcripts.transcript import ParsedTranscript
from tests.refusals import refuses

CHUNKS = {
    "text": " You said you would call. I forgot.",
    "chunks": [
        {"timestamp": [0.0, 2.1], "text": " You said you would call.", "language": "english"},
        {"timestamp": [2.1, None], "text": " I forgot.", "language": "english"},
    ],
}
WORD_CHUNKS = {
    "text": " Where were you? At work.",
    "chunks": [
        {"text": " Where", "timestamp": [0.0, 0.4], "speaker": "SPEAKER_00"},
        {"text": " were", "timestamp": [0.4, 0.6], "speaker": "SPEAKER_00"},
        {"text": " you?", "timestamp": [0.6, 1.0], "speaker": "SPEAKER_00"},
        {"text": " At", "timestamp": [1.0, 1.2], "speaker": "SPEAKER_01"},
        {"text": " work.", "timestamp": [1.2, 1.8], "speaker": "SPEAKER_01"},
    ],
}
ASSEMBLYAI = {
    "id": "5e0f8f3a",
    "status": "completed",
    "language_code": "en_us",
    "text": "You always forget. I am sorry.",
    "words": [
        {"text": "You", "start": 250, "end": 650, "confidence": 0.97, "speaker": "A"},
        {"text": "always", "start": 730, "end": 1022, "confidence": 0.99, "speaker": "A"},
        {"text": "forget.", "start": 1076, "end": 1466, "confidence": 0.9, "speaker": "A"},
        {"text": "I", "start": 1500, "end": 1600, "confidence": 0.9, "speaker": "B"},
        {"text": "am", "start": 1620, "end": 1700, "confidence": 0.9, "speaker": "B"},
        {"text": "sorry.", "start": 1720, "end": 2100, "confidence": 0.9, "speaker": "B"},
    ],
    "utterances": [
        {"speaker": "A", "text": "You always forget.", "start": 250, "end": 1466, "confidence": 0.95, "words": []},
        {"speaker": "B", "text": "I am sorry.", "start": 1500, "end": 2100, "confidence": 0.9, "words": []},
    ],
}
ASSEMBLYAI_WORDS = {**ASSEMBLYAI, "utterances": None}
DEEPGRAM_WORDS = {
    "metadata": {"duration": 4.5, "channels": 1},
    "results": {
        "channels": [
            {
                "alternatives": [
                    {
                        "transcript": "Hello. Who is there?",
                        "confidence": 0.98,
                        "words": [
                            {"word": "hello", "punctuated_word": "Hello.", "start": 0.25, "end": 0.75, "speaker": 0},
                            {"word": "who", "punctuated_word": "Who", "start": 1, "end": 1.25, "speaker": 1},
                            {"word": "is", "start": 1.25, "end": 1.5, "speaker": 1},
                            {"word": "there", "punctuated_word": "there?", "start": 1.5, "end": 2, "speaker": 1},
                        ],
                    }
                ],
                "detected_language": "en",
            }
        ]
    },
}
DEEPGRAM_CHANNELS = {
    "metadata": {"channels": 2},
    "results": {
        "channels": [
            {"alternatives": [{"words": [{"word": "later", "start": 2.0, "end": 2.5}]}], "detected_language": "de"},
            {"alternatives": [{"words": [{"word": "first", "start": 0.5, "end": 1.0}]}], "detected_language": "de"},
        ]
    },
}
DEEPGRAM_UTTERANCES = {
    "results": {
        **DEEPGRAM_CHANNELS["results"],
        "utterances": [
            {"start": 2.0, "end": 2.5, "transcript": "Later.", "speaker": 0, "channel": 0, "words": []},
            {"start": 0.5, "end": 1.0, "transcript": "First.", "speaker": 0, "channel": 1, "words": []},
        ],
    }
}


def make_item(start: str, end: str, content: str, **labels: str) -> dict[str, Any]:
    alternatives = [{"confidence": "0.99", "content": content}]
    return {"type": "pronunciation", "start_time": start, "end_time": end, "alternatives": alternatives, **labels}


def make_mark(content: str) -> dict[str, Any]:
    return {"type": "punctuation", "alternatives": [{"confidence": "0.0", "content": content}]}


TRANSCRIBE_ITEMS = {
    "jobName": "holiday",
    "accountId": "111122223333",
    "status": "COMPLETED",
    "results": {
        "transcripts": [{"transcript": "Well, wait. Sorry."}],
        "language_code": "en-US",
        "items": [
            make_item("0.04", "0.5", "Well"),
            make_mark(","),
            make_item("0.5", "0.9", "wait"),
            make_mark("."),
            make_item("1.0", "1.5", "Sorry"),
            make_mark("."),
        ],
        "speaker_labels": {
            "speakers": 2,
            "segments": [
                {
                    "start_time": "0.04",
                    "end_time": "0.9",
                    "speaker_label": "spk_0",
                    "items": [
                        {"start_time": "0.04", "end_time": "0.5", "speaker_label": "spk_0"},
                        {"start_time": "0.5", "end_time": "0.9", "speaker_label": "spk_0"},
                    ],
                },
                {"speaker_label": "spk_1", "items": [{"start_time": "1.0", "end_time": "1.5"}]},
            ],
        },
    },
}
TRANSCRIBE_SEGMENTS = {
    "jobName": "holiday",
    "results": {
        **TRANSCRIBE_ITEMS["results"],
        "audio_segments": [
            {"id": 0, "transcript": "Well, wait.", "start_time": "0.0", "end_time": "0.9", "speaker_label": "spk_0"},
            {"id": 1, "transcript": "Sorry.", "start_time": "0.95", "end_time": "1.6", "channel_label": "ch_1"},
        ],
    },
}
TRANSCRIBE_CHANNELS = {
    "results": {
        "items": [],
        "channel_labels": {
            "number_of_channels": 2,
            "channels": [
                {"channel_label": "ch_0", "items": [make_item("4.86", "5.01", "Hm"), make_mark("?")]},
                {"channel_label": "ch_1", "items": [make_item("4.9", "5.2", "Yes", channel_label="ch_1")]},
            ],
        },
    }
}
CALL_ANALYTICS = {
    "JobStatus": "COMPLETED",
    "LanguageCode": "en-US",
    "Transcript": [
        {
            "Content": "What can I do?",
            "BeginOffsetMillis": 12180,
            "EndOffsetMillis": 16960,
            "Sentiment": "NEUTRAL",
            "ParticipantRole": "AGENT",
        },
        {"Content": "Nothing.", "BeginOffsetMillis": 17140, "EndOffsetMillis": 19860, "ParticipantId": "CUSTOMER"},
    ],
}
GOOGLE_V1 = {  # with speakers: the last result repeats all words
    "name": "7612202767953098924",
    "done": True,
    "response": {
        "@type": "type.googleapis.com/google.cloud.speech.v1.LongRunningRecognizeResponse",
        "results": [
            {
                "alternatives": [
                    {
                        "transcript": "hi I'd like one",
                        "words": [
                            {"endTime": "1.300s", "word": "hi"},
                            {"startTime": "1.300s", "endTime": "1.400s", "word": "I'd"},
                            {"startTime": "1.400s", "endTime": "1.500s", "word": "like"},
                            {"startTime": "1.500s", "endTime": "2s", "word": "one"},
                        ],
                    }
                ],
                "resultEndTime": "2.100s",
                "languageCode": "en-us",
            },
            {
                "alternatives": [
                    {"transcript": " sure", "words": [{"startTime": "2.500s", "endTime": "3s", "word": "sure"}]}
                ],
                "resultEndTime": "3.500s",
                "languageCode": "en-us",
            },
            {
                "alternatives": [
                    {
                        "words": [
                            {"endTime": "1.300s", "word": "hi", "speakerTag": 1},
                            {"startTime": "1.300s", "endTime": "1.400s", "word": "I'd", "speakerTag": 2},
                            {"startTime": "1.400s", "endTime": "1.500s", "word": "like", "speakerTag": 2},
                            {"startTime": "1.500s", "endTime": "2s", "word": "one", "speakerTag": 2},
                            {"startTime": "2.500s", "endTime": "3s", "word": "sure", "speakerTag": 1},
                            {"startTime": "3s", "endTime": "3.200s", "word": "sure", "speakerTag": 0},
                        ]
                    }
                ],
                "resultEndTime": "3.500s",
            },
        ],
    },
}
GOOGLE_V2 = {  # as a batch writes it: each result has its own words
    "results": [
        {
            "alternatives": [
                {
                    "transcript": "Are you there?",
                    "words": [
                        {"startOffset": "0.100s", "endOffset": "0.400s", "word": "Are", "speakerLabel": "1"},
                        {"startOffset": "0.400s", "endOffset": "0.600s", "word": "you", "speakerLabel": "1"},
                        {"startOffset": "0.600s", "endOffset": "1s", "word": "there?", "speakerLabel": "1"},
                    ],
                }
            ],
            "resultEndOffset": "1.200s",
            "languageCode": "en-US",
        },
        {
            "alternatives": [
                {"words": [{"startOffset": "1.500s", "endOffset": "2s", "word": "Yes.", "speakerLabel": "patient"}]}
            ],
            "resultEndOffset": "2.200s",
            "languageCode": "en-US",
        },
    ],
    "metadata": {"totalBilledDuration": "3s"},
}
GOOGLE_INLINE = {
    "done": True,
    "response": {"results": {"gs://bucket/talk.wav": {"inlineResult": {"transcript": GOOGLE_V2}, "metadata": {}}}},
}
GOOGLE_SNAKE_CASE = {
    "results": [
        {
            "alternatives": [
                {
                    "transcript": "no",
                    "words": [
                        {
                            "word": "no",
                            "start_time": {"seconds": "1", "nanos": 300000000},
                            "end_time": {"seconds": 2},
                            "speaker_label": "",
                            "speaker_tag": 3,
                        }
                    ],
                }
            ],
            "result_end_time": {"seconds": "2", "nanos": 500000000},
            "language_code": "fr-fr",
            "channel_tag": 0,
        }
    ]
}
GOOGLE_WORDLESS = {
    "results": [
        {"alternatives": [{"transcript": "one"}], "resultEndTime": "1.500s", "channelTag": 1},
        {"alternatives": [{"transcript": "two"}], "resultEndTime": "2s", "channelTag": 2},
        {"resultEndTime": "2.500s", "channelTag": 1},
        {"alternatives": [{"transcript": "three"}], "resultEndTime": "3.500s", "channelTag": 1},
    ]
}
EXAMPLES = {
    "chunks": CHUNKS,
    "chunks of words": WORD_CHUNKS,
    "AssemblyAI": ASSEMBLYAI,
    "AssemblyAI's words": ASSEMBLYAI_WORDS,
    "Deepgram's words": DEEPGRAM_WORDS,
    "Deepgram's channels": DEEPGRAM_CHANNELS,
    "Deepgram's utterances": DEEPGRAM_UTTERANCES,
    "Transcribe's items": TRANSCRIBE_ITEMS,
    "Transcribe's segments": TRANSCRIBE_SEGMENTS,
    "Transcribe's channels": TRANSCRIBE_CHANNELS,
    "Call Analytics": CALL_ANALYTICS,
    "Google v1": GOOGLE_V1,
    "Google v2": GOOGLE_V2,
    "Google inline": GOOGLE_INLINE,
    "Google in snake case": GOOGLE_SNAKE_CASE,
    "Google without words": GOOGLE_WORDLESS,
}
TURNS = {
    "chunks": [
        (0.0, 2.1, "unknown", " You said you would call."),
        (2.1, math.inf, "unknown", " I forgot."),
    ],
    "chunks of words": [(0.0, 1.0, "SPEAKER_00", "Where were you?"), (1.0, 1.8, "SPEAKER_01", "At work.")],
    "AssemblyAI": [(0.25, 1.466, "A", "You always forget."), (1.5, 2.1, "B", "I am sorry.")],
    "AssemblyAI's words": [(0.25, 1.466, "A", "You always forget."), (1.5, 2.1, "B", "I am sorry.")],
    "Deepgram's words": [(0.25, 0.75, "speaker 0", "Hello."), (1.0, 2.0, "speaker 1", "Who is there?")],
    "Deepgram's channels": [(2.0, 2.5, "channel 0", "later"), (0.5, 1.0, "channel 1", "first")],
    "Deepgram's utterances": [
        (2.0, 2.5, "channel 0, speaker 0", "Later."),
        (0.5, 1.0, "channel 1, speaker 0", "First."),
    ],
    "Transcribe's items": [(0.04, 0.9, "spk_0", "Well, wait."), (1.0, 1.5, "spk_1", "Sorry.")],
    "Transcribe's segments": [(0.0, 0.9, "spk_0", "Well, wait."), (0.95, 1.6, "ch_1", "Sorry.")],
    "Transcribe's channels": [(4.86, 5.01, "ch_0", "Hm?"), (4.9, 5.2, "ch_1", "Yes")],
    "Call Analytics": [(12.18, 16.96, "AGENT", "What can I do?"), (17.14, 19.86, "CUSTOMER", "Nothing.")],
    "Google v1": [
        (0.0, 1.3, "speaker 1", "hi"),
        (1.3, 2.0, "speaker 2", "I'd like one"),
        (2.5, 3.0, "speaker 1", "sure"),
    ],
    "Google v2": [(0.1, 1.0, "speaker 1", "Are you there?"), (1.5, 2.0, "patient", "Yes.")],
    "Google inline": [(0.1, 1.0, "speaker 1", "Are you there?"), (1.5, 2.0, "patient", "Yes.")],
    "Google in snake case": [(1.3, 2.0, "speaker 3", "no")],
    "Google without words": [
        (0.0, 1.5, "channel 1", "one"),
        (0.0, 2.0, "channel 2", "two"),
        (2.5, 3.5, "channel 1", "three"),
    ],
}
FORMATS = {
    "chunks": (services.PIPELINE, "english"),
    "chunks of words": (services.PIPELINE, None),
    "AssemblyAI": (services.ASSEMBLYAI, "en_us"),
    "Deepgram's words": (services.DEEPGRAM, "en"),
    "Deepgram's channels": (services.DEEPGRAM, "de"),
    "Transcribe's items": (services.TRANSCRIBE, "en-US"),
    "Transcribe's channels": (services.TRANSCRIBE, None),
    "Call Analytics": (services.CALL_ANALYTICS, "en-US"),
    "Google v1": (services.GOOGLE, "en-us"),
    "Google in snake case": (services.GOOGLE, "fr-fr"),
    "Google without words": (services.GOOGLE, None),
}


def parse(content: Any) -> ParsedTranscript:
    parser = find_service(content)
    assert parser is not None
    return parser(content, "talk.json")


def seen(content: Any) -> list[tuple[float, float, str, str | None]]:
    return [(turn.start, turn.end, turn.speaker, turn.words) for _, turn in parse(content).cues]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_service_has_turns(name: str) -> None:
    assert seen(EXAMPLES[name]) == TURNS[name]


@pytest.mark.parametrize("name", FORMATS)
def test_a_service_names_its_format_and_language(name: str) -> None:
    found = parse(EXAMPLES[name])
    assert (found.format, found.language) == FORMATS[name]


def test_turns_have_the_places_of_their_first_words() -> None:
    assert [place for place, _ in parse(DEEPGRAM_WORDS).cues] == [
        "talk.json, channel 1, word 1",
        "talk.json, channel 1, word 2",
    ]
    assert [place for place, _ in parse(ASSEMBLYAI).cues] == ["talk.json, utterance 1", "talk.json, utterance 2"]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"text": "hi", "speaker": "ann"},
        {"text": "hi", "words": ["hi"]},
        {"text": "hi", "words": [{"word": "hi"}]},
        {"text": "hi", "chunks": [], "words": [], "utterances": [], "results": []},
        {"start": 0, "end": 900, "text": "hi", "words": ASSEMBLYAI["words"]},  # a line of AssemblyAI's utterances
        {"segments": [{"start": 0.0, "end": 1.5, "text": " Hi."}], **CHUNKS},
        {"transcription": [{"offsets": {"from": 0, "to": 1500}, "text": " Hi."}], **ASSEMBLYAI},
        {"text": "hi", "words": [{"word": "hi", "start": 0.0, "end": 0.5}]},  # OpenAI's, in seconds
        {"text": "hi", "words": [{"text": "hi", "start": 0.0, "end": 0.5, "type": "word"}]},  # ElevenLabs', in seconds
        {"results": [{"alternatives": [{"transcript": "hi "}], "final": True}], "result_index": 0},  # IBM's
        {"results": [{"alternatives": [{"content": "hi"}], "type": "word", "start_time": 0.1}]},  # Speechmatics'
        {"results": {"one.wav": {"transcript": GOOGLE_V2}, "two.wav": {"transcript": GOOGLE_V2}}},  # of two files
    ],
)
def test_another_object_is_of_no_service(content: dict[str, Any]) -> None:
    assert find_service(content) is None


def test_a_missing_end_of_a_chunk_is_the_next_start() -> None:
    chunks = [{"timestamp": [0, None], "text": "One."}, {"timestamp": [1.5, 2], "text": "Two."}]
    assert seen({"chunks": chunks}) == [(0.0, 1.5, "unknown", "One."), (1.5, 2.0, "unknown", "Two.")]
    assert parse({"chunks": chunks}).has_open_end


def test_the_most_frequent_language_is_the_transcripts() -> None:
    languages = ["dutch", "english", "", None, "english"]
    chunks = [{"timestamp": [0, 1], "text": "One two.", "language": language} for language in languages]
    assert parse({"chunks": chunks}).language == "english"


def test_chunks_with_speakers_are_preferred() -> None:
    speakers = [{"speaker": "SPEAKER_01", "timestamp": [0.0, 2.5], "text": " I forgot."}]
    assert seen({"speakers": speakers, **CHUNKS}) == [(0.0, 2.5, "SPEAKER_01", " I forgot.")]
    assert seen({"speakers": [], **CHUNKS}) == TURNS["chunks"]


@pytest.mark.parametrize("language", ["english", "japanese"])
def test_few_chunks_or_chunks_of_sentences_are_turns(language: str) -> None:
    text = {"english": " Yes", "japanese": "今日はいい天気ですね"}[language]
    count = {"english": 3, "japanese": 5}[language]
    chunks = [{"timestamp": [number, number + 1], "text": text} for number in range(count)]
    assert seen({"chunks": chunks}) == [(number, number + 1, "unknown", text) for number in range(count)]


def test_words_of_languages_without_blanks_are_joined_without() -> None:
    texts = ["今", "日", "は", "iPhone", "を", "見", "た。"]
    chunks = [{"timestamp": [number / 4, number / 4 + 0.25], "text": text} for number, text in enumerate(texts)]
    assert seen({"chunks": chunks}) == [(0.0, 1.75, "unknown", "今日は iPhone を見た。")]


def test_a_pause_begins_a_turn() -> None:
    texts = [" a", " b", " c", " d"]
    starts = [0.0, 0.5, 1.5, 2.75]
    chunks = [{"timestamp": [start, start + 0.5], "text": text} for start, text in zip(starts, texts, strict=True)]
    assert seen({"chunks": chunks}) == [(0.0, 2.0, "unknown", "a b c"), (2.75, 3.25, "unknown", "d")]


def test_chunks_of_letters_are_refused() -> None:
    chunks = [{"timestamp": [number, number + 1], "text": letter} for number, letter in enumerate("go on")]
    with refuses("transcript.invalid_text", "talk.json has chunks of single letters"):
        parse({"chunks": chunks})


def test_words_of_google_without_times_leave_the_results_turn() -> None:
    words = [{"word": "oh", "speakerTag": 1}, {"word": "no", "speakerTag": 2}]
    results = [{"alternatives": [{"transcript": "oh no", "words": words}], "resultEndTime": "1.500s"}]
    assert seen({"results": results}) == [(0.0, 1.5, "unknown", "oh no")]


@pytest.mark.parametrize(
    ("content", "code", "found"),
    [
        ({"chunks": [*CHUNKS["chunks"], 7]}, "invalid_json", "chunk 3 has the value 7"),
        ({"chunks": [{"timestamp": [0], "text": "a"}]}, "invalid_time", "chunk 1 has the timestamp [0]"),
        ({"chunks": [{"timestamp": [None, 1], "text": "a"}]}, "invalid_time", "chunk 1 has the start null"),
        ({"chunks": [{"timestamp": [0, math.nan], "text": "a"}]}, "invalid_time", "chunk 1 has the end NaN"),
        ({"chunks": [{"timestamp": [0, 1], "text": None}]}, "invalid_text", "chunk 1 has the text null"),
        ({"chunks": [{"timestamp": [0, 1], "text": "a", "speaker": [1]}]}, "invalid_json", "chunk 1 has the speaker"),
        ({"chunks": [{"timestamp": [0, 1], "text": "a", "speaker": True}]}, "invalid_json", "the speaker true"),
        ({**ASSEMBLYAI, "utterances": "none"}, "invalid_json", 'talk.json has the utterances "none"'),
        ({**ASSEMBLYAI, "utterances": [{"text": "a", "start": 10**400}]}, "invalid_time", "utterance 1 has the start"),
        (
            {"results": {"channels": [{"alternatives": [{"words": [{"word": "a", "start": "soon", "end": 1}]}]}]}},
            "invalid_time",
            'channel 1, word 1 has the start "soon"',
        ),
        ({"results": {"channels": [], "utterances": [{"start": 0, "end": 1}]}}, "invalid_text", "utterance 1 has"),
        ({"results": {"items": [make_item("0.0.1", "1", "a")]}}, "invalid_time", 'item 1 has the start_time "0.0.1"'),
        ({"results": {"items": [], "speaker_labels": [1]}}, "invalid_json", "talk.json has the speaker_labels [1]"),
        ({"Transcript": [{"Content": "a", "BeginOffsetMillis": True}]}, "invalid_time", "BeginOffsetMillis true"),
        ({"results": [{"alternatives": [{"transcript": "a"}]}]}, "invalid_time", "result 1 has no times"),
        ({"results": [{"alternatives": [{"transcript": 5}]}]}, "invalid_text", "result 1 has the text 5"),
        (
            {"results": [{"alternatives": [{"transcript": "a"}], "resultEndTime": {"seconds": "x"}}]},
            "invalid_time",
            'result 1 has the resultEndTime {"seconds": "x"}',
        ),
    ],
)
def test_malformed_values_are_refused_with_their_places(content: dict[str, Any], code: str, found: str) -> None:
    with refuses(f"transcript.{code}", found):
        parse(content)


def test_values_nested_to_the_parsers_limit_are_refused() -> None:
    refused = 0
    for depth in range(1, 2000):
        nested = "[" * depth + "]" * depth
        try:
            content = json.loads(f'{{"chunks": [{{"timestamp": {nested}}}]}}')
        except RecursionError:
            break
        with refuses("transcript.invalid_time"):
            parse(content)
        refused += 1
    assert refused > 100


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([0, 1, -1, "", "0", "-1.5", "1.300s", "nan", "9" * 400, "spk_0"])
)
NAMES = st.text(max_size=3) | st.sampled_from(["seconds", "nanos", "text", "words", "items", "results", "alternatives"])
ANY_JSON = st.recursive(
    SCALARS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(NAMES, values, max_size=3),
    max_leaves=5,
)


def iter_paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value within a JSON value."""
    yield path
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from iter_paths(value, (*path, key))


def replace_value(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = dict(node) if isinstance(node, dict) else list(node)
    changed[path[0]] = replace_value(node[path[0]], path[1:], value)
    return changed


@settings(deadline=None, max_examples=60)
@given(st.data())
@pytest.mark.parametrize("name", EXAMPLES)
def test_any_json_is_read_or_refused(name: str, data: st.DataObject) -> None:
    content: Any = EXAMPLES[name]
    for _ in range(data.draw(st.integers(1, 2))):
        paths = [path for path in iter_paths(content) if path]
        content = replace_value(content, data.draw(st.sampled_from(paths)), data.draw(ANY_JSON))
    parser = find_service(content)
    with suppress(MoodlineError):
        for place, turn in parser(content, "talk.json").cues if parser else ():
            assert place.startswith("talk.json, ")
            assert isinstance(turn.words, str)
            assert turn.speaker
            assert math.isfinite(turn.start)
