"""The JSON of recognisers."""

from pathlib import Path

import pytest

from moodline.errors import MoodlineError
from tests.speech.transcripts import texts
from tests.speech.transcripts.texts import read, seen


def test_whisper_has_segments_and_a_language(tmp_path: Path) -> None:
    found = read(tmp_path, texts.WHISPER, "talk.json")
    assert found.language == "en"
    assert seen(found) == [(0.0, 1.5, "unknown", "Where were you?"), (1.5, 3.0, "unknown", "At the station.")]


def test_whisperx_has_speakers_of_segments_or_else_of_their_words(tmp_path: Path) -> None:
    found = read(tmp_path, texts.WHISPERX, "talk.json")
    assert found.language == "de"
    assert seen(found) == [
        (0.031, 1.5, "SPEAKER_00", "Where were you?"),
        (1.25, 3.0, "SPEAKER_01", "At the station."),
        (3.5, 4.0, "unknown", "Oh."),
    ]


def test_the_offsets_of_whisper_cpp_are_milliseconds(tmp_path: Path) -> None:
    found = read(tmp_path, texts.WHISPER_CPP, "talk.json")
    assert (found.language, seen(found)) == ("fr", [(0.0, 1.5, "unknown", "Bonjour.")])


def test_a_list_of_turns_is_read_too(tmp_path: Path) -> None:
    text = '[{"start": 1, "end": 2, "text": "A"},\n {"begin": 0, "start": 0, "end": 3, "text": "B", "speaker": "b"}]'
    assert seen(read(tmp_path, text, "talk.json")) == [(0.0, 3.0, "b", "B"), (1.0, 2.0, "unknown", "A")]


def test_whispers_segments_without_a_length_are_left_out_and_told(tmp_path: Path) -> None:
    found = read(tmp_path, texts.WHISPER.replace('"start": 0.0, "end": 1.5', '"start": 1.5, "end": 1.5'))
    assert [turn.words for turn in found.turns] == ["At the station."]
    assert "segment 1;" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "code", "found"),
    [
        ('{"segments": {"a": 1}}', "invalid_json", 'segments {"a": 1}'),
        (
            '{"segments": [{"start": 0, "end": 1, "text": "A"}, {"start": "0", "end": 1, "text": "A"}]}',
            "invalid_time",
            'segment 2 has {"start": "0"',
        ),
        ('{"segments": [{"start": 0, "end": NaN, "text": "A"}]}', "invalid_time", "segment 1 has"),
        ('{"segments": [{"start": 0, "end": 1' + "0" * 400 + ', "text": "A"}]}', "invalid_time", "segment 1 has"),
        ('{"segments": [{"start": -1, "end": 1, "text": "A"}]}', "invalid_time", "segment 1 has the time -1"),
        ('{"segments": [{"start": 0, "end": 1, "text": ["A"]}]}', "invalid_text", 'segment 1 has the text ["A"]'),
        ('{"segments": ["A"]}', "invalid_time", 'segment 1 has "A"'),
        ('{"segments": []}', "no_turns", "talk.json"),
        ('{"transcription": [{"start": 0, "end": 1, "text": "A"}]}', "invalid_time", "from and to"),
        ('{\n"words": []}', "invalid_json", "keys 'words'"),
        ('{"words": []}', "invalid_json", "keys 'words'"),
        ("{}", "invalid_json", "keys (none)"),
        ("[1, 2]", "unknown_format", "[1, 2]"),
        ('[{"text": "A"}]', "no_times", "'text'"),
        ('[{"text": "A"}, [1]]', "invalid_json", "item 2 has a list"),
        ('{"segments": [\n{"start": 0,,}]}', "invalid_json", "line 2"),
        ("[" * 100_000, "invalid_json", "talk.json"),
    ],
)
def test_malformed_json_is_refused_with_its_place(tmp_path: Path, text: str, code: str, found: str) -> None:
    with pytest.raises(MoodlineError) as refused:
        read(tmp_path, text, "talk.json")
    assert refused.value.code == f"transcript.{code}"
    assert found in str(refused.value)


def test_speakers_of_words_that_are_no_names_are_no_fault(tmp_path: Path) -> None:
    text = '{"segments": [{"start": 0, "end": 1, "text": "A", "words": [{"speaker": ["x"]}]}]}'
    assert seen(read(tmp_path, text, "talk.json")) == [(0.0, 1.0, "['x']", "A")]
