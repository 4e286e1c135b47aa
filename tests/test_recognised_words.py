"""Training and scoring on recognised words: what is read, what is written, and what still counts as seen."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

import moodline as package
from moodline.corpora.asr_column import read_corpus_with_words
from moodline.corpora.corpus import read_corpus, write_corpus
from moodline.corpora.protocols import build_folds
from moodline.evaluation.evaluate import evaluate_model, evaluate_run
from tests.refusals import refuses
from tests.system import SAME_PROBABILITY, moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

HEARD = ("yes i am so happy", "no", "", "i am not sad", "angry")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with recognised words, and two runs of words alone, trained on each kind: corpus/, run/, recognised/."""
    place = tmp_path_factory.mktemp("recognised")
    write_tree(place / "tree")
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    bring(place, [HEARD[number % len(HEARD)] for number in range(60)])
    train(place, place / "run")
    train(place, place / "recognised", "--words", "recognised")
    moodline("evaluate", place / "run")
    moodline("evaluate", place / "run", "--words", "recognised")
    moodline("evaluate", place / "recognised")
    moodline("evaluate", place / "recognised", "--words", "reference")
    return place


def bring(place: Path, words: list[str]) -> None:
    ids = [turn.id for turn in read_corpus(place / "corpus").utterances]
    pq.write_table(pa.table({"id": ids, "words": words}), place / "heard.parquet")
    moodline("transcribe", place / "corpus", "--import-words", place / "heard.parquet")


def train(place: Path, out: Path, *options: object) -> Path:
    common = ("--recipe", place / "tiny.yaml", "--protocol", "session5", "--modalities", "text")
    moodline("train", place / "corpus", *common, "-o", out, *options)
    return out / "fold-5" / "model"


def results(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / f"{name}.json").read_text())


def nothing(*_: object) -> None:
    pass


@pytest.mark.parametrize(
    ("run", "file", "words"),
    [
        ("run", "predictions", "reference"),
        ("run", "predictions-recognised", "recognised"),
        ("recognised", "predictions", "recognised"),
        ("recognised", "predictions-reference", "reference"),
    ],
)
def test_the_test_set_is_read_with_the_words_asked_for(place: Path, run: str, file: str, words: str) -> None:
    model = package.load(place / run / "fold-5/model")
    table = pq.read_table(place / run / f"{file}.parquet").filter(pc.field("stage") == "text_context")
    scored = {row["utterance_id"]: row for row in table.to_pylist()}
    heard = dict(zip(*pq.read_table(place / "heard.parquet").to_pydict().values(), strict=True))
    for conversation in read_corpus(place / "corpus").conversations:
        if conversation.session != "5":
            continue
        turns = conversation.prepare_for_context(model.model.label_set, "labelled").utterances
        if words == "recognised":
            turns = tuple(replace(turn, words=heard[turn.id]) for turn in turns)
        for one in model.predict(replace(conversation, utterances=turns)).utterances:
            row = scored.pop(one.id)
            assert {name: row[f"p_{name}"] for name in one.probabilities} == pytest.approx(
                one.probabilities, abs=SAME_PROBABILITY
            )
    assert not scored


def test_results_and_report_say_which_words(place: Path) -> None:
    own, other = results(place / "run", "results"), results(place / "run", "results-recognised")
    assert own["words"] == {"trained": "reference", "scored": "reference", "recognition": None}
    assert not any("words" in note for note in own["notes"])
    assert (other["words"]["trained"], other["words"]["scored"]) == ("reference", "recognised")
    recognition = results(place / "corpus", "recognised")
    assert other["words"]["recognition"] == {name: recognition[name] for name in recognition if name != "schema"}
    (note,) = (note for note in other["notes"] if "words" in note)
    wer = f"WER {recognition['errors']['wer']:.3f}"
    assert note.startswith("trained on reference words, scored on words recognised by heard.parquet (file ")
    assert wer in note
    assert wer in (place / "run/report-recognised.html").read_text()
    assert wer not in (place / "run/report.html").read_text()
    assert results(place / "recognised", "results")["words"]["trained"] == "recognised"
    assert results(place / "recognised", "results-reference")["words"]["scored"] == "reference"
    assert wer in (place / "recognised/fold-5/model/README.md").read_text()


def test_training_reads_the_words_asked_for(place: Path, tmp_path: Path) -> None:
    """The weights are those of a run on a corpus whose own words these are."""
    corpus = read_corpus_with_words("recognised", place / "corpus")
    own = [
        replace(one, utterances=tuple(replace(turn, reference=None) for turn in one.utterances))
        for one in corpus.conversations
    ]
    write_corpus(replace(corpus, conversations=tuple(own), recognition=None), tmp_path / "corpus")
    shutil.copy(place / "tiny.yaml", tmp_path)
    expected, found = train(tmp_path, tmp_path / "run"), place / "recognised/fold-5/model"
    for stage in ("text_utterance", "text_context"):
        tensors = load_file(found / f"{stage}.safetensors")
        assert all(np.array_equal(tensors[k], v) for k, v in load_file(expected / f"{stage}.safetensors").items())
    reference = load_file(place / "run/fold-5/model/text_context.safetensors")
    assert any(not np.array_equal(tensors[name], reference[name]) for name in reference)


