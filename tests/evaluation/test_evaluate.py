"""Runs of several folds, from training to pooled scores."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

import moodline as package
from moodline.conversation import IEMOCAP4, Conversation, Utterance
from moodline.corpora.corpus import Corpus, read_corpus, write_corpus
from moodline.evaluation.evaluate import evaluate_model, evaluate_run
from tests.refusals import refuses
from tests.system import SAME_PROBABILITY, moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

pytestmark = pytest.mark.slow
STAGES = ("text_utterance", "text_context", "majority")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose classes are not balanced, and finished runs of it on its words: corpus/, cv5/, cv10/."""
    place = tmp_path_factory.mktemp("folds")
    write_tree(place / "tree", turns=9, seed=1)
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    for protocol in ("cv5", "cv10"):
        train(place, place / "corpus", protocol, place / protocol)
        moodline("evaluate", place / protocol)
    return place


def train(place: Path, corpus: Path, protocol: str, out: Path, *options: object) -> None:
    given = ("--recipe", place / "tiny.yaml", "--protocol", protocol, "--modalities", "text")
    moodline("train", corpus, *given, "-o", out, *options)


def nothing(*_: object) -> None:
    pass


def rows_of(run: Path, stage: str) -> list[dict[str, Any]]:
    return [row for row in pq.read_table(run / "predictions.parquet").to_pylist() if row["stage"] == stage]


def results_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "results.json").read_text())


def scored(conversations: tuple[Conversation, ...]) -> dict[str, str]:
    """The class of every utterance that has one."""
    return {
        turn.id: IEMOCAP4.classes[index]
        for conversation in conversations
        for turn in conversation.utterances
        if (index := IEMOCAP4.index(turn.label)) is not None
    }


@pytest.mark.parametrize(("protocol", "folds_by"), [("cv5", "session"), ("cv10", "speaker")])
def test_every_utterance_is_scored_once_by_the_fold_that_tests_it(place: Path, protocol: str, folds_by: str) -> None:
    expected = scored(read_corpus(place / "corpus").conversations)
    for stage in STAGES:
        rows = rows_of(place / protocol, stage)
        assert len(rows) == len(expected)
        assert {row["utterance_id"]: row["label"] for row in rows} == expected
        assert all(row["fold"] == row[folds_by] for row in rows)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")  # of a small fold that lacks a class
@pytest.mark.parametrize("protocol", ["cv5", "cv10"])
def test_scores_are_pooled_over_folds_and_averaged_over_them(place: Path, protocol: str) -> None:
    results = results_of(place / protocol)
    assert [entry["stage"] for entry in results["scores"]] == list(STAGES)
    assert [note.split(" are ")[0] for note in results["notes"]] == [
        "intervals over 10 conversations",
        "intervals over 5 improvised conversations",
        "intervals over 5 scripted conversations",
    ]
    for entry in results["scores"]:
        rows = rows_of(place / protocol, entry["stage"])
        assert measures(entry["pooled"]) == pytest.approx(measured(rows))
        folds = [measured([row for row in rows if row["fold"] == fold["name"]]) for fold in results["folds"]]
        for index, measure in enumerate(("wa", "ua", "weighted_f1")):
            spread, values = entry["over_folds"][measure], [fold[index] for fold in folds]
            assert spread["mean"] == pytest.approx(mean(values))
            assert spread["deviation"] == pytest.approx(stdev(values))
        assert set(entry["parts"]) == {"improvised", "scripted"}
        for part, scores in entry["parts"].items():
            of_part = [row for row in rows if row["part"] == part]
            assert len({row["fold"] for row in of_part}) == len(folds)
            assert measures(scores) == pytest.approx(measured(of_part))


def measures(scores: dict[str, Any]) -> tuple[float, ...]:
    return tuple(scores[measure]["value"] for measure in ("wa", "ua", "weighted_f1"))


def measured(rows: list[dict[str, Any]]) -> tuple[float, ...]:
    labels, predicted = [row["label"] for row in rows], [row["predicted"] for row in rows]
    return (
        float(accuracy_score(labels, predicted)),
        float(balanced_accuracy_score(labels, predicted)),
        float(f1_score(labels, predicted, average="weighted")),
    )


@pytest.mark.parametrize("protocol", ["cv5", "cv10"])
def test_the_baseline_of_a_fold_is_its_own_training_sets_majority(place: Path, protocol: str) -> None:
    corpus = read_corpus(place / "corpus")
    validating = {session: "12345"[position % 5] for position, session in enumerate("12345", start=1)}
    said = {(row["fold"], row["predicted"]) for row in rows_of(place / protocol, "majority")}
    answers = dict(said)
    assert len(answers) == len(said) == {"cv5": 5, "cv10": 10}[protocol]
    for fold, answer in answers.items():
        session = fold if protocol == "cv5" else fold[4]
        outside = {session, validating[session]} if protocol == "cv5" else {session}
        train = tuple(one for one in corpus.conversations if one.session not in outside)
        counts = Counter(scored(train).values())
        assert counts[answer] == max(counts.values())
    assert len(set(answers.values())) > 1, "the corpus is to have folds of unlike majorities"


