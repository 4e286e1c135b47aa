"""A trained system's probabilities: calibrated on its validation set, and uncertain below a threshold."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file, save_file
from scipy.special import softmax

import moodline as package
from moodline.conversation import IEMOCAP4, Conversation
from moodline.corpora.corpus import read_corpus
from moodline.corpora.protocols import build_folds
from moodline.inference.predictor import Predictor
from moodline.modeling.description import load_description
from moodline.timeline.timeline import UNCERTAIN
from moodline.training.lightning_module import HIGHEST, LOWEST, compute_nll, fit_temperature
from tests.refusals import refuses
from tests.system import moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, and a finished and scored run of the whole system: corpus/, run/."""
    place = tmp_path_factory.mktemp("calibrated")
    write_tree(place / "tree", seed=2)
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    train(place, place / "run")
    moodline("evaluate", place / "run")
    return place


def train(place: Path, out: Path) -> None:
    command = ("train", place / "corpus", "--recipe", place / "tiny.yaml", "--protocol", "session5")
    moodline(*command, "-o", out)


@pytest.fixture(scope="module")
def model(place: Path) -> Predictor:
    return package.load(place / "run/fold-5/model")


def with_temperatures(model: Predictor, temperatures: dict[str, float]) -> Predictor:
    return Predictor(replace(model.model, temperatures=temperatures))


def talks(place: Path, which: str) -> list[Conversation]:
    (fold,) = build_folds(read_corpus(place / "corpus"), "session5")
    return [one.prepare_for_context(IEMOCAP4, "labelled") for one in getattr(fold, which)]


def made_older(run: Path) -> dict[str, float]:
    """Make a run's model one of the schema before temperatures, and return those that it had."""
    config = run / "fold-5/model/config.json"
    content = json.loads(config.read_text())
    temperatures = content.pop("temperatures")
    content["provenance"]["notes"] = []
    config.write_text(json.dumps(content | {"schema": 1}))
    return temperatures


def with_telling_classifiers(place: Path, run: Path) -> None:
    """Give a run's parts classifiers of temperatures in range: a tiny system's own are as good as guessing."""
    folder = run / "fold-5/model"
    model = package.load(folder)
    turns = [(talk, [IEMOCAP4.index(turn.label) for turn in talk.utterances]) for talk in talks(place, "validation")]
    labels = np.concatenate([found for _, found in turns])
    for stage in made_older(run):
        embeddings = torch.cat([model.encode(talk)[stage].embeddings for talk, _ in turns]).numpy()
        weight, bias = classifier_names(tensors := load_file(folder / f"{stage}.safetensors"))
        for seed in range(100):
            drawn = np.random.default_rng(seed).normal(size=tensors[weight].shape) / embeddings.std(axis=0).max()
            middle = drawn @ embeddings.mean(axis=0)
            if not fit_temperature(embeddings @ drawn.T - middle, labels).note:
                break
        tensors |= {weight: drawn.astype(np.float32), bias: -middle.astype(np.float32)}
        save_file(tensors, folder / f"{stage}.safetensors")


def classifier_names(tensors: dict[str, np.ndarray]) -> tuple[str, str]:
    """The names of a part's last weights and biases: classify or, of the speech encoder, classifier."""
    bias, weight = sorted(name for name in tensors if name.startswith("classif"))
    return weight, bias


