"""A second column of words: made by a recogniser or brought, kept through kills and corrections, never in the way."""

import json
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moodline.conversation import Utterance
from moodline.corpora.asr_column import build_speech_sources, import_asr, read_asr_column, read_corpus_with_words
from moodline.corpora.corpus import Corpus, read_corpus, write_corpus
from moodline.corpora.tts import VOICES, SyntheticSpeech, assign_voices
from moodline.speech import asr as speech
from moodline.speech.asr import RecordedSpeech
from tests.processes import DieAtWrite, run
from tests.refusals import refuses
from tests.system import moodline


class Counting:
    """A recogniser that says how many samples it was given; remembers how often it was asked."""

    name, version = "counting", "1"

    def __init__(self) -> None:
        self.heard = 0

    def recognise(self, samples: np.ndarray) -> str:
        self.heard += 1
        return f"{len(samples)} samples"


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    recogniser = Counting()
    monkeypatch.setattr(speech, "load_recogniser", lambda *chosen: recogniser)
    return recogniser


class Dying(DieAtWrite):
    """Kills the process at a write, as ``DieAtWrite`` does; until then words are counted samples."""

    def __call__(self) -> None:
        speech.load_recogniser = lambda *chosen: Counting()  # type: ignore[assignment]
        super().__call__()


@pytest.fixture
def folder(corpus: Corpus, tmp_path: Path) -> Path:
    """Ten conversations of six turns."""
    write_corpus(corpus, tmp_path / "corpus")
    return tmp_path / "corpus"


def transcribe(folder: Path, *options: object) -> None:
    moodline("transcribe", folder, "--jobs", 1, "--recogniser", "pocketsphinx", *options)


def ids_of(corpus: Corpus) -> list[str]:
    return [turn.id for turn in corpus.utterances]


def test_words_stand_beside_a_table_that_stays_as_it_is(folder: Path, corpus: Corpus, counting: Counting) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    transcribe(folder)
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert read_corpus(folder) == corpus
    heard = read_corpus_with_words("recognised", folder)
    assert heard.table_hash == corpus.table_hash
    assert [one.fingerprint for one in heard.conversations] == [one.fingerprint for one in corpus.conversations]
    for was, now in zip(corpus.utterances, heard.utterances, strict=True):
        assert was.audio is not None
        assert now.words == f"{round(was.audio.duration * 16_000)} samples"
        assert replace(now, words=was.words, reference=None) == was
        assert now.said == was.words
    described = json.loads((folder / "recognised.json").read_text())
    assert described["recogniser"] == {"name": "counting", "version": "1", "heard": "recorded"}
    assert described["errors"]["words"] == sum(len(turn.words.split()) for turn in corpus.utterances)
    assert described["errors"]["wer"] >= 1 - 1e-9
    table = pq.read_table(folder / "recognised.parquet")
    assert table["utterance_id"].to_pylist() == ids_of(corpus)


def test_what_was_recognised_is_not_recognised_again(
    folder: Path, counting: Counting, capsys: pytest.CaptureFixture[str]
) -> None:
    transcribe(folder)
    assert counting.heard == 60
    transcribe(folder)
    assert counting.heard == 60
    (folder / "recognised.json").unlink()
    table = pq.read_table(folder / "recognised.parquet")
    pq.write_table(table.slice(7, 50), folder / "recognised.parquet")
    capsys.readouterr()
    moodline("inspect", folder)
    assert "words recognised so far: 50 of 60" in capsys.readouterr().out
    transcribe(folder)
    assert counting.heard == 70
    assert pq.read_table(folder / "recognised.parquet") == table


