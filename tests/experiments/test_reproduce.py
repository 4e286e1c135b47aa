"""The whole of reproduce on a tiny corpus: nothing trained twice, killed and gone on, the ledger's numbers checked."""

import json
import os
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import balanced_accuracy_score

from moodline.corpora.corpus import read_corpus
from moodline.errors import MoodlineError
from tests.processes import start, start_server
from tests.system import bring_recognised_words, moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

pytestmark = pytest.mark.slow
OPTIONS = ("--recipe", "tiny.yaml", "--protocols", "session5", "--sizes", "8", "--seeds", "1", "--jobs", "2")
ALL = ("--tables", "1,3,4,baselines,released")
FEW = ("--tables", "3,baselines")
UNIMODAL = ("audio-8", "audio-8-no-attention", "text-8", "text-8-no-attention", "log-mel")
RELEASED_MARK = "not speaker-disjoint in selection"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with recognised words and, in out/, the tables of it."""
    place = tmp_path_factory.mktemp("reproduce")
    write_tree(place / "tree", turns=9, seed=1)
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    bring_recognised_words(place)
    start_server()
    reproduce(place, "out", *ALL)
    return place


def command(place: Path, out: str, *options: object) -> list[str]:
    given = [place / option if option.endswith(".yaml") else option for option in OPTIONS]
    return list(map(str, ["reproduce", place / "corpus", "-o", place / out, *given, *options]))


def reproduce(place: Path, out: str, *options: object) -> None:
    moodline(*command(place, out, *options))


def ledger(place: Path, out: str) -> list[dict[str, Any]]:
    return pq.read_table(place / out / "ledger.parquet").to_pylist()


def numbers(place: Path, out: str) -> list[tuple[Any, ...]]:
    keys = ("system", "part", "words_in_test", "protocol", "fold", "seed", "metric", "value", "low", "high")
    return sorted(tuple(map(str, (row[key] for key in keys))) for row in ledger(place, out))


def test_what_goes_with_a_paper_names_no_folder_of_this_machine(place: Path) -> None:
    passed_on = [file for file in (place / "out").iterdir() if file.is_file() and file.name[0] != "."]
    assert {"report.html", "ledger.parquet", "tables.md", "tables.tex", "tables.parquet"} <= {
        one.name for one in passed_on
    }
    assert not [file.name for file in passed_on if str(place).encode() in file.read_bytes()]
    commands = {row["command"] for row in ledger(place, "out")}
    assert not [command for command in commands if str(place) in command]


def test_the_ledgers_numbers_are_those_of_the_predictions(place: Path) -> None:
    rows = [row for row in ledger(place, "out") if row["metric"] == "ua" and row["fold"] == "pooled"]
    count = Counter((row["system"], row["words_in_training"], row["words_in_test"]) for row in rows)
    whole = 6  # five parts and the majority
    assert count == {
        ("base", "reference", "reference"): whole,
        ("base", "reference", "recognised"): whole,
        ("recognised-words", "recognised", "recognised"): whole,
        ("as-released", "reference", "reference"): whole,
        ("concatenation", "reference", "reference"): whole,
        ("bc-lstm", "reference", "reference"): whole,
        **{(name, "reference", "reference"): 3 for name in (*UNIMODAL, "classical")},
    }
    for row in rows:
        other = row["words_in_test"] != row["words_in_training"]
        file = f"predictions-{row['words_in_test']}.parquet" if other else "predictions.parquet"
        (run,) = (place / "out/runs" / row["system"]).glob("session5-seed0-fold5*")
        table = pq.read_table(run / file)
        predictions = [one for one in table.to_pylist() if one["stage"] == row["part"]]
        truth, said = ([one[key] for one in predictions] for key in ("label", "predicted"))
        assert row["value"] == pytest.approx(balanced_accuracy_score(truth, said))
        assert row["utterances"] == len(predictions)
        trained = row["system"] != "classical" and row["part"] != "majority"
        assert (row["validation_loss"] is not None) == trained
        assert (row["corpus_word_error_rate"] is not None) == (row["words_in_test"] == "recognised")
        assert (RELEASED_MARK in row["notes"]) == (row["system"] == "as-released")


def test_the_tables_show_what_was_tested_on_which_words(place: Path) -> None:
    found = {(row["system"], row["part"], row["words_in_test"]): row["value"] for row in pooled_ua(place)}
    cells = [line.split(" | ") for line in section_of(place, "Table 4")]
    shown = {
        (line[0].strip("| "), *line[1:3]): float(line[4][:5]) for line in cells if len(line) == 9 and "[" in line[4]
    }
    for part, name in (("text_context", "text context"), ("fusion", "fusion")):
        assert shown == shown | {
            (name, "reference", "reference"): pytest.approx(found["base", part, "reference"], abs=5e-4),
            (name, "reference", "recognised"): pytest.approx(found["base", part, "recognised"], abs=5e-4),
            (name, "recognised", "recognised"): pytest.approx(found["recognised-words", part, "recognised"], abs=5e-4),
        }
    assert len(shown) == 6


def pooled_ua(place: Path) -> list[dict[str, Any]]:
    return [row for row in ledger(place, "out") if row["metric"] == "ua" and row["fold"] == "pooled"]


def section_of(place: Path, title: str) -> list[str]:
    """The lines of one table's section."""
    sections = (place / "out/tables.md").read_text().split("\n## ")
    return next(one for one in sections if one.startswith(title)).splitlines()