def test_each_temperature_is_the_best_one_on_the_validation_set(place: Path, tmp_path: Path) -> None:
    """As inference, not training, predicts that set: a grid over what log-probabilities at temperature 1 say."""
    shutil.copytree(place / "run", tmp_path / "run")
    with_telling_classifiers(place, tmp_path / "run")
    train(place, tmp_path / "run")
    found = package.load(tmp_path / "run/fold-5/model")
    plain = with_temperatures(found, {})
    turns = [
        (IEMOCAP4.index(turn.label), predicted.by_stage)
        for talk in talks(place, "validation")
        for turn, predicted in zip(talk.utterances, plain.predict(talk).utterances, strict=True)
    ]
    labels = np.array([label for label, _ in turns])
    grid = np.geomspace(LOWEST, HIGHEST, 2001)
    temperatures = found.model.temperatures
    assert list(temperatures) == list(found.model.recipe.stages)
    assert sum(1.1 * LOWEST < one < 0.9 * HIGHEST for one in temperatures.values()) == 5
    for stage, temperature in temperatures.items():
        logits = np.log([list(by_stage[stage].values()) for _, by_stage in turns])
        best = grid[np.argmin([compute_nll(logits, labels, one) for one in grid])]
        assert temperature == pytest.approx(best, rel=0.005)


def test_probabilities_are_scaled_and_no_label_changes(place: Path, model: Predictor) -> None:
    plain = with_temperatures(model, {})
    for scale in (LOWEST, 0.7, HIGHEST):
        scaled = with_temperatures(model, dict.fromkeys(model.model.recipe.stages, scale))
        for talk in talks(place, "test"):
            for before, after in zip(plain.predict(talk).utterances, scaled.predict(talk).utterances, strict=True):
                assert after.label == before.label
                for stage, row in before.by_stage.items():
                    expected = softmax(np.log(list(row.values())) / scale)
                    assert list(after.by_stage[stage].values()) == pytest.approx(expected, abs=1e-9)


