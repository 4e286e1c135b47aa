"""From a tree in IEMOCAP's format to scores: what training may see, what is kept, what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import accuracy_score, balanced_accuracy_score, brier_score_loss, f1_score

import moodline as package
from moodline.config import STAGES
from moodline.conversation import Conversation
from moodline.corpora.corpus import read_corpus, write_corpus
from moodline.corpora.protocols import build_folds
from moodline.evaluation.evaluate import evaluate_model, evaluate_run
from tests.refusals import refuses
from tests.rounding import rounding
from tests.system import SAME_PROBABILITY, moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus and a finished run: corpus/, tree/, tiny.yaml, run/."""
    place = tmp_path_factory.mktemp("system")
    write_tree(place / "tree")
    recipe = write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    moodline("train", place / "corpus", "--recipe", recipe, "--protocol", "session5", "-o", place / "run")
    moodline("evaluate", place / "run")
    return place


def train(place: Path, out: Path, *options: object) -> Path:
    moodline("train", place / "corpus", "--recipe", place / "tiny.yaml", "--protocol", "session5", "-o", out, *options)
    return out / "fold-5" / "model"


def weights(model: Path) -> dict[str, np.ndarray]:
    return {
        f"{path.stem}.{name}": tensor
        for path in model.glob("*.safetensors")
        for name, tensor in load_file(path).items()
    }


def nothing(*_: object) -> None:
    pass


def test_two_runs_with_one_seed_are_identical(place: Path, tmp_path: Path) -> None:
    first, second = weights(place / "run" / "fold-5" / "model"), weights(train(place, tmp_path / "again"))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    other = weights(train(place, tmp_path / "other", "--seed", "1", "--modalities", "text"))
    assert not np.array_equal(first["text_context.classify.weight"], other["text_context.classify.weight"])


def test_training_reads_nothing_of_the_test_session(place: Path, tmp_path: Path) -> None:
    """The audio of the test session is gone, and the words of it are other ones: the weights are the same."""
    tree = tmp_path / "tree"
    shutil.copytree(place / "tree", tree)
    write_recipe(tmp_path / "tiny.yaml", place / "bert")
    for path in (tree / "Session5" / "dialog" / "transcriptions").glob("*.txt"):
        path.write_text(path.read_text().replace("]: ", "]: something else entirely "))
    moodline("prepare", "iemocap", tree, "-o", tmp_path / "corpus")
    shutil.rmtree(tree / "Session5")
    changed = weights(train(tmp_path, tmp_path / "run"))
    assert all(np.array_equal(tensor, changed[name]) for name, tensor in weights(place / "run/fold-5/model").items())


def test_finished_stages_are_not_trained_again(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(place / "run", run)
    model = run / "fold-5" / "model"
    (model / "config.json").unlink()
    (run / "fold-5" / "stages" / "fusion.json").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in model.glob("*.safetensors")}
    train(place, run)
    after = {path.name: path.stat().st_mtime_ns for path in model.glob("*.safetensors")}
    assert {name for name in before if before[name] != after[name]} == {"fusion.safetensors"}
    first, second = weights(place / "run/fold-5/model"), weights(model)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_the_best_epoch_by_validation_loss_is_kept(place: Path, tmp_path: Path) -> None:
    """A run that ends with the best epoch has the weights that the longer run kept."""
    record = json.loads((place / "run/fold-5/stages/text_utterance.json").read_text())
    losses = [epoch["validation_loss"] for epoch in record["epochs"]]
    best = losses.index(min(losses)) + 1
    options = ("--modalities", "text", "--text_utterance.training.epochs", best)
    short = weights(train(place, tmp_path / "short", *options))
    full = weights(place / "run/fold-5/model")
    names = [name for name in full if name.startswith("text_utterance.")]
    assert names
    assert all(np.array_equal(full[name], short[name]) for name in names)


