"""Cells of the tables that moodline writes: a spreadsheet calculates none of them, and moodline reads them back."""

import csv
import io
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from moodline.cli.predict import format_csv
from moodline.conversation import Segment
from moodline.corpora import table
from moodline.corpora.corpus import FAULTS_FILE, Corpus, read_corpus, write_corpus
from moodline.corpora.validation import Fault
from moodline.tabular import escape_formula, restore_cell
from moodline.timeline.timeline import ConversationPrediction, UtterancePrediction
from moodline.timeline.writers import to_csv
from moodline.transcripts.formats import read_transcript, write_transcript
from tests.inference.timeline.talks import talk

SIGNS = "=+-@\t\r"
WORDS = ("=1+1", "+1 for that", "- No.", "@home", "'=quoted", "''-twice", "'tis so", "a=b")


def cells(text: str) -> list[str]:
    return [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]


def assert_harmless(text: str) -> None:
    assert not [cell for cell in cells(text) if cell[:1] and cell[0] in SIGNS]


@given(st.text(st.sampled_from(SIGNS + "'a\n")))
def test_a_cell_is_harmless_and_comes_back(cell: str) -> None:
    assert escape_formula(cell)[:1] not in tuple(SIGNS)
    assert restore_cell(escape_formula(cell)) == cell


def test_numbers_stay_numbers() -> None:
    assert [escape_formula(number) for number in (-1.5, -3, None)] == [-1.5, -3, None]


def test_a_transcript_is_harmless_and_comes_back(tmp_path: Path) -> None:
    turns = [
        Segment(start=float(number), end=number + 0.5, speaker=words[:2].strip(), words=words)
        for number, words in enumerate(WORDS)
    ]
    write_transcript(tmp_path / "talk.csv", turns)
    assert_harmless((tmp_path / "talk.csv").read_text(encoding="utf-8"))
    found = read_transcript(tmp_path / "talk.csv").turns
    assert [(one.speaker, one.words) for one in found] == [(one.speaker, one.words) for one in turns]


def test_a_timeline_is_harmless_and_comes_back_as_a_transcript(tmp_path: Path) -> None:
    timeline = talk(said=tuple(("-ANA", float(at), at + 0.5, words, "joy") for at, words in enumerate(WORDS)))
    text = to_csv(replace(timeline, recording="=talk.wav", warnings=("@",)))
    assert_harmless(text)
    (tmp_path / "talk.csv").write_text(text, encoding="utf-8", newline="")
    assert [(one.speaker, one.words) for one in read_transcript(tmp_path / "talk.csv").turns] == [
        ("-ANA", words) for words in WORDS
    ]


def test_predictions_are_harmless_and_come_back_as_a_corpus(tmp_path: Path) -> None:
    utterances = tuple(
        UtterancePrediction(
            id=f"={number}",
            speaker="+Ann",
            words=words,
            start=None,
            end=None,
            label="-joy",
            best="-joy",
            probabilities={"-joy": 0.75, "@rage": 0.25},
            by_stage={"fusion": {"-joy": 0.75, "@rage": 0.25}},
        )
        for number, words in enumerate(WORDS)
    )
    prediction = ConversationPrediction(conversation_id="@talk", utterances=utterances, modalities="both")
    text = "".join(f"{line}\n" for line in format_csv(iter([prediction]), ("-joy", "@rage")))
    assert_harmless(text)
    (tmp_path / "emotions.csv").write_text(text, encoding="utf-8", newline="")
    (conversation,) = table.read(tmp_path / "emotions.csv").conversations
    assert conversation.id == "@talk"
    assert [(one.id, one.speaker, one.words, one.label) for one in conversation.utterances] == [
        (f"={number}", "+Ann", words, "-joy") for number, words in enumerate(WORDS)
    ]


def test_faults_are_harmless_and_come_back(corpus: Corpus, tmp_path: Path) -> None:
    broken = replace(corpus, faults=tuple(Fault(f"={words}", words) for words in WORDS))
    write_corpus(broken, tmp_path / "out")
    assert_harmless((tmp_path / "out" / FAULTS_FILE).read_text(encoding="utf-8"))
    assert read_corpus(tmp_path / "out") == broken