def test_counts_of_cv10_are_of_the_turns_that_are_scored(place: Path) -> None:
    corpus = read_corpus(place / "corpus")
    for fold in results_of(place / "cv10")["folds"]:
        other = fold["name"][:5] + {"F": "M", "M": "F"}[fold["name"][5]]
        for use, speaker in (("test", fold["name"]), ("validation", other)):
            turns = tuple(one.select_speaker(speaker) for one in corpus.conversations if one.session == speaker[4])
            assert fold[use]["utterances"] == len(scored(turns))
            assert fold[use]["conversations"] == 2
        train = tuple(one for one in corpus.conversations if one.session != fold["name"][4])
        assert fold["train"]["utterances"] == len(scored(train))


def test_a_cv10_model_hears_the_whole_conversation(place: Path) -> None:
    model = package.load(place / "cv10/fold-Ses03M/model")
    rows = {row["utterance_id"]: row for row in rows_of(place / "cv10", "text_context") if row["fold"] == "Ses03M"}
    conversation = (
        read_corpus(place / "corpus").conversation("Ses03F_impro01").prepare_for_context(IEMOCAP4, "labelled")
    )
    of_him = [one for one in model.predict(conversation).utterances if one.speaker == "Ses03M"]
    assert of_him
    for one in of_him:
        probabilities = {name: rows[one.id][f"p_{name}"] for name in one.probabilities}
        assert probabilities == pytest.approx(one.probabilities, abs=SAME_PROBABILITY)


def relabelled(corpus: Corpus, speaker: str) -> Corpus:
    """The same with one speaker's labels of the four classes turned round."""
    other = {"ang": "sad", "sad": "hap", "hap": "neu", "exc": "neu", "neu": "ang"}
    return replace(
        corpus,
        conversations=tuple(
            replace(
                one,
                utterances=tuple(
                    replace(turn, label=other.get(turn.label or "", turn.label)) if turn.speaker == speaker else turn
                    for turn in one.utterances
                ),
            )
            for one in corpus.conversations
        ),
    )


def weights(model: Path) -> dict[str, np.ndarray]:
    return {
        f"{path.stem}.{name}": tensor
        for path in model.glob("*.safetensors")
        for name, tensor in load_file(path).items()
    }


def test_no_label_of_the_test_speaker_reaches_a_weight(place: Path, tmp_path: Path) -> None:
    """In validation the conversations are those of the test: other labels of the test speaker change nothing."""
    corpus = read_corpus(place / "corpus")
    before = weights(place / "cv10/fold-Ses01F/model")
    for speaker, is_same in (("Ses01F", True), ("Ses02F", False)):
        write_corpus(relabelled(corpus, speaker), tmp_path / speaker / "corpus")
        run = tmp_path / speaker / "run"
        train(place, tmp_path / speaker / "corpus", "cv10", run, "--fold", "Ses01F")
        after = weights(run / "fold-Ses01F/model")
        assert all(np.array_equal(before[name], after[name]) for name in before) == is_same
        histories = [
            json.loads((each / "fold-Ses01F/stages/text_context.json").read_text())["epochs"]
            for each in (place / "cv10", run)
        ]
        assert (histories[0] == histories[1]) == is_same