def test_every_score_follows_from_the_predictions(place: Path) -> None:
    results = json.loads((place / "run" / "results.json").read_text())
    table = pq.read_table(place / "run" / "predictions.parquet")
    assert [entry["stage"] for entry in results["scores"]] == [*STAGES, "majority"]
    for entry in results["scores"]:
        rows = table.filter(pc.field("stage") == entry["stage"])
        labels, predicted = rows["label"].to_pylist(), rows["predicted"].to_pylist()
        pooled = entry["pooled"]
        assert pooled["wa"]["value"] == pytest.approx(accuracy_score(labels, predicted))
        assert pooled["ua"]["value"] == pytest.approx(balanced_accuracy_score(labels, predicted))
        assert pooled["weighted_f1"]["value"] == pytest.approx(f1_score(labels, predicted, average="weighted"))
        probabilities = np.stack([rows[name].to_numpy() for name in table.column_names if name.startswith("p_")])
        assert np.allclose(probabilities.sum(axis=0), 1, rtol=0, atol=len(probabilities) * rounding(1))
        exact = probabilities.T.astype(float)  # (N, C)
        exact /= exact.sum(axis=1, keepdims=True)
        names = results["label_set"]["classes"]
        brier = brier_score_loss([names.index(one) for one in labels], exact, labels=range(4), scale_by_half=False)
        # Squares of differences that are 1 at most, of probabilities kept in single precision that are scaled to 1.
        allowed = rounding(2 * len(names) * (1 + len(names)))
        assert entry["calibration"]["brier_score"] == pytest.approx(brier, abs=allowed)
        assert sum(one["utterances"] for one in entry["calibration"]["bins"]) == len(labels)
    assert set(table["session"].to_pylist()) == {"5"}


def test_the_predictions_are_those_of_the_loaded_model(place: Path) -> None:
    """Evaluation scores what inference predicts, conversation by conversation."""
    model = package.load(place / "run/fold-5/model")
    table = pq.read_table(place / "run/predictions.parquet").filter(pc.field("stage") == "fusion")
    scored = dict(zip(table["utterance_id"].to_pylist(), table.to_pylist(), strict=True))
    corpus = read_corpus(place / "corpus")
    labels = model.model.label_set
    for conversation in build_folds(corpus, "session5")[0].test:
        for one in model.predict(conversation.prepare_for_context(labels, "labelled")).utterances:
            row = scored.pop(one.id)
            assert row["predicted"] == one.label
            assert {name: row[f"p_{name}"] for name in one.probabilities} == pytest.approx(
                one.probabilities, abs=SAME_PROBABILITY
            )
    assert not scored


def test_an_utterance_alone_is_predicted_like_in_a_batch(place: Path) -> None:
    """Utterance stages do not depend on what else is in the conversation."""
    model = package.load(place / "run/fold-5/model")
    conversation = read_corpus(place / "corpus").conversations[0]
    together = model.predict(conversation).utterances
    for utterance, expected in zip(conversation.utterances, together, strict=True):
        (alone,) = model.predict(Conversation(id="alone", utterances=(utterance,))).utterances
        for stage in ("audio_utterance", "text_utterance"):
            assert alone.by_stage[stage] == pytest.approx(expected.by_stage[stage], abs=SAME_PROBABILITY)


def test_a_model_is_not_scored_on_what_it_was_trained_or_selected_on(place: Path, tmp_path: Path) -> None:
    corpus = read_corpus(place / "corpus")
    for session, what in (("1", "selected on"), ("3", "trained on")):
        conversations = tuple(
            replace(one, id=f"renamed {one.id}") for one in corpus.conversations if one.session in (session, "5")
        )
        write_corpus(replace(corpus, conversations=conversations), tmp_path / session)
        with refuses("evaluation.seen_conversation", f"{what} renamed Ses0{session}"):
            evaluate_model(place / "run/fold-5/model", tmp_path / session, tmp_path / "out", nothing)
        assert not (tmp_path / "out").exists()


