"""What reproduce refuses before it measures or writes anything."""

from pathlib import Path

import pytest

from tests.system import moodline


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence with which a command ends."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        moodline(*arguments)
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    return told.err


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("file", "rule"),
    [
        ("run.json", "is a run"),
        ("corpus.json", "is a corpus"),
        ("config.json", "is a model"),
        ("notes.txt", "is neither empty nor a ledger"),
    ],
)
def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, file: str, rule: str, dry: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "taken"
    out.mkdir()
    (out / file).write_text("{}")
    (out / "report.html").write_text("mine")
    told = refusal(capsys, "reproduce", tmp_path / "corpus", "-o", out, *dry)
    assert f"{out} {rule}" in told
    assert "choose another -o" in told
    assert {one.name: one.read_text() for one in out.iterdir()} == {file: "{}", "report.html": "mine"}


@pytest.mark.parametrize("left", [".lock", ".asked.json.123.part", "asked.json"])
def test_a_ledger_that_was_killed_in_its_first_moment_goes_on(
    tmp_path: Path, left: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next to be refused is the corpus, which is not there."""
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / left).touch()
    told = refusal(capsys, "reproduce", tmp_path / "corpus", "-o", tmp_path / "ledger")
    assert str(tmp_path / "corpus") in told
