"""moodline robustness on tiny trained runs: what is drawn, what is left out and said, what is kept through a kill."""

import html
import json
import math
import shutil
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from moodline.errors import MoodlineError
from moodline.experiments import robustness
from moodline.experiments.corruptions import BABBLE, CLEAN_RATIO, CURVES, DRAWN, INTERPOLATED, TELEPHONE
from tests.processes import DieAtWrite, run
from tests.system import bring_recognised_words, moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

pytestmark = pytest.mark.slow
WORDS_POINTS = len(CURVES[INTERPOLATED].x) + len(CURVES[DRAWN].x)
SPEECH_POINTS = len(CURVES[BABBLE].x) + len(CURVES[TELEPHONE].x)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with recognised words, and in run/ the curves of a fused system, evaluated on both kinds of words."""
    place = tmp_path_factory.mktemp("robustness")
    write_tree(place / "tree", seed=1)
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    bring_recognised_words(place)
    train(place, "run")
    moodline("evaluate", place / "run")
    moodline("evaluate", place / "run", "--words", "recognised")
    moodline("robustness", place / "run")
    return place


def train(place: Path, out: str, *options: object) -> None:
    common = ("--recipe", place / "tiny.yaml", "--protocol", "session5")
    moodline("train", place / "corpus", *common, "-o", place / out, *options)


def rows(folder: Path, **wanted: object) -> list[dict[str, Any]]:
    found = pq.read_table(folder / "robustness.parquet").to_pylist()
    return [row for row in found if all(row[key] == value for key, value in wanted.items())]


def predictions(path: Path, stage: str) -> pa.Table:
    table = pq.read_table(path).filter(pc.field("stage") == stage).replace_schema_metadata(None)
    return table.sort_by([("conversation_id", "ascending"), ("utterance_id", "ascending")])


def point(folder: Path, name: str) -> Path:
    return folder / f"robustness/fold-5/{name}.parquet"


def elsewhere(place: Path, tmp_path: Path) -> Path:
    """A copy of the run and its corpus that a test may break."""
    for name in ("run", "corpus"):
        shutil.copytree(place / name, tmp_path / name)
    path = tmp_path / "run/run.json"
    path.write_text(path.read_text().replace(str(place / "corpus"), str(tmp_path / "corpus")))
    return tmp_path / "run"


def refusal(*arguments: object) -> MoodlineError:
    """The error that ends a command."""
    with pytest.raises(SystemExit) as ended:
        moodline(*arguments)
    assert ended.value.code == 2
    assert isinstance(ended.value.__context__, MoodlineError)
    return ended.value.__context__


@pytest.mark.parametrize("stage", ["text_context", "fusion"])
@pytest.mark.parametrize(
    ("name", "evaluated"),
    [("interpolated+0", "predictions"), ("interpolated+1", "predictions-recognised"), ("drawn+0", "predictions")],
)
def test_the_ends_of_the_curves_of_words_are_evaluates_own(place: Path, stage: str, name: str, evaluated: str) -> None:
    found = predictions(point(place / "run", name), stage)
    assert found.num_rows
    assert found.equals(predictions(place / f"run/{evaluated}.parquet", stage))


@pytest.mark.parametrize("stage", ["audio_context", "fusion"])
def test_speech_without_babble_is_evaluates_own(place: Path, stage: str) -> None:
    clean = predictions(point(place / "run", "babble+inf"), stage)
    assert clean.equals(predictions(place / "run/predictions.parquet", stage))
    for name in ("babble-5", "telephone+inf"):
        assert not clean.equals(predictions(point(place / "run", name), stage))


def test_what_is_not_altered_does_not_move(place: Path) -> None:
    clean = place / "run/predictions.parquet"
    for name, stage in (("babble-5", "text_context"), ("telephone+0", "text_context"), ("drawn+0.7", "audio_context")):
        assert predictions(point(place / "run", name), stage).equals(predictions(clean, stage))


def test_every_number_is_that_of_its_predictions(place: Path) -> None:
    found = rows(place / "run")
    assert len(found) == (WORDS_POINTS + SPEECH_POINTS) * 2 * 3
    for row in found:
        assert (row["protocol"], row["folds"], row["seed"], row["words"]) == ("session5", 1, 0, "reference")
        assert (row["wer"] is None) == (row["curve"] not in (INTERPOLATED, DRAWN))
        table = predictions(point(place / "run", f"{row['curve']}{row['x']:+g}"), row["part"])
        assert row["utterances"] == table.num_rows
        assert row["conversations"] == len(table["conversation_id"].unique())
        truth, said = table["label"].to_pylist(), table["predicted"].to_pylist()
        measure = {"wa": accuracy_score, "ua": balanced_accuracy_score}.get(row["metric"])
        if measure:
            assert row["value"] == pytest.approx(measure(truth, said))
        assert row["low"] <= row["value"] <= row["high"]


def test_differences_are_from_where_nothing_is_altered(place: Path) -> None:
    for curve in CURVES:
        start = (
            {"curve": BABBLE, "x": CLEAN_RATIO} if curve not in (INTERPOLATED, DRAWN) else {"curve": curve, "x": 0.0}
        )
        for row in rows(place / "run", curve=curve):
            (clean,) = rows(place / "run", part=row["part"], metric=row["metric"], **start)
            assert row["difference"] == pytest.approx(row["value"] - clean["value"])
            if row["curve"] == clean["curve"] and row["x"] == clean["x"]:
                assert (row["difference_low"], row["difference_high"]) == (0, 0)


def test_the_word_error_rate_is_measured(place: Path) -> None:
    corpus = json.loads((place / "corpus/recognised.json").read_text())
    (real,) = rows(place / "run", curve=INTERPOLATED, x=1.0, part="fusion", metric="ua")
    assert real["wer"] == pytest.approx(corpus["errors"]["wer"], abs=0.15)  # that of the test set, of all
    assert corpus["recogniser"]["name"] in real["recognition"]
    for row in rows(place / "run", curve=DRAWN):
        assert row["wer"] == pytest.approx(row["x"], abs=0.02)  # 50 words
    rates = [row["wer"] for row in rows(place / "run", curve=INTERPOLATED, part="fusion", metric="ua")]
    assert rates[0] == 0
    assert rates == sorted(rates)


def test_the_page_is_whole_and_says_whose_words_they_are(place: Path) -> None:
    page = html.unescape((place / "run/robustness.html").read_text())
    assert page.count("<svg") == 2 * len(CURVES)
    assert "heard.parquet" in page
    assert all(curve.title in page for curve in CURVES.values())
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/", "")
    assert "NaN" not in page


def test_the_table_fits_80_columns(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moodline("robustness", place / "run")
    lines = capsys.readouterr().out.splitlines()
    of_table = [line for line in lines if "[" in line and "In brackets" not in line]
    assert len(of_table) == 2 * (WORDS_POINTS + SPEECH_POINTS)
    assert max(map(len, of_table)) <= 80
    assert not any("…" in line for line in of_table)


def test_a_second_time_encodes_nothing_and_finds_the_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted((place / "run/robustness").rglob("*.parquet"))
    before = (place / "run/robustness.parquet").read_bytes(), [file.stat().st_mtime_ns for file in files]
    monkeypatch.setattr(robustness.CorruptedFold, "compute_predictions", None)
    moodline("robustness", place / "run")
    assert before == ((place / "run/robustness.parquet").read_bytes(), [file.stat().st_mtime_ns for file in files])


@pytest.mark.parametrize(("number", "moment"), [(4, "half"), (25, "after")])
def test_killed_it_goes_on_and_finds_the_same(place: Path, tmp_path: Path, number: int, moment: str) -> None:
    folder = elsewhere(place, tmp_path)
    shutil.rmtree(folder / "robustness")
    expected = rows(place / "run")
    (folder / "robustness.parquet").unlink()
    command = ["robustness", str(folder)]
    assert run(command, tmp_path / "errors.txt", DieAtWrite(number, moment)) == -9
    assert not (folder / "robustness.parquet").exists()
    kept = {
        file: file.stat().st_mtime_ns for file in (folder / "robustness").rglob("*+*.parquet") if file.name[0] != "."
    }
    assert len(kept) == (number if moment == "after" else number - 1)
    moodline(*command)
    assert rows(folder) == expected
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert not list((folder / "robustness").rglob(".*.part"))


def test_a_point_of_another_model_is_drawn_anew(place: Path, tmp_path: Path) -> None:
    folder = elsewhere(place, tmp_path)
    shutil.copytree(folder / "robustness", tmp_path / "before")
    weights = folder / "fold-5/model/fusion.safetensors"
    content = bytearray(weights.read_bytes())
    content[-4:] = np.float32(50).tobytes()
    weights.write_bytes(content)
    moodline("robustness", folder)
    old = predictions(tmp_path / "before/fold-5/babble+0.parquet", "fusion")
    assert not predictions(point(folder, "babble+0"), "fusion").equals(old)


def test_without_recognised_words_speech_is_drawn_and_words_are_named(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = elsewhere(place, tmp_path)
    babble = point(folder, "babble+0").stat().st_mtime_ns
    for file in (tmp_path / "corpus").glob("recognised.*"):
        file.unlink()
    moodline("robustness", folder)
    sentence = "Note: curves of words are left out: the corpus corpus has no complete recognised words"
    out = capsys.readouterr().out
    assert sentence in out
    assert "moodline transcribe" in out
    assert "moodline transcribe" in (folder / "robustness.html").read_text()
    assert {row["curve"] for row in rows(folder)} == {"babble", "telephone"}
    assert point(folder, "babble+0").stat().st_mtime_ns == babble  # speech does not depend on recognised words


def test_runs_of_one_modality_have_its_curves(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for modality, curves, part, other in (
        ("audio", {"babble", "telephone"}, "audio_context", "words"),
        ("text", {"interpolated", "drawn"}, "text_context", "speech"),
    ):
        train(place, modality, "--modalities", modality)
        capsys.readouterr()
        moodline("robustness", place / modality)
        assert f"curves of {other} are left out: the run has --modalities {modality}" in capsys.readouterr().out
        assert {row["curve"] for row in rows(place / modality)} == curves
        assert {row["part"] for row in rows(place / modality)} == {part}


def test_folds_are_pooled_and_those_not_trained_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for fold in ("1", "2"):
        moodline(
            *("train", place / "corpus", "--recipe", place / "tiny.yaml", "--protocol", "cv5", "--fold", fold),
            *("--modalities", "text", "-o", place / "cv5"),
        )
    capsys.readouterr()
    moodline("robustness", place / "cv5")
    out = capsys.readouterr().out
    assert "Note: 2 of the protocol's 5 folds: the others are not trained yet." in out
    assert "Note: intervals over 4 conversations" in out
    files = [place / f"cv5/robustness/fold-{fold}/interpolated+0.5.parquet" for fold in ("1", "2")]
    both = pa.concat_tables([predictions(file, "text_context") for file in files])
    found = {row["metric"]: row for row in rows(place / "cv5", curve=INTERPOLATED, x=0.5)}
    assert (found["ua"]["utterances"], found["ua"]["folds"]) == (both.num_rows, 2)
    truth, said = both["label"].to_pylist(), both["predicted"].to_pylist()
    assert found["wa"]["value"] == pytest.approx(accuracy_score(truth, said))
    assert found["ua"]["value"] == pytest.approx(balanced_accuracy_score(truth, said))


def test_embeddings_from_files_have_no_curve_of_theirs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moodline("embed", place / "corpus", "--model", place / "run/fold-5/model", "-o", place / "vectors")
    # Vectors whose model is not told: moodline's own were made by a model that has seen the validation set.
    table = pq.read_table(place / "vectors/text.parquet").replace_schema_metadata(None)
    pq.write_table(table, place / "vectors/text.parquet")
    train(place, "given", "--text-embeddings", place / "vectors/text.parquet")
    capsys.readouterr()
    moodline("robustness", place / "given")
    assert (
        "curves of words are left out: the run reads precomputed embeddings instead of text_utterance"
        in capsys.readouterr().out
    )
    assert {row["part"] for row in rows(place / "given")} == {"audio_context", "fusion"}
    moved = (place / "vectors/text.parquet").rename(place / "vectors/moved.parquet")
    assert refusal("robustness", place / "given").code == "embeddings.missing_file"
    moodline("robustness", place / "given", "--text-embeddings", moved)


def test_what_cannot_be_drawn_is_refused(place: Path, tmp_path: Path) -> None:
    assert refusal("robustness", place / "corpus").code == "file.other_folder"
    moodline(
        *("train", place / "corpus", "--recipe", place / "tiny.yaml", "--protocol", "all"),
        *("--modalities", "text", "-o", place / "all"),
    )
    assert refusal("robustness", place / "all").code == "evaluation.no_test_set"
    folder = elsewhere(place, tmp_path)
    with filelock.FileLock(folder / ".lock"):
        assert refusal("robustness", folder).code == "run.locked"
    (folder / "fold-5/model/config.json").unlink()
    assert refusal("robustness", folder).code == "run.no_trained_fold"


def test_a_run_with_nothing_to_draw_is_refused(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "corpus", tmp_path / "corpus")
    for file in (tmp_path / "corpus").glob("recognised.*"):
        file.unlink()
    shutil.copy(place / "tiny.yaml", tmp_path)
    train(tmp_path, "run", "--modalities", "text")
    error = refusal("robustness", tmp_path / "run")
    assert error.code == "experiment.no_curve"
    assert all(one in str(error) for one in (str(tmp_path / "run"), "moodline transcribe"))
    assert not (tmp_path / "run/robustness").exists()


def test_trained_on_recognised_words_it_hears_those_in_babble(place: Path) -> None:
    train(place, "recognised", "--words", "recognised")
    moodline("evaluate", place / "recognised")
    moodline("robustness", place / "recognised")
    evaluated = predictions(place / "recognised/predictions.parquet", "fusion")
    for name in ("babble+inf", "interpolated+1"):
        assert predictions(point(place / "recognised", name), "fusion").equals(evaluated)
    assert {row["words"] for row in rows(place / "recognised")} == {"recognised"}
    assert not any(math.isinf(row["x"]) for row in rows(place / "recognised", curve=DRAWN))