def test_a_model_is_scored_elsewhere(place: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", seed=1)
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    outcome = evaluate_model(place / "run/fold-5/model", tmp_path / "corpus", tmp_path / "out", nothing)
    scored = [u for u in read_corpus(tmp_path / "corpus").utterances if u.label in ("ang", "hap", "exc", "sad", "neu")]
    assert outcome.evaluation.scores[0].pooled.utterances == len(scored)
    assert (tmp_path / "out" / "report.html").is_file()


OWN_LABELS = """
name: loudness
version: 2
classes: [quiet, loud]
mapping: {sad: quiet, neu: quiet, ang: loud, exc: loud, hap: loud}
"""


@pytest.fixture(scope="module")
def own(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of words alone by a label set of its own, and the set's file: run/, own.yaml."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.yaml").write_text(OWN_LABELS)
    train(place, folder / "run", "--label_set", folder / "own.yaml", "--modalities", "text")
    return folder


def test_a_label_set_of_ones_own_is_kept_whole(own: Path, place: Path, tmp_path: Path) -> None:
    """With the model and with the run, which need its file no more."""
    shutil.copytree(own / "run", tmp_path / "run")
    path = own / "own.yaml"
    path.unlink()
    assert package.load(tmp_path / "run/fold-5/model").classes == ("quiet", "loud")
    results = evaluate_run(tmp_path / "run", nothing).results
    path.write_text(OWN_LABELS)
    loudness = {"sad": "quiet", "neu": "quiet", "ang": "loud", "exc": "loud", "hap": "loud"}
    assert results["label_set"]["mapping"] == loudness
    test = [one for one in read_corpus(place / "corpus").conversations if one.session == "5"]
    expected = sum(u.label in loudness for one in test for u in one.utterances)
    assert results["scores"][0]["pooled"]["utterances"] == expected


def test_a_run_goes_on_by_the_label_set_it_began_with(own: Path, place: Path, tmp_path: Path) -> None:
    """A file that is gone is not missed; one that has changed makes another run."""
    options = ("--label_set", own / "own.yaml", "--modalities", "text")
    before = weights(own / "run/fold-5/model")
    (own / "own.yaml").unlink()
    train(place, own / "run", *options)
    (own / "own.yaml").write_text(OWN_LABELS.replace("neu: quiet, ", ""))
    with pytest.raises(SystemExit):
        train(place, own / "run", *options)
    (own / "own.yaml").write_text(OWN_LABELS)
    moved = shutil.copy(own / "own.yaml", tmp_path / "moved.yaml")
    train(place, own / "run", "--label_set", moved, "--modalities", "text")
    after = weights(own / "run/fold-5/model")
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_changed_label_set_is_named(own: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for old, new, key in (
        ("ang: loud", "ang: quiet", "ang"),
        ("ang: loud, ", "", "ang"),
        ("hap:", "fru: loud, hap:", "fru"),
    ):
        (own / "own.yaml").write_text(OWN_LABELS.replace(old, new))
        with pytest.raises(SystemExit):
            train(place, own / "run", "--label_set", own / "own.yaml", "--modalities", "text")
        assert f"holds another run: its label_set.mapping.{key} is " in capsys.readouterr().err
    (own / "own.yaml").write_text(OWN_LABELS)


def test_a_run_that_only_names_its_label_set_is_read(place: Path, tmp_path: Path) -> None:
    """As runs did before they held it."""
    shutil.copytree(place / "run", tmp_path / "run")
    described = json.loads((tmp_path / "run/run.json").read_text())
    assert described.pop("label_set")["name"] == "iemocap4"
    (tmp_path / "run/run.json").write_text(json.dumps(described))
    train(place, tmp_path / "run")
    assert evaluate_run(tmp_path / "run", nothing).results["label_set"]["name"] == "iemocap4"


def test_another_corpus_is_scored_by_a_map_of_its_labels(place: Path, tmp_path: Path) -> None:
    """Words in a table, with labels of its own."""
    found = ("joy", "anger", "neutral", "fear", "sadness")
    rows = [f"a,{number},Take the form {number}.,{label}" for number, label in enumerate(found)]
    (tmp_path / "talk.csv").write_text("\n".join(["dialogue,id,text,emotion", *rows]))
    moodline("prepare", "table", tmp_path / "talk.csv", "-o", tmp_path / "corpus")
    model = train(place, tmp_path / "run", "--modalities", "text")
    with refuses("label.unmapped", "0 of 5", "joy, anger, neutral, fear", "meld4"):
        evaluate_model(model, tmp_path / "corpus", tmp_path / "out", nothing)
    assert not (tmp_path / "out").exists()
    options = ("--model", model, "--corpus", tmp_path / "corpus", "-o", tmp_path / "out")
    moodline("evaluate", *options, "--label-set", "meld4")
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["label_set"]["name"] == "meld4"
    assert results["label_set"]["mapping"]["joy"] == "happy"
    assert results["label_set"]["classes"] == list(package.load(model).classes)
    table = pq.read_table(tmp_path / "out/predictions.parquet")
    truth = dict(zip(table["utterance_id"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert truth == {"0": "happy", "1": "angry", "2": "neutral", "4": "sad"}


def test_all_has_no_test_set_to_score(place: Path, tmp_path: Path) -> None:
    options = ("--recipe", place / "tiny.yaml", "--protocol", "all", "--modalities", "text")
    moodline("train", place / "corpus", *options, "-o", tmp_path / "run")
    with refuses("evaluation.no_test_set", "all"):
        evaluate_run(tmp_path / "run", nothing)
    assert len(package.load(tmp_path / "run/fold-all/model").predict(corpus_conversation(place)).utterances) == 6


def corpus_conversation(place: Path) -> Conversation:
    return read_corpus(place / "corpus").conversations[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--modalities", "text"),
        ("--context", "all"),
        ("--modalities", "audio", "--audio_utterance.frontend", "log_mel"),
        ("--audio_context.kind", "bc_lstm", "--text_context.kind", "bc_lstm", "--fusion.kind", "bc_lstm"),
        ("--fusion.kind", "concatenation"),
    ],
)
def test_ablations_train_and_are_scored(place: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    self_attention = ("--audio_context.self_attention", "false", "--text_context.self_attention", "false")
    run = tmp_path / "run"
    model = package.load(train(place, run, *options, *self_attention))
    stages = {entry.stage for entry in evaluate_run(run, nothing).evaluation.scores}
    assert stages == {*model.model.recipe.stages, "majority"}
    context_all = "all" in options
    test = build_folds(read_corpus(place / "corpus"), "session5")[0].test
    turns = model.predict(test[0].prepare_for_context(model.model.label_set, model.model.recipe.context)).utterances
    assert (len(turns) == len(test[0].utterances)) == context_all


def test_a_run_of_another_corpus_is_not_scored(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    run_file = tmp_path / "run" / "run.json"
    run_file.write_text(run_file.read_text().replace(read_corpus(place / "corpus").table_hash, "0" * 16))
    with refuses("run.other_corpus", "hash 0000"):
        evaluate_run(tmp_path / "run", nothing)


def test_logs_are_there_for_people_and_tensorboard(place: Path) -> None:
    logs = place / "run" / "fold-5" / "logs"
    for stage in STAGES:
        header, *rows = (logs / "csv" / stage / "metrics.csv").read_text().splitlines()
        assert {"train_loss", "validation_loss", "validation_ua"} <= set(header.split(","))
        assert rows
        assert list((logs / "tensorboard" / stage).glob("events.out.tfevents.*"))


def test_no_file_of_a_run_is_a_pickle(place: Path) -> None:
    suffixes = {path.suffix for path in (place / "run").rglob("*") if path.is_file()}
    assert suffixes.isdisjoint({".pt", ".pth", ".ckpt", ".bin", ".pkl"})


def test_causal_scores_are_those_of_a_stream_beside_the_usual_ones(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = (place / "run" / "results.json").read_bytes()
    moodline("evaluate", place / "run", "--causal")
    printed = capsys.readouterr().out
    assert (place / "run" / "results.json").read_bytes() == usual
    causal = json.loads((place / "run" / "results-causal.json").read_text())
    scores = {entry["stage"]: entry for entry in causal["scores"]}
    for entry in json.loads(usual)["scores"]:
        if entry["stage"] != "majority":
            assert scores[entry["stage"]]["confusion"] == entry["confusion"]
    model = package.load(place / "run/fold-5/model")
    classes = model.model.label_set.classes
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    for conversation in build_folds(read_corpus(place / "corpus"), "session5")[0].test:
        stream = model.stream()
        for turn in conversation.prepare_for_context(model.model.label_set, "labelled").utterances:
            confusion[model.model.label_set.index(turn.label), classes.index(stream.predict(turn).label)] += 1
    assert scores["fusion_causal"]["confusion"] == confusion.tolist()
    cost = {one["minus"]: one for one in causal["differences"]}
    assert set(cost) == {"audio_context", "text_context", "fusion"}
    for stage, one in cost.items():
        assert one["stage"] == f"{stage}_causal"
        pair = [scores[name]["pooled"]["ua"]["value"] for name in (one["stage"], stage)]
        assert one["ua"]["value"] == pytest.approx(pair[0] - pair[1])
    assert "fusion, causal" in printed
    assert "causal minus usual" in printed


def test_causal_scores_are_a_runs(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = ("--model", place / "run/fold-5/model", "--corpus", place / "corpus", "-o", tmp_path / "out")
    for arguments, option in ((elsewhere, "--model"), ((place / "run", "--with-audio"), "--with-audio")):
        with pytest.raises(SystemExit):
            moodline("evaluate", *arguments, "--causal")
        assert f"--causal scores a run's folder, without a report: leave out {option}" in capsys.readouterr().err


def test_predict_tells_why_in_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("predict", place / "corpus", "--model", place / "run/fold-5/model")
    with pytest.raises(SystemExit):
        moodline(*arguments, "--explain")
    assert "--explain needs JSON, and the format is table: add --format json" in capsys.readouterr().err
    moodline(*arguments, "--format", "json", "--explain")
    for conversation in json.loads(capsys.readouterr().out):
        turns = conversation["utterances"]
        for number, turn in enumerate(turns):
            told = turn["reasons"]
            assert len(told["context"]) == min(3, len(turns) - 1)
            assert all(one["turn"] != number and 0 <= one["weight"] <= 1 for one in told["context"])
            assert -1 <= told["speech"] <= 1
            assert -1 <= told["words"] <= 1
    moodline(*arguments, "--format", "json")
    assert "reasons" not in json.loads(capsys.readouterr().out)[0]["utterances"][0]
