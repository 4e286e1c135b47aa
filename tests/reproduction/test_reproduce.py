"""The whole of reproduce on a tiny corpus: nothing trained twice, killed and gone on, the ledger's numbers checked."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sklearn.metrics import balanced_accuracy_score

from tests.system import moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

pytestmark = pytest.mark.slow
OPTIONS = ("--recipe", "tiny.yaml", "--protocols", "session5", "--tables", "1,3", "--sizes", "8", "--seeds", "1")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus and, in out/, the tables of it."""
    place = tmp_path_factory.mktemp("reproduce")
    write_tree(place / "tree", turns=9, seed=1)
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    reproduce(place, "out", "--jobs", "2")
    return place


def command(place: Path, out: str, *options: object) -> list[str]:
    given = [place / option if option.endswith(".yaml") else option for option in OPTIONS]
    return list(map(str, ["reproduce", place / "corpus", "-o", place / out, *given, *options]))


def reproduce(place: Path, out: str, *options: object) -> None:
    moodline(*command(place, out, *options))


def ledger(place: Path, out: str) -> list[dict[str, Any]]:
    return pq.read_table(place / out / "ledger.parquet").to_pylist()


def numbers(place: Path, out: str) -> list[tuple[Any, ...]]:
    keys = ("system", "part", "protocol", "fold", "seed", "metric", "value", "low", "high", "fold_hashes")
    return sorted(tuple(map(str, (row[key] for key in keys))) for row in ledger(place, out))


def test_the_ledgers_numbers_are_those_of_the_predictions(place: Path) -> None:
    rows = [row for row in ledger(place, "out") if row["metric"] == "ua" and row["fold"] == "pooled"]
    assert len(rows) == 6 + 4 * 3  # five parts and the majority; two and the majority of each further system
    for row in rows:
        run = place / "out/runs" / row["system"] / "session5-seed0-fold5"
        predictions = [
            one for one in pq.read_table(run / "predictions.parquet").to_pylist() if one["stage"] == row["part"]
        ]
        truth, said = ([one[key] for one in predictions] for key in ("label", "predicted"))
        assert row["value"] == pytest.approx(balanced_accuracy_score(truth, said))
        assert row["utterances"] == len(predictions)
        assert (row["validation_loss"] is None) == (row["part"] == "majority")


def test_shared_stages_are_the_same_file(place: Path) -> None:
    runs = place / "out/runs"
    weights = "session5-seed0-fold5/fold-5/model/audio_utterance.safetensors"
    assert not (runs / "base" / weights).samefile(runs / "audio-8" / weights)
    assert (runs / "audio-8" / weights).samefile(runs / "audio-8-no-attention" / weights)


def test_the_selected_row_has_the_lowest_validation_loss(place: Path) -> None:
    lines = [line.split(" | ") for line in (place / "out/tables.md").read_text().splitlines()]
    rows = [line for line in lines if line[0] == "| speech, context" and len(line) == 9]
    selected = [line for line in rows if line[2].endswith("(selected)")]
    assert [line[6] for line in selected] == [min(line[6] for line in rows)]
    assert all(line[7] == "1" for line in rows)  # seeds


def test_latex_has_every_row(place: Path) -> None:
    text = (place / "out/tables.tex").read_text()
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 4
    assert text.count(r" \\") == 4 + 4 + 2 + 3 + 2  # headers, rows and differences


def test_a_second_time_trains_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (place / "out/ledger.parquet").read_bytes()
    capsys.readouterr()
    reproduce(place, "out")
    assert "begun" not in capsys.readouterr().out
    assert (place / "out/ledger.parquet").read_bytes() == before


def test_killed_and_started_again_it_ends_with_the_same_numbers(place: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-m", "moodline.cli.main", *command(place, "killed")]
    process = subprocess.Popen(
        arguments, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    runs = place / "killed/runs"
    while process.poll() is None and not list(runs.glob("*/*/task.json")):
        time.sleep(0.1)
    time.sleep(3)  # into the task after that
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list(runs.glob("*/*/task.json"))) < 5
    reproduce(place, "killed", "--jobs", "2")
    assert numbers(place, "killed") == numbers(place, "out")


def test_a_dry_run_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reproduce(place, "dry", "--dry-run")
    assert not (place / "dry").exists()
    out = capsys.readouterr().out
    assert "text-8-no-attention/session5-seed0-fold5" in out


def test_another_corpus_is_not_mixed_in(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tree(place / "other-tree", turns=9, seed=2)
    moodline("prepare", "iemocap", place / "other-tree", "-o", place / "other")
    shutil.copyfile(place / "tiny.yaml", place / "again.yaml")
    with pytest.raises(SystemExit):
        moodline("reproduce", place / "other", "-o", place / "out", "--recipe", place / "again.yaml")
    assert "a ledger is of one corpus" in capsys.readouterr().err


def test_another_recipe_is_not_averaged_with_what_is_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        reproduce(place, "out", "--fusion.training.epochs", "1")
    assert "a ledger is of one recipe" in capsys.readouterr().err


def test_a_task_that_fails_is_told_and_the_others_are_done(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(place / "out", place / "broken")
    for name in ("base", "text-8"):
        task = place / "broken/runs" / name / "session5-seed0-fold5/task.json"
        task.write_text(json.dumps(json.loads(task.read_text()) | {"fold_hash": "another"}))
    letter = place / "broken/runs/base/session5-seed0-fold5/run.json"
    letter.write_text("{}")
    with pytest.raises(SystemExit):
        reproduce(place, "broken")
    told = capsys.readouterr()
    assert "text-8/session5-seed0-fold5: done" in told.out
    assert "run.json" in told.err