def test_what_is_as_released_is_marked_in_table_and_report(place: Path) -> None:
    marked = "\n".join(section_of(place, "As released"))
    assert f"fusion, as released: {RELEASED_MARK}" in marked
    assert not any(RELEASED_MARK in line for line in section_of(place, "Table 3"))
    report = (place / "out/report.html").read_text()
    assert report.count(RELEASED_MARK) == 1
    assert report.count("<section") == 5 + 2  # the tables, the measures, what it took
    assert "2 conversations are too few to decide whether fusion" in report
    assert "://" not in report.replace("http://www.w3.org/", "")


def test_the_tables_numbers_are_in_a_file(place: Path) -> None:
    shown = pq.read_table(place / "out/tables.parquet").to_pylist()
    ua = [row for row in shown if row["metric"] == "ua"]
    values = {(row["table"], row["row"]): row["value"] for row in ua if not row["minus"]}
    own = [row for row in pooled_ua(place) if row["words_in_test"] == "reference"]
    seeds = {(row["system"], row["part"]): row["value"] for row in own}
    assert values["3", "fusion"] == pytest.approx(seeds["base", "fusion"])
    assert values["released", "fusion, as released"] == pytest.approx(seeds["as-released", "fusion"])
    (difference,) = (row for row in ua if row["table"] == "released" and (row["minus"] or "").startswith("fusion"))
    assert difference["value"] == pytest.approx(seeds["as-released", "fusion"] - seeds["base", "fusion"])
    assert RELEASED_MARK in difference["notes"]


def test_what_was_read_with_other_recognised_words_is_left_out(place: Path) -> None:
    """Transcribed again, without a new Table 4: no number of the old words stays."""
    shutil.copytree(place / "out", place / "heard-anew/out")
    shutil.copytree(place / "corpus", place / "heard-anew/corpus", ignore=shutil.ignore_patterns("recognised.*"))
    shutil.copyfile(place / "tiny.yaml", place / "heard-anew/tiny.yaml")
    ids = [turn.id for turn in read_corpus(place / "corpus").utterances]
    pq.write_table(pa.table({"id": ids, "words": ["yes"] * len(ids)}), place / "anew.parquet")
    moodline("transcribe", place / "heard-anew/corpus", "--import-words", place / "anew.parquet")
    reproduce(place / "heard-anew", "out", "--tables", "3")
    rows = ledger(place / "heard-anew", "out")
    assert {row["words_in_test"] for row in rows} == {"reference"}
    assert "recognised-words" not in {row["system"] for row in rows}
    assert "not run" in (place / "heard-anew/out/tables.md").read_text()
    reproduce(place / "heard-anew", "out", "--tables", "4")
    wer = {row["corpus_word_error_rate"] for row in ledger(place / "heard-anew", "out")} - {None}
    assert len(wer) == 1
    assert wer != {row["corpus_word_error_rate"] for row in ledger(place, "out")} - {None}