def test_a_conversation_is_seen_whichever_words_were_read(place: Path, tmp_path: Path) -> None:
    """By a model of either kind, in a corpus of either kind, under other names too."""
    folds = [
        build_folds(read_corpus_with_words(words, place / "corpus"), "session5")[0]
        for words in ("reference", "recognised")
    ]
    assert folds[0].hash == folds[1].hash
    described = [results(place / run / "fold-5/model", "config")["provenance"] for run in ("run", "recognised")]
    assert described[0]["trained_on"] == described[1]["trained_on"]
    assert [one["words"] for one in described] == ["reference", "recognised"]
    corpus = read_corpus(place / "corpus")
    renamed = tuple(replace(one, id=f"renamed {one.id}") for one in corpus.conversations if one.session == "3")
    few = replace(corpus, conversations=renamed)
    write_corpus(few, tmp_path / "few")
    ids = [turn.id for turn in few.utterances]
    pq.write_table(pa.table({"id": ids, "words": ["no"] * len(ids)}), tmp_path / "heard.parquet")
    moodline("transcribe", tmp_path / "few", "--import-words", tmp_path / "heard.parquet")
    for run in ("run", "recognised"):
        for words in ("reference", "recognised"):
            model = place / run / "fold-5/model"
            with refuses("evaluation.seen_conversation", "trained on renamed Ses03"):
                evaluate_model(model, tmp_path / "few", tmp_path / "out", nothing, words=words)


def test_another_corpus_is_scored_on_its_recognised_words(place: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", seed=1)
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    bring(tmp_path, ["so sad"] * 60)
    command = (
        "evaluate",
        "--model",
        place / "run/fold-5/model",
        "--corpus",
        tmp_path / "corpus",
        "-o",
        tmp_path / "out",
    )
    moodline(*command)
    moodline(*command, "--words", "recognised")
    tables = [pq.read_table(tmp_path / f"out/predictions{end}.parquet") for end in ("", "-recognised")]
    predicted = [one.filter(pc.field("stage") == "text_utterance")["p_angry"].unique() for one in tables]
    assert len(predicted[1]) == 1 < len(predicted[0])


def test_a_run_is_one_of_its_words(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    described = results(place / "recognised", "run")
    assert (described["words"], described["words_hash"]) == (
        "recognised",
        results(place / "corpus", "recognised")["words_hash"],
    )
    with pytest.raises(SystemExit, match="2"):
        train(place, place / "recognised")
    assert "holds another run: its words is 'recognised', here it is 'reference'" in capsys.readouterr().err
    shutil.copytree(place / "corpus", tmp_path / "corpus")
    shutil.copytree(place / "recognised", tmp_path / "run")
    shutil.copy(place / "tiny.yaml", tmp_path)
    path = tmp_path / "run/run.json"
    path.write_text(path.read_text().replace(str(place / "corpus"), str(tmp_path / "corpus")))
    (tmp_path / "corpus/recognised.json").unlink()
    bring(tmp_path, ["yes"] * 60)
    with refuses("run.other_words", tmp_path / "run"):
        evaluate_run(tmp_path / "run", nothing)
    assert evaluate_run(tmp_path / "run", nothing, words="reference").results["words"]["trained"] == "recognised"
    with pytest.raises(SystemExit, match="2"):
        train(tmp_path, tmp_path / "run", "--words", "recognised")
    assert "holds another run: its words_hash is" in capsys.readouterr().err


def test_a_run_from_before_there_were_recognised_words_goes_on(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    described = results(tmp_path / "run", "run")
    del described["words"], described["words_hash"]
    (tmp_path / "run/run.json").write_text(json.dumps(described))
    config = results(tmp_path / "run/fold-5/model", "config")
    del config["provenance"]["words"]
    (tmp_path / "run/fold-5/model/config.json").write_text(json.dumps(config))
    before = (tmp_path / "run/fold-5/model/text_context.safetensors").stat().st_mtime_ns
    train(place, tmp_path / "run")
    assert (tmp_path / "run/fold-5/model/text_context.safetensors").stat().st_mtime_ns == before
    assert evaluate_run(tmp_path / "run", nothing).results["words"]["trained"] == "reference"


def test_words_that_are_missing_or_not_read_are_refused_before_anything_trains(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place / "corpus", tmp_path / "corpus")
    shutil.copy(place / "tiny.yaml", tmp_path)
    for file in (tmp_path / "corpus").glob("recognised.*"):
        file.unlink()
    for folder, options, sentence in (
        (tmp_path, [], "0 of 60 utterances: run moodline transcribe"),
        (place, ["--modalities", "audio"], "this one has modalities audio"),
    ):
        with pytest.raises(SystemExit, match="2"):
            train(folder, tmp_path / "new", "--words", "recognised", *options)
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    shutil.copytree(place / "run", tmp_path / "run")
    path = tmp_path / "run/run.json"
    path.write_text(path.read_text().replace(str(place / "corpus"), str(tmp_path / "corpus")))
    with refuses("corpus.missing_asr", "0 of 60"):
        evaluate_run(tmp_path / "run", nothing, words="recognised")


def test_embeddings_in_the_place_of_words_are_no_recognised_words(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moodline("embed", place / "corpus", "--model", place / "run/fold-5/model", "-o", tmp_path)
    with pytest.raises(SystemExit, match="2"):
        train(place, tmp_path / "new", "--words", "recognised", "--text-embeddings", tmp_path / "text.parquet")
    assert "this one has embeddings instead of text_utterance" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
