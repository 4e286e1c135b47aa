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
    ("text", "told"),
    [
        ('{"segments": {"a": 1}}', "segments of .* is"),
        ('{"segments": [{"start": 0, "end": 1, "text": "A"}, {"start": "0", "end": 1, "text": "A"}]}', "segment 2 has"),
        ('{"segments": [{"start": 0, "end": NaN, "text": "A"}]}', "segment 1 has"),
        ('{"segments": [{"start": 0, "end": 1' + "0" * 400 + ', "text": "A"}]}', "segment 1 has"),
        ('{"segments": [{"start": -1, "end": 1, "text": "A"}]}', "not negative"),
        ('{"segments": [{"start": 0, "end": 1, "text": ["A"]}]}', r"segment 1 .*\[\"A\"\]"),
        ('{"segments": ["A"]}', "segment 1 has"),
        ('{"segments": []}', "holds no turn"),
        ('{"transcription": [{"start": 0, "end": 1, "text": "A"}]}', "from and to"),
        ('{\n"words": []}', "keys 'words'"),
        ('{"words": []}', "keys 'words'"),
        ("{}", r"keys \(none\)"),
        ("[1, 2]", "begins with"),
        ('[{"text": "A"}]', "columns 'text'"),
        ('{"segments": [\n{"start": 0,,}]}', "line 2"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_malformed_json_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(MoodlineError, match=told):
        read(tmp_path, text, "talk.json")