def test_rows_of_different_folds_are_not_compared(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One system has one fold, the other two: both are shown, and no difference between them."""
    shutil.copytree(place / "out", place / "folds")
    reproduce(place, "folds", "--tables", "3", "--protocols", "cv5", "--fold", "4")
    reproduce(place, "folds", "--tables", "3", "--protocols", "cv5", "--fold", "5")
    reproduce(place, "folds", "--tables", "baselines", "--protocols", "cv5", "--fold", "5")
    shown = pq.read_table(place / "folds/tables.parquet").to_pylist()
    of_cv5 = [row for row in shown if (row["table"], row["protocol"]) == ("baselines", "cv5")]
    folds = {row["row"]: row["folds"] for row in of_cv5 if not row["minus"]}
    assert folds["both, transformer"] == ["4", "5"]
    assert folds["both, concatenation"] == ["5"]
    assert not any(row["minus"] == "both, concatenation" for row in of_cv5)
    assert "of the protocol's 5 folds" in capsys.readouterr().out
    rows = [row for row in ledger(place, "folds") if row["protocol"] == "cv5" and row["system"] == "base"]
    assert {row["fold"]: len(row["fold_hashes"]) for row in rows} == {"4": 1, "5": 1, "pooled": 2}
    assert len({row["command"] for row in rows if row["fold"] != "pooled"}) == 2
    assert all(any(note.startswith("intervals over") for note in row["notes"]) for row in rows)


def test_another_commands_tables_stay(place: Path) -> None:
    shutil.copytree(place / "out", place / "later")
    reproduce(place, "later", "--tables", "3")
    for file in ("tables.md", "ledger.parquet"):
        assert (place / "later" / file).read_bytes() == (place / "out" / file).read_bytes()


def test_shared_stages_are_the_same_file(place: Path) -> None:
    runs = place / "out/runs"
    weights = "session5-seed0-fold5/fold-5/model/audio_utterance.safetensors"
    assert not (runs / "base" / weights).samefile(runs / "audio-8" / weights)
    assert (runs / "audio-8" / weights).samefile(runs / "audio-8-no-attention" / weights)


def test_the_selected_row_has_the_lowest_validation_loss(place: Path) -> None:
    lines = [line.split(" | ") for line in section_of(place, "Table 1")]
    rows = [line for line in lines if line[0] == "| audio context" and len(line) == 9]
    selected = [line for line in rows if line[2].endswith("(selected)")]
    assert len(rows) == 2
    assert [line[6] for line in selected] == [min(line[6] for line in rows)]
    assert all(line[7] == "1" for line in rows)  # seeds


def test_every_table_tells_what_the_most_frequent_class_scores(place: Path) -> None:
    results = json.loads(next((place / "out/runs/base").glob("*/results.json")).read_text())
    (chance,) = (one["pooled"] for one in results["scores"] if one["stage"] == "majority")
    expected = f"the most frequent class: WA {chance['wa']['value']:.3f}"
    assert expected in "\n".join(section_of(place, "Table 1"))
    assert expected in (place / "out/report.html").read_text()
    assert expected in (place / "out/tables.tex").read_text()


def test_latex_has_every_row(place: Path) -> None:
    text = (place / "out/tables.tex").read_text()
    lines = (place / "out/tables.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| ---")]
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 10  # five tables and their differences
    assert text.count(r" \\") == len(rows)


def test_a_second_time_trains_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (place / "out/ledger.parquet").read_bytes()
    capsys.readouterr()
    reproduce(place, "out", *ALL)
    assert "started" not in capsys.readouterr().out
    assert (place / "out/ledger.parquet").read_bytes() == before


def test_killed_and_started_again_it_ends_with_the_same_numbers(place: Path) -> None:
    process = start(command(place, "killed", *FEW), place / "errors", os.setsid)
    runs = place / "killed/runs"
    while process.is_alive() and not list(runs.glob("base/*/task.json")):
        process.join(0.05)
    process.join(0.5)  # into the tasks after that
    os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    assert len(list(runs.glob("*/*/task.json"))) < 5  # tasks
    reproduce(place, "killed", *FEW)
    killed = numbers(place, "killed")
    systems = {one[0] for one in killed}
    assert systems == {"base", "bc-lstm", "concatenation", "log-mel", "classical"}
    assert killed == [one for one in numbers(place, "out") if one[0] in systems and one[2] == "reference"]


def test_a_dry_run_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reproduce(place, "dry", *ALL, "--dry-run")
    assert not (place / "dry").exists()
    out = capsys.readouterr().out
    assert "text-8-no-attention/session5-seed0-fold5" in out


def test_another_corpus_is_not_mixed_in(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tree(place / "other-tree", turns=9, seed=2)
    moodline("prepare", "iemocap", place / "other-tree", "-o", place / "other")
    shutil.copyfile(place / "tiny.yaml", place / "again.yaml")
    with pytest.raises(SystemExit):
        moodline("reproduce", place / "other", "-o", place / "out", "--recipe", place / "again.yaml", "--tables", "3")
    assert read_corpus(place / "other").table_hash in capsys.readouterr().err


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_another_recipe_is_not_averaged_with_what_is_there(
    place: Path, dry: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (place / "out/asked.json").read_bytes()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        reproduce(place, "out", "--tables", "2", "--fusion.training.epochs", "1", *dry)
    told = capsys.readouterr()
    assert str(place / "out/recipes") in told.err
    assert "estimate" not in told.out
    assert (place / "out/asked.json").read_bytes() == before


def test_a_ledger_of_before_a_key_came_goes_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(place / "out", place / "older")
    recipe = place / "older/recipes/base.yaml"
    whole = recipe.read_text()
    recipe.write_text("".join(line for line in whole.splitlines(keepends=True) if "modality_dropout" not in line))
    assert recipe.read_text() != whole
    reproduce(place, "older", *FEW)
    assert recipe.read_text() == whole
    assert numbers(place, "older") == numbers(place, "out")


def test_a_task_that_fails_is_told_and_the_others_are_done(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(place / "out", place / "broken")
    for name in ("base", "classical"):
        task = place / "broken/runs" / name / "session5-seed0-fold5/task.json"
        task.write_text(json.dumps(json.loads(task.read_text()) | {"fold_hash": "another"}))
    letter = place / "broken/runs/base/session5-seed0-fold5/run.json"
    letter.write_text("{}")
    with pytest.raises(SystemExit):
        reproduce(place, "broken", *FEW)
    told = capsys.readouterr()
    assert "classical/session5-seed0-fold5: done" in told.out
    assert "run.json" in told.err


@pytest.mark.parametrize(
    ("change", "code", "value"),
    [
        (("--tables", "3,nine"), "experiment.unknown_table", "'nine'"),
        (("--tables", ","), "option.invalid", "--tables"),
        (("--seeds", "0"), "option.out_of_range", "--seeds"),
        (("--protocols", "all", "--tables", "3"), "experiment.no_test_set", "protocol all"),
        (("--protocols", "cv9", "--tables", "3"), "corpus.unknown_protocol", "cv9"),
        (("--selection", "released", "--tables", "3"), "experiment.unfit_recipe", "selection: released"),
        (("--fusion.kind", "concatenation", "--tables", "3"), "experiment.unfit_recipe", "fusion.kind: concatenation"),
        (("--tables", "released", "--protocols", "cv10"), "recipe.released_selection", "cv10"),
        (("--modalities", "text", "--tables", "3"), "experiment.unfit_recipe", "modalities: text"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    place: Path, change: tuple[str, ...], code: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        reproduce(place, "refused", *change)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert isinstance(ended.value.__context__, MoodlineError)
    assert ended.value.__context__.code == code
    assert value in told
    assert told.count("\n") == 1
    assert not (place / "refused").exists()


def test_missing_recognised_words_are_told_before_any_training(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(place / "corpus", place / "unheard", ignore=shutil.ignore_patterns("recognised.*"))
    with pytest.raises(SystemExit):
        moodline("reproduce", place / "unheard", "-o", place / "refused", "--recipe", place / "tiny.yaml", *ALL)
    told = capsys.readouterr().err
    assert "for 0 of 90" in told
    assert "--tables 1,3,baselines,released" in told


def test_an_extra_that_is_not_installed_is_told_before_any_training(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(SystemExit):
        reproduce(place, "refused", *FEW)
    assert "moodline[reproduce]" in capsys.readouterr().err
    assert not (place / "refused").exists()


def test_a_class_that_a_fold_lacks_is_told_before_any_training(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    labels = tmp_path / "labels.yaml"
    labels.write_text(
        "name: own\nversion: 1\nclasses: [happy, sad, afraid]\nmapping: {hap: happy, sad: sad, fea: afraid}\n"
    )
    with pytest.raises(SystemExit):
        reproduce(place, "refused", "--tables", "3", "--label_set", labels)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert not (place / "refused").exists()
