"""--device: every command that runs a model knows it, and refuses a device that is not there before it works."""

from pathlib import Path

import pytest

from moodline.cli.options import select_device
from tests.system import refused

TRAINED = ["--recipe", "demo", "--protocol", "session5", "-o", "out"]
COMMANDS = {
    "train": ["corpus", *TRAINED],
    "baselines": ["corpus", *TRAINED],
    "reproduce": ["corpus", "-o", "out"],
    "evaluate": ["run"],
    "evaluate --causal": ["run"],
    "robustness": ["run"],
    "embed": ["corpus", "--model", "model", "-o", "out"],
    "predict": ["talk.wav", "--model", "model"],
    "stream": ["--model", "model"],
    "transcribe": ["talk.wav"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_device_that_is_not_there_is_refused_in_one_sentence(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("moodline.device.available_devices", lambda: ["cpu"])
    (tmp_path / "talk.wav").write_bytes(b"RIFF")
    error = refused(capsys, *command.split(), *COMMANDS[command], "--device", "cuda:1")
    assert error.code == "device.not_available"
    assert "'cuda:1'" in str(error)


HALF = ("reproduce", "evaluate", "evaluate --causal", "embed", "predict", "stream")


@pytest.mark.parametrize("command", HALF)
def test_fp16_on_the_cpu_is_refused_in_one_sentence(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talk.wav").write_bytes(b"RIFF")
    options = ("--device", "cpu", "--precision", "fp16")
    assert refused(capsys, *command.split(), *COMMANDS[command], *options).code == "device.no_fp16"


@pytest.mark.parametrize("command", ["evaluate", "embed", "predict"])
def test_batches_of_no_seconds_are_refused_in_one_sentence(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talk.wav").write_bytes(b"RIFF")
    error = refused(capsys, command, *COMMANDS[command], "--device", "cpu", "--batch-seconds=-1")
    assert error.code == "option.out_of_range"
    assert "-1" in str(error)


@pytest.mark.parametrize(
    ("available", "named", "reported"), [("mps", "auto", True), ("mps", "mps", False), ("cpu", "auto", False)]
)
def test_what_auto_takes_is_reported_unless_it_is_the_cpu(
    available: str,
    named: str,
    reported: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("moodline.device.available_devices", lambda: [*dict.fromkeys([available, "cpu"])])
    assert select_device(named).type == available
    said = capsys.readouterr()
    assert (available in said.err) == reported
    assert not said.out


@pytest.mark.parametrize("option", ["--accelerator=cpu", "--devices=1"])
def test_one_option_alone_chooses_what_training_runs_on(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "train", "corpus", *TRAINED, "--device", "cpu", option)
    assert error.code == "option.contradiction"
    assert "--device cpu" in str(error)
    assert option.split("=")[0] in str(error)