def test_the_test_set_has_no_part_in_temperatures(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    expected = made_older(tmp_path / "run")
    (place / "tree/Session5").rename(tmp_path / "Session5")
    try:
        train(place, tmp_path / "run")
    finally:
        (tmp_path / "Session5").rename(place / "tree/Session5")
    assert load_description(tmp_path / "run/fold-5/model").temperatures == expected


def test_a_run_of_older_days_is_calibrated_by_the_same_command_and_not_trained(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(place / "run", run)
    temperatures = made_older(run)
    older = package.load(run / "fold-5/model")
    assert all(older.model.get_temperature(stage) == 1 for stage in temperatures)
    moodline("evaluate", run)
    results = json.loads((run / "results.json").read_text())
    assert any("not calibrated" in note and "Rerun" in note for note in results["notes"])
    assert all(one["calibration"]["before"] is None for one in results["scores"])
    assert "not calibrated" in " ".join(capsys.readouterr().out.split())

    files = [*run.rglob("*.safetensors"), *run.rglob("stages/*.json"), *run.rglob("embeddings/*")]
    before = {path: path.stat().st_mtime_ns for path in files}
    train(place, run)
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert "calibrated; weights unchanged" in capsys.readouterr().out
    assert load_description(run / "fold-5/model") == load_description(place / "run/fold-5/model")
    train(place, run)
    assert "calibrated; weights unchanged" not in capsys.readouterr().out


@pytest.mark.parametrize("broken", [{"fusion": 1.0}, "spoken", None, [1.0]])
def test_temperatures_that_are_none_are_refused(place: Path, tmp_path: Path, broken: object) -> None:
    shutil.copytree(place / "run/fold-5/model", tmp_path / "model")
    config = tmp_path / "model/config.json"
    content = json.loads(config.read_text())
    stages = list(content["temperatures"])
    for value in (broken, dict.fromkeys(stages, 0.0), dict.fromkeys(stages, "1")):
        config.write_text(json.dumps(content | {"temperatures": value}))
        with refuses("model.invalid_description", "config.json", "temperature"):
            package.load(tmp_path / "model")


def test_an_older_moodline_does_not_read_a_calibrated_model(place: Path) -> None:
    """It would give other probabilities without a word; it refuses what has a schema above its own, 1."""
    assert json.loads((place / "run/fold-5/model/config.json").read_text())["schema"] > 1


def test_what_is_scored_and_kept_is_calibrated(place: Path, model: Predictor) -> None:
    rows = pq.read_table(place / "run/predictions.parquet").to_pylist()
    assert {row["stage"]: row["temperature"] for row in rows} == {**model.model.temperatures, "majority": None}
    results = json.loads((place / "run/results.json").read_text())
    for one in results["scores"]:
        own = [row for row in rows if row["stage"] == one["stage"]]
        probabilities = np.array([[row[f"p_{name}"] for name in IEMOCAP4.classes] for row in own])
        truth = np.array([[row["label"] == name for name in IEMOCAP4.classes] for row in own])
        assert one["calibration"]["brier_score"] == pytest.approx(((probabilities - truth) ** 2).sum(axis=1).mean())
    assert results["coverage"]["stage"] == "fusion"
    card = (place / "run/fold-5/model/README.md").read_text()
    assert f"fusion {model.model.temperatures['fusion']:.3g}" in card


def test_below_a_threshold_the_label_is_uncertain_and_nothing_else_changes(place: Path, model: Predictor) -> None:
    for talk in talks(place, "test"):
        plain = model.predict(talk).utterances
        threshold = float(np.median([one.probability for one in plain]))
        (prediction,) = model.predict_all([talk], threshold=threshold)
        for one, found in zip(plain, prediction.utterances, strict=True):
            assert found == replace(one, label=one.best if one.probability >= threshold else UNCERTAIN)
        assert any(one.label == UNCERTAIN for one in prediction.utterances)
        assert model.predict(talk, threshold=0.0).utterances == plain


@pytest.mark.parametrize("threshold", [-0.1, 1.01, float("nan")])
def test_a_threshold_is_a_probability(model: Predictor, threshold: float) -> None:
    with refuses("option.out_of_range", threshold):
        model.predict(Conversation(id="empty", utterances=()), threshold=threshold)
    with refuses("option.out_of_range", threshold):
        model.predict_all([], threshold=threshold)


def test_a_class_of_that_name_has_no_threshold(model: Predictor) -> None:
    labels = replace(IEMOCAP4, classes=(*IEMOCAP4.classes[:3], UNCERTAIN), mapping={"neu": UNCERTAIN})
    named = Predictor(replace(model.model, label_set=labels))
    assert named.predict_all([]) is not None
    with refuses("option.unfit_threshold", "iemocap4"):
        named.predict_all([], threshold=0.5)


def test_predict_writes_what_is_uncertain_in_all_formats(
    place: Path, model: Predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = read_corpus(place / "corpus").conversation("Ses05F_impro01")
    threshold = float(np.median([one.probability for one in model.predict(talk).utterances]))

    def written(*options: object) -> str:
        command = ("predict", place / "corpus", "--model", place / "run/fold-5/model", "--conversation", talk.id)
        capsys.readouterr()
        moodline(*command, "--threshold", threshold, *options)
        return capsys.readouterr().out

    (conversation,) = json.loads(written("--format", "json"))
    rows = list(csv.DictReader(io.StringIO(written("--format", "csv"))))
    lines = written().splitlines()[1:]
    assert {turn["label"] == UNCERTAIN for turn in conversation["utterances"]} == {True, False}
    for turn, row, line in zip(conversation["utterances"], rows, lines, strict=True):
        best = max(turn["probabilities"], key=turn["probabilities"].get)
        assert turn["best"] == best
        assert turn["label"] == row["label"] == (best if turn["probabilities"][best] >= threshold else UNCERTAIN)
        assert f"  {turn['label']} " in line
        assert f"  {turn['probabilities'][best]:.2f}  " in line


def test_a_threshold_that_is_none_is_a_sentence(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        moodline(
            "predict", place / "corpus", "--model", place / "run/fold-5/model", "--format", "json", "--threshold", "2"
        )
    told = capsys.readouterr()
    assert told.out == ""
    assert "a threshold is a probability, from 0 to 1, not 2.0" in told.err