def test_a_later_fold_that_cannot_train_is_told_before_the_first_one_does(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Session 3 alone has sad turns; in the second fold it validates."""
    corpus = read_corpus(place / "corpus")
    conversations = tuple(
        one if one.session == "3" else replace(one, utterances=tuple(map(not_sad, one.utterances)))
        for one in corpus.conversations
    )
    write_corpus(replace(corpus, conversations=conversations), tmp_path / "corpus")
    with pytest.raises(SystemExit):
        train(place, tmp_path / "corpus", "cv5", tmp_path / "run")
    assert "cv5, fold 2 has none of sad" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def not_sad(turn: Utterance) -> Utterance:
    return replace(turn, label="neu") if turn.label == "sad" else turn


def test_a_run_that_is_not_finished_says_so(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(place / "cv10", tmp_path / "run")
    for fold in (tmp_path / "run").glob("fold-Ses0[2-5]?"):
        (fold / "model/config.json").unlink()
    moodline("evaluate", tmp_path / "run")
    results = results_of(tmp_path / "run")
    assert [fold["name"] for fold in results["folds"]] == ["Ses01F", "Ses01M"]
    assert results["notes"][0] == "2 of the protocol's 10 folds: the others are not trained yet"
    assert "Note: 2 of the protocol's 10 folds" in capsys.readouterr().out


def test_a_cv10_model_is_not_scored_on_the_conversations_that_selected_it(place: Path, tmp_path: Path) -> None:
    corpus = read_corpus(place / "corpus")
    session = tuple(one for one in corpus.conversations if one.session == "1")
    write_corpus(replace(corpus, conversations=session), tmp_path / "session")
    for fold, use in (("Ses01F", "selected on turns of"), ("Ses02F", "trained on")):
        with refuses("evaluation.seen_conversation", f"{use} Ses01F_impro01"):
            evaluate_model(place / f"cv10/fold-{fold}/model", tmp_path / "session", tmp_path / "out", nothing)


def test_a_published_split_that_shares_speakers_says_so_everywhere(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = read_corpus(place / "corpus")
    splits = ("train", "train", "validation", "test")
    split = tuple(
        replace(
            one,
            split=splits[position % 4],
            utterances=tuple(replace(turn, speaker=turn.speaker[5]) for turn in one.utterances),
        )
        for position, one in enumerate(corpus.conversations)
    )
    write_corpus(replace(corpus, conversations=split), tmp_path / "corpus")
    train(place, tmp_path / "corpus", "official", tmp_path / "run")
    moodline("evaluate", tmp_path / "run")
    note = "not speaker-disjoint: 2 speakers are in two sets"
    out = capsys.readouterr().out
    assert out.count(note) == 2  # of train and of evaluate
    results = results_of(tmp_path / "run")
    assert results["notes"][0] == note
    assert results["folds"][0]["shared_speakers"] == 2
    model = tmp_path / "run/fold-official/model"
    assert "- Not speaker-disjoint: 2 speakers are in two sets\n" in (model / "README.md").read_text()
    assert "Not speaker-disjoint" in (tmp_path / "run/report.html").read_text()
    assert {row["utterance_id"] for row in rows_of(tmp_path / "run", "majority")} == scored(split[3::4]).keys()
    write_tree(tmp_path / "tree", seed=7)
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "other")
    outcome = evaluate_model(model, tmp_path / "other", tmp_path / "elsewhere", nothing)
    assert outcome.results["notes"][0] == f"in training: {note}"


def test_script_disjoint_says_how_much_it_leaves_out(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(place, place / "corpus", "session5-script-disjoint", tmp_path / "run")
    outcome = evaluate_run(tmp_path / "run", nothing)
    note = "script-disjoint: 3 of 6 conversations are left out of training"
    assert capsys.readouterr().out.count(note) == 1
    assert outcome.results["notes"][0].startswith(note)
    corpus = read_corpus(place / "corpus")
    scripted = tuple(one for one in corpus.conversations if one.part == "scripted" and one.session in ("2", "3", "4"))
    (fold,) = results_of(tmp_path / "run")["folds"]
    assert fold["left_out"]["conversations"] == 3
    assert fold["left_out"]["utterances"] == len(scored(scripted))
    assert fold["train"]["conversations"] == 3
    assert results_of(tmp_path / "run")["scores"][0]["parts"].keys() == {"improvised", "scripted"}


def test_scores_of_a_model_that_is_replaced_are_removed_and_named(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(place / "cv5", tmp_path / "run")
    for name in ("results-causal.json", "results-recognised.json", "robustness.html", "notes.json"):
        (run / name).write_text("{}")
    before = {path.name for path in run.iterdir()}
    train(place, place / "corpus", "cv5", run)  # nothing is left to do
    assert {path.name for path in run.iterdir()} == before
    capsys.readouterr()
    train(place, place / "corpus", "cv5", run, "--fold", "2", "--text_context.training.epochs", "1")
    said = capsys.readouterr().out
    assert "scores of the replaced model are removed: predictions.parquet, results.json" in said
    gone = before - {path.name for path in run.iterdir()}
    assert gone == {
        "predictions.parquet",
        "report.html",
        "results-causal.json",
        "results-recognised.json",
        "results.json",
        "robustness.html",
    }
    assert all(name in said for name in gone)


def test_a_fold_that_joins_others_leaves_their_scores(place: Path, tmp_path: Path) -> None:
    run = shutil.copytree(place / "cv5", tmp_path / "run")
    shutil.rmtree(run / "fold-3")
    before = (run / "results.json").read_bytes()
    train(place, place / "corpus", "cv5", run, "--fold", "3")
    assert (run / "results.json").read_bytes() == before


def test_labels_that_look_misspelt_are_told_by_training_and_with_the_scores(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = read_corpus(place / "corpus")
    first, *others = corpus.conversations
    turns = tuple(replace(turn, label="NEU") if turn.label == "neu" else turn for turn in first.utterances)
    changed = replace(first, utterances=turns)
    count = sum(turn.label == "NEU" for turn in turns)
    assert count > 1
    write_corpus(replace(corpus, conversations=(changed, *others)), tmp_path / "corpus")
    capsys.readouterr()
    train(place, tmp_path / "corpus", "session5", tmp_path / "run")
    moodline("evaluate", tmp_path / "run")
    note = f"NEU ({count}); did you mean neu?"
    assert " ".join(capsys.readouterr().out.split()).count(note) == 2
    unmapped = sum(
        turn.label is not None and IEMOCAP4.index(turn.label) is None
        for one in (changed, *others)
        for turn in one.utterances
    )
    assert any(one.startswith(f"{unmapped} ") and one.endswith(note) for one in results_of(tmp_path / "run")["notes"])
    assert note in (tmp_path / "run/report.html").read_text()
