"""What reproduce, and what trains beside it, refuses before it measures or writes anything."""

from pathlib import Path

import pytest

from moodline.errors import MoodlineError
from tests.system import moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> MoodlineError:
    """The error that ends a command with one sentence."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        moodline(*arguments)
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert isinstance(ended.value.__context__, MoodlineError)
    return ended.value.__context__


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("run.json", "file.occupied"),
        ("corpus.json", "file.occupied"),
        ("config.json", "file.occupied"),
        ("notes.txt", "file.foreign_folder"),
    ],
)
def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, file: str, code: str, dry: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "taken"
    out.mkdir()
    (out / file).write_text("{}")
    (out / "report.html").write_text("mine")
    error = refusal(capsys, "reproduce", tmp_path / "corpus", "-o", out, *dry)
    assert error.code == code
    assert str(out) in str(error)
    assert {one.name: one.read_text() for one in out.iterdir()} == {file: "{}", "report.html": "mine"}


@pytest.mark.parametrize("left", [".lock", ".asked.json.123.part", "asked.json"])
def test_a_ledger_that_was_killed_in_its_first_moment_goes_on(
    tmp_path: Path, left: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next to be refused is the corpus, which is not there."""
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / left).touch()
    error = refusal(capsys, "reproduce", tmp_path / "corpus", "-o", tmp_path / "ledger")
    assert error.code == "file.no_folder"
    assert str(tmp_path / "corpus") in str(error)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without recognised words, which Table 4 reads."""
    place = tmp_path_factory.mktemp("refusals")
    write_tree(place / "tree", turns=2)
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    return place / "corpus"


def test_that_a_protocol_does_not_fit_is_told_before_that_words_lack(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--recipe", corpus.with_name("tiny.yaml"), "-o", tmp_path / "out", "--protocols")
    for protocol, code in (("official", "corpus.no_split"), ("all", "experiment.no_test_set")):
        error = refusal(capsys, "reproduce", corpus, *options, protocol)
        assert error.code == code
        assert "--protocols kfold5" in str(error)
    assert not (tmp_path / "out").exists()


def test_that_labels_do_not_fit_is_told_before_that_words_lack(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--recipe", corpus.with_name("tiny.yaml"), "-o", tmp_path / "out", "--protocols", "session5")
    error = refusal(capsys, "reproduce", corpus, *options, "--label_set", "meld7")
    assert error.code == "corpus.missing_class"
    assert "fold 5" in str(error)
    error = refusal(capsys, "reproduce", corpus, *options, "--tables", "4", "--label_set", "iemocap4")
    assert error.code == "corpus.missing_asr"


@pytest.mark.parametrize("command", ["train", "baselines"])
def test_a_corpus_without_labels_is_told_as_such(
    corpus: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No label set and no protocol would help."""
    (tmp_path / "talk.csv").write_text("\n".join(["text", *(f"yes {number}" for number in range(9))]))
    moodline("prepare", "table", tmp_path / "talk.csv", "-o", tmp_path / "mute")
    given = ("--recipe", corpus.with_name("tiny.yaml"), "--protocol", "kfold3", "-o", tmp_path / "out")
    assert refusal(capsys, command, tmp_path / "mute", *given).code == "corpus.no_labels"
    assert not (tmp_path / "out").exists()