def test_a_corpus_that_was_corrected_needs_what_is_new_alone(folder: Path, corpus: Corpus, counting: Counting) -> None:
    transcribe(folder)
    first, *others = corpus.conversations
    turn, *rest = first.utterances
    assert turn.audio is not None
    shorter = replace(turn, audio=replace(turn.audio, duration=turn.audio.duration / 2), words="Corrected.")
    corrected = replace(corpus, conversations=(replace(first, utterances=(shorter, *rest)), *others))
    write_corpus(corrected, folder)
    with refuses("corpus.missing_asr", "moodline transcribe"):
        read_corpus_with_words("recognised", folder)
    transcribe(folder)
    assert counting.heard == 61
    assert read_corpus_with_words("recognised", folder).table_hash == corrected.table_hash


def test_anothers_words_are_not_replaced_unasked(
    folder: Path, counting: Counting, capsys: pytest.CaptureFixture[str]
) -> None:
    transcribe(folder)
    counting.version = "2"
    for options in ([], ["--tts"]):
        with pytest.raises(SystemExit, match="2"):
            transcribe(folder, *options)
        assert "words recognised by counting (1), in the recordings" in capsys.readouterr().err
    (folder / "recognised.json").unlink()
    transcribe(folder)
    assert counting.heard == 120


@pytest.mark.slow
def test_a_killed_transcription_goes_on_where_it_was(folder: Path, tmp_path: Path, counting: Counting) -> None:
    """Killed within its second block of four, then between the words and what stands beside them."""
    command = ["transcribe", str(folder), "--jobs", "1", "--recogniser", "pocketsphinx"]
    assert run(command, tmp_path / "errors", Dying(2, "half")) == -signal.SIGKILL
    kept = pq.read_table(folder / "recognised.parquet")
    assert len(kept) == 16
    assert run(command, tmp_path / "errors", Dying(4, "before")) == -signal.SIGKILL
    whole = pq.read_table(folder / "recognised.parquet")
    assert (len(whole), whole.slice(0, 16)) == (60, kept)
    assert not (folder / "recognised.json").exists()
    transcribe(folder)
    assert counting.heard == 0
    assert not list(folder.glob(".*.part"))
    assert read_asr_column(folder, read_corpus(folder)).recognition.utterances == 60


