"""moodline stream: a line in, a line out, while the conversation goes on."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import pytest
import soundfile
import torch

import moodline as package
from moodline.audio.io import inspect_file
from moodline.conversation import Conversation, Utterance
from tests.inference.tiny_models import write_model
from tests.system import SAME_PROBABILITY, moodline

TURNS = [
    {"words": "I am so happy!", "speaker": "F", "id": "one", "start": 0.5, "end": 1.75},
    {"words": "no", "speaker": "M"},
    {"words": "Yes. Yes. I am sad"},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of words alone, its weights random."""
    return write_model(tmp_path_factory.mktemp("words"), "text")


def beside_the_model(errors: list[str]) -> list[str]:
    """What is said of errors after the line that names the model."""
    named, *others = errors
    assert named.startswith("moodline: the model is ")
    assert "licence" in named
    return others


class Streaming:
    """The command in a process of its own, to be talked with."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.input, self.output = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)

    def tell(self, line: object) -> None:
        self.input.write(line if isinstance(line, bytes) else json.dumps(line).encode())
        self.input.write(b"\n")
        self.input.flush()

    def answer(self) -> dict[str, Any]:
        return json.loads(self.output.readline())

    def end(self) -> tuple[int, str]:
        """The exit status once the input ends, and what was said of errors; nothing more is answered."""
        rest, errors = self.process.communicate()
        assert rest == b""
        return self.process.returncode, "".join(beside_the_model(errors.decode().splitlines(keepends=True)))


@contextmanager
def streaming(model: Path) -> Iterator[Streaming]:
    command = [sys.executable, "-m", "moodline.cli.main", "stream", "--model", str(model)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A shell's background job ignores interruptions, and its children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, **pipes, env={**os.environ, "OMP_NUM_THREADS": "1"})
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield Streaming(process)
        finally:
            process.kill()


def expected(model: Path, turns: list[dict[str, Any]]) -> list[dict[str, float]]:
    stream = package.load(model).stream()
    utterances = [
        Utterance(id=str(number), speaker=turn.get("speaker", "unknown"), words=turn["words"])
        for number, turn in enumerate(turns)
    ]
    return [dict(stream.predict(utterance).probabilities) for utterance in utterances]


@pytest.mark.slow
def test_a_turn_is_answered_before_the_next_is_written_until_an_interruption(model: Path) -> None:
    with streaming(model) as process:
        for number, (turn, probabilities) in enumerate(zip(TURNS, expected(model, TURNS), strict=True), start=1):
            process.tell(turn)
            answer = process.answer()
            assert answer["probabilities"] == pytest.approx(probabilities, abs=SAME_PROBABILITY)
            assert answer["label"] == max(probabilities, key=lambda name: probabilities[name])
            assert answer["words"] == turn["words"]
            assert answer["id"] == turn.get("id", str(number))
            assert answer["speaker"] == turn.get("speaker", "unknown")
            assert (answer["start"], answer["end"]) == (turn.get("start"), turn.get("end"))
        process.process.send_signal(signal.SIGINT)
        process.process.wait()  # before its input ends too, which may come first
        assert process.end() == (130, f"moodline: Interrupted after {len(TURNS)} turns.\n")


def test_text_is_another_name_of_words(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = streamed(model, [{"words": "Hello."}], monkeypatch, capsys)
    named = streamed(model, [{"text": "Hello."}, {"words": "Hello.", "text": "Bye."}], monkeypatch, capsys)
    assert given.answers == named.answers
    assert "unknown key 'text'" in named.errors[0]


class Streamed(NamedTuple):
    status: object
    answers: list[dict[str, Any]]
    errors: list[str]


def streamed(
    model: Path,
    lines: list[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *options: str,
) -> Streamed:
    """The command in this process, over lines that are all there at once."""
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"".join(line + b"\n" for line in raw))))
    capsys.readouterr()  # what made the model may have written
    status: object = 0
    try:
        moodline("stream", "--model", model, *options)
    except SystemExit as end:
        status = end.code
    output = capsys.readouterr()
    errors = beside_the_model(output.err.splitlines())
    return Streamed(status, [json.loads(line) for line in output.out.splitlines()], errors)


BAD_LINES: list[tuple[object, str]] = [
    (b"hello", "not a JSON object in UTF-8 (Expecting value"),
    (b"", "(Expecting value"),
    (b"\xff", "('utf-8' codec can't decode"),
    (b"[" * 100_000, "(maximum recursion"),
    ("a text", 'not a JSON object in UTF-8 (it is "a text")'),
    ({"speaker": "F"}, "the turn has speaker, and"),
    ({"words": None}, "the turn has nothing, and"),
    ({"words": "x", "audio": "nowhere.wav"}, "there is no file nowhere.wav"),
    ({"words": "x", "audio": "a" * 300}, "an audio file must exist"),
    ({"words": "x", "start": 10**400}, "a turn's start must be a finite number of seconds"),
    ({"words": 5}, "a turn's words must be a text, not 5"),
    (b'{"words": "\\ud800"}', 'a turn\'s words must be a text, not "\\ud800"'),
    ({"words": "x", "start": "soon"}, 'a turn\'s start must be a finite number of seconds, not "soon"'),
    ({"words": "x", "start": True}, "not true"),
    (b'{"words": "x", "end": NaN}', "not NaN"),
    ({"words": "x", "start": 2, "end": 1}, "ends at 1 s, before it starts at 2 s"),
    ({"wrods": "x"}, "unknown key 'wrods' in a turn; did you mean words?"),
    ({"words": "x", "zzz": 1}, "unknown key 'zzz' in a turn; use id, speaker, words, audio, start, end"),
]


def test_bad_lines_are_told_and_the_stream_goes_on(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [TURNS[0], *(line for line, _ in BAD_LINES), TURNS[1]]
    found = streamed(model, lines, monkeypatch, capsys)
    for answer, probabilities in zip(found.answers, expected(model, TURNS[:2]), strict=True):
        assert answer["probabilities"] == pytest.approx(probabilities, abs=SAME_PROBABILITY)
    assert found.answers[1]["id"] == str(len(lines))
    *told, last = found.errors
    for number, (line, (_, reason)) in enumerate(zip(told, BAD_LINES, strict=True), start=2):
        assert line.startswith(f"moodline: skipped line {number}: ")
        assert reason in line
    assert last == f"moodline: {len(BAD_LINES)} of {len(lines)} lines failed: see above"
    assert found.status == 2


def test_below_the_threshold_a_turn_is_uncertain(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "".join(f"{json.dumps(turn)}\n" for turn in TURNS)
    for threshold, labels in (("1", {"uncertain"}), ("0", set(package.load(model).classes))):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        moodline("stream", "--model", model, "--threshold", threshold)
        answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert len(answers) == len(TURNS)
        assert {answer["label"] for answer in answers} <= labels


def test_no_turn_is_told(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = streamed(model, [], monkeypatch, capsys)
    sentence = 'moodline: standard input has no turn; write lines such as {"words": "Hello."}'
    assert found == (2, [], [sentence])


def test_speech_alone_needs_no_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "turn.wav"
    soundfile.write(path, 0.1 * torch.randn(20_000, generator=torch.Generator().manual_seed(0)).numpy(), 16_000)
    turn: dict[str, object] = {"audio": str(path)}
    alone = streamed(write_model(tmp_path / "one", "both"), [turn], monkeypatch, capsys, "--modalities", "audio")
    assert (alone.status, [answer["stage"] for answer in alone.answers]) == (0, ["audio_context"])
    three_modes = write_model(tmp_path / "three", "both", modality_dropout=0.3)
    wordless = streamed(three_modes, [turn], monkeypatch, capsys)
    assert (wordless.status, [answer["stage"] for answer in wordless.answers]) == (0, ["fusion"])


def test_a_turn_with_its_audio_is_that_of_the_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, path = write_model(tmp_path, "both"), tmp_path / "turn.wav"
    soundfile.write(path, 0.1 * torch.randn(20_000, generator=torch.Generator().manual_seed(0)).numpy(), 16_000)
    turn = Utterance(id="a", speaker="F", words="no", audio=inspect_file(path))
    whole = package.load(model).predict(Conversation(id="talk", utterances=(turn,))).utterances[0]
    given = {"words": "no", "speaker": "F"}
    found = streamed(model, [given | {"audio": str(path)}, given], monkeypatch, capsys)
    (answer,) = found.answers
    assert list(answer["by_stage"]) == list(whole.by_stage)
    assert answer["probabilities"] == pytest.approx(dict(whole.probabilities), abs=SAME_PROBABILITY)
    assert found.status == 2
    assert found.errors[0].startswith("moodline: skipped line 2: ")
