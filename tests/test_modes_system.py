"""One model that answers from both modalities, from speech alone and from words alone."""

import csv
import io
import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

import moodline as package
from moodline.config import AUDIO_CONTEXT, FUSION, TEXT_CONTEXT
from moodline.conversation import Conversation
from moodline.corpora.corpus import read_corpus
from moodline.inference.predictor import Predictor
from moodline.timeline.timeline import ConversationPrediction
from tests.processes import DieAtWrite, run
from tests.refusals import refuses
from tests.system import SAME_PROBABILITY, moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

TALK = "Ses05F_impro01"
ALONE = {"audio": "fusion_audio", "text": "fusion_text"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus and two finished runs, without modality dropout and with it: corpus/, plain/, run/."""
    place = tmp_path_factory.mktemp("modes")
    write_tree(place / "tree")
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    moodline(*training(place, place / "plain"))
    moodline(*training(place, place / "run", "--fusion.modality_dropout=0.5", "--reuse", place / "plain"))
    moodline("evaluate", place / "run")
    return place


def training(place: Path, out: Path, *options: object) -> list[object]:
    command = ["train", place / "corpus", "--recipe", place / "tiny.yaml", "--protocol", "session5", "-o", out]
    return [*command, *options]


@pytest.fixture(scope="module")
def talk(place: Path) -> Conversation:
    return read_corpus(place / "corpus").conversation(TALK)


@pytest.fixture(scope="module")
def served(place: Path) -> Predictor:
    return package.load(place / "run/fold-5/model")


@pytest.fixture(scope="module")
def plain(place: Path) -> Predictor:
    return package.load(place / "plain/fold-5/model")


def with_turns(talk: Conversation, **changes: object) -> Conversation:
    return replace(talk, utterances=tuple(replace(turn, **changes) for turn in talk.utterances))


def answers(prediction: ConversationPrediction) -> list[dict[str, float]]:
    return [dict(one.probabilities) for one in prediction.utterances]


def stages(prediction: ConversationPrediction) -> set[str]:
    return {one.stage for one in prediction.utterances}


def test_dropout_trains_the_fusion_alone_anew_and_adds_no_weight(place: Path) -> None:
    for name in ("audio_utterance", "text_utterance", AUDIO_CONTEXT, TEXT_CONTEXT, FUSION):
        before, now = (load_file(place / of / f"fold-5/model/{name}.safetensors") for of in ("plain", "run"))
        assert {key: value.shape for key, value in before.items()} == {key: value.shape for key, value in now.items()}
        assert all(np.array_equal(before[key], now[key]) for key in before) == (name != FUSION)


def test_each_mode_reads_nothing_of_the_other(served: Predictor, plain: Predictor, talk: Conversation) -> None:
    for model in (served, plain):
        speech = answers(model.predict(talk, "audio"))
        assert answers(model.predict(with_turns(talk, words="something else"), "audio")) == speech
        words = answers(model.predict(talk, "text"))
        assert answers(model.predict(with_turns(talk, audio=None), "text")) == words
        assert speech != words


def test_the_stage_that_answers_is_named(served: Predictor, plain: Predictor, talk: Conversation) -> None:
    for mode, context in {"audio": AUDIO_CONTEXT, "text": TEXT_CONTEXT}.items():
        assert stages(served.predict(talk, mode)) == {FUSION}
        assert stages(plain.predict(talk, mode)) == {context}
        expected = [one.by_stage[context] for one in plain.predict(talk).utterances]
        assert answers(plain.predict(talk, mode)) == expected
    assert stages(served.predict(talk)) == stages(plain.predict(talk)) == {FUSION}


def test_evaluation_scores_every_mode_as_it_is_predicted(place: Path, served: Predictor, talk: Conversation) -> None:
    table = pq.read_table(place / "run/predictions.parquet")
    rows = table.filter(pc.field("conversation_id") == TALK)
    scored = talk.prepare_for_context(served.model.label_set, "labelled")
    temperature = served.model.temperatures[FUSION]
    for mode, stage in {**ALONE, "both": FUSION}.items():
        found = {row["utterance_id"]: row for row in rows.filter(pc.field("stage") == stage).to_pylist()}
        predicted = served.predict(scored, mode).utterances
        assert found.keys() == {one.id for one in predicted}
        for one in predicted:
            assert found[one.id]["predicted"] == one.label
            assert found[one.id]["temperature"] == temperature
            for name, value in one.probabilities.items():
                assert found[one.id][f"p_{name}"] == pytest.approx(value, abs=SAME_PROBABILITY)
    results = json.loads((place / "run/results.json").read_text())
    assert [one["stage"] for one in results["scores"]][-4:] == [FUSION, "fusion_audio", "fusion_text", "majority"]
    moodline("evaluate", place / "plain")
    assert not set(ALONE.values()) & set(pq.read_table(place / "plain/predictions.parquet")["stage"].to_pylist())


def test_turns_may_lack_audio_or_words(served: Predictor, talk: Conversation) -> None:
    """What a turn lacks no stage has an opinion of; the others are read as if it had never been among them."""
    turns = list(talk.utterances)
    turns[0], turns[1] = replace(turns[0], audio=None), replace(turns[1], words="")
    some = replace(talk, utterances=tuple(turns))
    first, *others = served.predict(some).utterances
    assert set(first.by_stage) == {"text_utterance", TEXT_CONTEXT, FUSION}
    assert all(len(one.by_stage) == 5 for one in others)
    heard = served.predict(replace(talk, utterances=tuple(turns[1:])), "audio").utterances
    for one, other in zip(others, heard, strict=True):
        assert one.by_stage[AUDIO_CONTEXT] == pytest.approx(other.by_stage[AUDIO_CONTEXT], abs=SAME_PROBABILITY)
    with refuses("model.no_reasons"):
        served.predict(some, reasons=True)
    wordless = replace(talk, utterances=(talk.utterances[0], *turns[1:]))
    for told, usual in zip(*(served.predict(wordless, reasons=why).utterances for why in (True, False)), strict=True):
        assert replace(told, reasons=None) == usual
        assert told.reasons is not None
        assert told.reasons.speech is told.reasons.words is None
    nothing_of_one = replace(talk, utterances=(replace(turns[0], words=""), *turns[1:]))
    assert all(sum(one.values()) == pytest.approx(1) for one in answers(served.predict(nothing_of_one)))


def test_without_any_words_it_goes_by_speech(served: Predictor, talk: Conversation) -> None:
    wordless = with_turns(talk, words="")
    speech = answers(served.predict(wordless, "audio"))
    assert answers(served.predict(wordless)) == [pytest.approx(one, abs=SAME_PROBABILITY) for one in speech]


def test_what_cannot_be_read_is_told_with_what_to_do(
    place: Path, served: Predictor, plain: Predictor, talk: Conversation
) -> None:
    silent, wordless = with_turns(talk, audio=None), with_turns(talk, words="")
    for model in (served, plain):
        for mode in ("both", "audio"):
            with refuses("model.no_audio", TALK, "--modalities text"):
                model.predict(silent, mode)
    with refuses("model.no_words", TALK, "--modalities audio"):
        served.predict(wordless, "text")
    first, *others = talk.utterances
    some = replace(talk, utterances=(replace(first, audio=None), *others))
    with refuses("model.missing_audio", first.id):
        plain.predict(some)
    moodline(*training(place, place / "words", "--modalities=text", "--reuse", place / "plain"))
    words = package.load(place / "words/fold-5/model")
    assert answers(words.predict(silent, "text")) == answers(words.predict(silent))
    with refuses("model.other_modality", "reads text alone, not audio"):
        words.predict(talk, "audio")


def test_the_command_line_has_the_modes(place: Path, served: Predictor, capsys: pytest.CaptureFixture[str]) -> None:
    talk = read_corpus(place / "corpus").conversation(TALK)
    command = ("predict", place / "corpus", "--conversation", TALK, "--model")
    for mode in ("audio", "text"):
        capsys.readouterr()
        moodline(*command, place / "run/fold-5/model", "--modalities", mode, "--format", "csv")
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert [row["label"] for row in rows] == [one.label for one in served.predict(talk, mode).utterances]
        assert {row["stage"] for row in rows} == {FUSION}
        moodline(*command, place / "run/fold-5/model", "--modalities", mode)
        alone = {"audio": "fusion, audio alone", "text": "fusion, text alone"}[mode]
        assert capsys.readouterr().out.splitlines()[0] == f"{TALK}  ({alone})"
        moodline(*command, place / "plain/fold-5/model", "--modalities", mode)
        context = {"audio": "audio context", "text": "text context"}[mode]
        assert capsys.readouterr().out.splitlines()[0] == f"{TALK}  ({context})"


def test_a_fusion_of_one_modality_answers_for_it(place: Path, talk: Conversation) -> None:
    moodline(*training(place, place / "alone", "--fusion.input_modalities=text", "--reuse", place / "plain"))
    model = package.load(place / "alone/fold-5/model")
    expected = answers(model.predict(talk, "text"))
    assert answers(model.predict(talk)) == [pytest.approx(one, abs=SAME_PROBABILITY) for one in expected]
    assert stages(model.predict(talk, "text")) == {FUSION}
    assert stages(model.predict(talk, "audio")) == {AUDIO_CONTEXT}


@pytest.mark.slow
def test_what_is_dropped_is_dropped_again_when_a_stage_goes_on(place: Path, tmp_path: Path) -> None:
    """Killed while the fusion trains, after each of its epochs' states."""
    options = ("--fusion.modality_dropout=0.5", "--fusion.training.epochs=4", "--reuse", place / "plain")
    unbroken, killed = ([*map(str, training(place, tmp_path / name, *options))] for name in ("whole", "killed"))
    assert run(unbroken, tmp_path / "errors") == 0
    state, writes, times = tmp_path / "killed/fold-5/stages/fusion.pt", 1, 0
    while run(killed, tmp_path / "errors", DieAtWrite(writes, "after")) == -signal.SIGKILL:
        times += state.exists()
        writes = 3 if state.exists() else writes + 1  # what goes on writes run.json, the stage's origin, and a state
        assert times < 9, "it does not go on"
    assert times >= 2, (tmp_path / "errors").read_text()
    expected, found = (load_file(tmp_path / name / "fold-5/model/fusion.safetensors") for name in ("whole", "killed"))
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