@pytest.mark.slow
def test_synthetic_voices_are_recognised(corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From words to sound and back: with errors, and not with errors alone."""
    few = replace(corpus, conversations=corpus.conversations[:1])
    write_corpus(few, tmp_path / "few")
    command = ("transcribe", tmp_path / "few", "--recogniser", "pocketsphinx", "--jobs", 1)
    moodline(*command, "--tts")
    recognition = read_asr_column(tmp_path / "few", few).recognition
    assert recognition.recogniser.heard == "spoken"
    assert sum(errors.words for errors in recognition.by_voice.values()) == recognition.errors.words
    assert len(recognition.by_voice) == len({turn.speaker for turn in few.utterances}) == 2
    assert recognition.errors.rate is not None
    assert 0 < recognition.errors.rate < 0.8


def test_speakers_keep_their_voices(corpus: Corpus) -> None:
    voices = assign_voices(corpus.utterances)
    assert [voices[speaker] for speaker in sorted(voices)] == [*VOICES, *VOICES[:4]]
    assert voices == assign_voices(reversed(list(corpus.utterances)))
    many = [Utterance(id=str(number), speaker=f"{number:03d}", words="") for number in range(25)]
    assert set(assign_voices(many).values()) == set(VOICES)


@pytest.mark.parametrize("words", ["", "...", "?!"])
def test_nothing_to_say_is_silence(words: str) -> None:
    assert len(SyntheticSpeech(words, VOICES[0]).samples()) == 0


def test_a_mark_is_not_spoken(corpus: Corpus) -> None:
    first = corpus.conversations[0]
    marked = replace(first, utterances=(replace(first.utterances[0], words="[LAUGHTER] Oh <unk> no."),))
    (sound,) = build_speech_sources(replace(corpus, conversations=(marked,)), tts=True)
    assert isinstance(sound, SyntheticSpeech)
    assert sound.words.split() == ["Oh", "no."]


def test_other_sound_has_another_origin(corpus: Corpus) -> None:
    turns = list(corpus.utterances)
    assert len({json.dumps(RecordedSpeech(turn.audio).origin) for turn in turns if turn.audio}) == len(turns)
    assert len({json.dumps(SyntheticSpeech("Oh.", voice).origin) for voice in VOICES}) == len(VOICES)
    assert SyntheticSpeech("Oh.", VOICES[0]).origin != SyntheticSpeech("No.", VOICES[0]).origin


def write_words(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
    names, texts = zip(*rows, strict=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"utterance_id": names, "words": texts}), path)
    elif path.suffix == ".jsonl":
        lines = (json.dumps({"id": name, "text": text}) for name, text in rows)
        path.write_text("\n".join(lines))
    else:
        path.write_text("\n".join(["id,words", *(f'{name},"{text}"' for name, text in rows)]))
    return path


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_words_recognised_elsewhere_are_brought(folder: Path, corpus: Corpus, tmp_path: Path, ending: str) -> None:
    """Half of them perfect, one empty; in whatever order."""
    rows = [(turn.id, turn.words.upper() if number % 2 else "") for number, turn in enumerate(corpus.utterances)]
    file = write_words(tmp_path / f"google.{ending}", rows[::-1])
    moodline("transcribe", folder, "--import-words", file)
    moodline("transcribe", folder, "--import-words", file)
    assert [turn.words for turn in read_corpus_with_words("recognised", folder).utterances] == [
        text for _, text in rows
    ]
    recognition = read_asr_column(folder, corpus).recognition
    assert recognition.recogniser.heard == "elsewhere"
    assert recognition.recogniser.name == file.name
    assert recognition.silent == 30
    lost = sum(len(turn.words.split()) for turn in list(corpus.utterances)[::2])
    assert (recognition.errors.substitutions, recognition.errors.deletions) == (0, lost)


def faulty(rows: list[tuple[str, str]]) -> Iterator[tuple[str, list[tuple[str, str]], str, list[str]]]:
    first, fourth = rows[0][0], rows[3][0]
    yield "strange.csv", [*rows, ("nobody", "Hello.")], "corpus.unknown_utterance", ["strange.csv", "1 (nobody)"]
    yield "short.csv", rows[2:], "corpus.missing_words", ["short.csv", f"2 ({first}, "]
    yield "twice.csv", [*rows, rows[3]], "corpus.duplicate_id", ["twice.csv:62", fourth]
    yield "nameless.csv", [*rows, ("", "Hello.")], "corpus.missing_id", ["nameless.csv:62"]
    yield "twice.parquet", [*rows, rows[3]], "corpus.duplicate_id", ["row 61", fourth]


@pytest.mark.parametrize("case", range(5))
def test_words_of_other_utterances_are_refused(folder: Path, corpus: Corpus, tmp_path: Path, case: int) -> None:
    name, rows, code, values = list(faulty([(turn.id, turn.words) for turn in corpus.utterances]))[case]
    with refuses(code, *values):
        import_asr(folder, corpus, write_words(tmp_path / name, rows))
    assert not list(folder.glob("recognised*"))


@pytest.mark.parametrize(
    ("name", "content", "code", "value"),
    [
        ("words.doc", "", "corpus.wrong_source", ".csv"),
        ("none.csv", None, "corpus.no_source", "none.csv"),
        ("columns.csv", "name,length\na,2", "corpus.missing_column", "name, length"),
        ("empty.csv", "", "corpus.missing_column", "empty.csv"),
        ("many.csv", "id,words\na,b,c", "corpus.faults", "many.csv:2"),
        ("broken.jsonl", "{", "corpus.faults", "broken.jsonl:1"),
        ("broken.parquet", "PAR", "file.unreadable", "broken.parquet"),
        ("list.jsonl", '{"id": "a", "words": ["b"]}', "corpus.invalid_cell", "list.jsonl:1"),
    ],
)
def test_what_is_no_table_of_words_is_refused(
    folder: Path, corpus: Corpus, tmp_path: Path, name: str, content: str | None, code: str, value: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with refuses(code, value):
        import_asr(folder, corpus, tmp_path / name)
    assert not list(folder.glob("recognised*"))


@pytest.mark.parametrize(
    ("tts", "code", "value"), [(True, "corpus.no_words", "--tts"), (False, "corpus.no_audio", "60")]
)
def test_an_utterance_without_speech_is_refused(corpus: Corpus, tts: bool, code: str, value: str) -> None:
    mute = [
        replace(one, utterances=tuple(replace(turn, audio=None, words="") for turn in one.utterances))
        for one in corpus.conversations
    ]
    with refuses(code, value):
        build_speech_sources(replace(corpus, conversations=tuple(mute)), tts=tts)


def test_words_of_another_file_are_not_replaced_unasked(folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    rows = [(turn.id, turn.words) for turn in corpus.utterances]
    import_asr(folder, corpus, write_words(tmp_path / "one.csv", rows))
    with refuses("corpus.other_recogniser", "one.csv", "other.csv", folder / "recognised.json"):
        import_asr(folder, corpus, write_words(tmp_path / "other.csv", rows))


def refused(capsys: pytest.CaptureFixture[str], sentence: str, *command: object) -> None:
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        moodline(*command)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(sentence, line), line


def test_what_cannot_be_heard_is_told(
    folder: Path,
    corpus: Corpus,
    counting: Counting,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused(capsys, "--jobs must be 1 or more, not 0", "transcribe", folder, "--jobs", 0)
    refused(capsys, "leave out --recogniser and --tts", "transcribe", folder, "--import-words", "x", "--tts")
    mute = [
        replace(one, utterances=tuple(replace(turn, audio=None, words="") for turn in one.utterances))
        for one in corpus.conversations
    ]
    write_corpus(replace(corpus, conversations=(*corpus.conversations[1:], mute[0])), tmp_path / "some")
    refused(capsys, rf"6 utterances .*{mute[0].utterances[0].id}", "transcribe", tmp_path / "some", "--jobs", 1)
    write_corpus(replace(corpus, conversations=tuple(mute)), tmp_path / "mute")
    refused(capsys, "--tts", "transcribe", tmp_path / "mute", "--tts", "--jobs", 1)
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    refused(capsys, r"pip install 'moodline\[demo\]'", "transcribe", folder, "--tts", "--jobs", 1)
    assert counting.heard == 0


@pytest.mark.parametrize(
    ("change", "code", "value"),
    [
        (lambda folder: (folder / "recognised.json").unlink(), "corpus.missing_asr", "60 of 60"),
        (lambda folder: drop_row(folder), "corpus.missing_asr", "59 of 60"),
        (lambda folder: (folder / "recognised.parquet").unlink(), "corpus.missing_asr", "0 of 60"),
        (lambda folder: (folder / "recognised.parquet").write_bytes(b"PAR"), "corpus.unreadable", "recognised.parquet"),
        (lambda folder: (folder / "recognised.json").write_text("{}"), "corpus.unreadable", "'schema'"),
        (lambda folder: describe(folder, schema=99), "corpus.newer_schema", "99"),
        (lambda folder: describe(folder, table_hash="0"), "corpus.changed", "a table with the hash 0"),
        (lambda folder: describe(folder, words_hash="0"), "corpus.changed", "words with the hash 0"),
    ],
)
def test_words_that_are_not_whole_or_not_these_are_refused(
    folder: Path, counting: Counting, change: object, code: str, value: str
) -> None:
    transcribe(folder)
    assert callable(change)
    change(folder)
    with refuses(code, value, folder):
        read_corpus_with_words("recognised", folder)


def drop_row(folder: Path) -> None:
    table = pq.read_table(folder / "recognised.parquet")
    pq.write_table(table.slice(1), folder / "recognised.parquet")


def describe(folder: Path, **content: object) -> None:
    path = folder / "recognised.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | content))
