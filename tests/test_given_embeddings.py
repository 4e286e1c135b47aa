"""Embeddings from files in the place of parts 1 and 2: the same system behind them, and what is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

import moodline as package
from moodline.config import AUDIO_CONTEXT, AUDIO_UTTERANCE, FUSION, TEXT_CONTEXT, TEXT_UTTERANCE
from moodline.conversation import Conversation
from moodline.corpora.corpus import read_corpus, write_corpus
from moodline.corpora.protocols import build_folds
from moodline.embeddings import TrainingRecord, read_embeddings, write_embeddings
from moodline.evaluation.evaluate import evaluate_model, evaluate_run
from tests.refusals import refuses
from tests.rounding import assert_rounded_alike
from tests.system import OPERATIONS, SAME_PROBABILITY, moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

LATER = (AUDIO_CONTEXT, TEXT_CONTEXT, FUSION)
MODEL = "fold-5/model"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """corpus/; run/, trained as usual; embedded/, of its model; exact/, what its own later stages read; given/, trained
    on exact/."""
    place = tmp_path_factory.mktemp("given")
    write_tree(place / "tree")
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    train(place, place / "run")
    moodline("evaluate", place / "run")
    moodline("embed", place / "corpus", "--model", place / "run" / MODEL, "-o", place / "embedded")
    for name, encoder in (("audio", AUDIO_UTTERANCE), ("text", TEXT_UTTERANCE)):
        own = read_embeddings(place / "run/fold-5/embeddings" / f"{encoder}.parquet").vectors
        embedded = read_embeddings(place / "embedded" / f"{name}.parquet")
        # Other batches round otherwise: these are the very numbers that the run's later stages read.
        write_embeddings(place / "exact" / f"{name}.parquet", {**embedded.vectors, **own}, embedded.training_record)
    train(place, place / "given", *both(place / "exact"))
    moodline("evaluate", place / "given")
    return place


def train(place: Path, out: Path, *options: object, corpus: Path | None = None) -> Path:
    recipe = ("--recipe", place / "tiny.yaml", "--protocol", "session5", *options)
    moodline("train", corpus or place / "corpus", *recipe, "-o", out)
    return out / MODEL


def both(folder: Path) -> tuple[object, ...]:
    return "--audio-embeddings", folder / "audio.parquet", "--text-embeddings", folder / "text.parquet"


def nothing(*_: object) -> None:
    pass


def vectors_of(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    files = {AUDIO_UTTERANCE: "audio.parquet", TEXT_UTTERANCE: "text.parquet"}
    return {encoder: dict(read_embeddings(folder / name).vectors) for encoder, name in files.items()}


def mistake(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence that a user's mistake gets, with exit code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        moodline(*arguments)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def assert_same_weights(first: Path, second: Path, stages: tuple[str, ...] = LATER) -> None:
    for stage in stages:
        one, other = load_file(first / f"{stage}.safetensors"), load_file(second / f"{stage}.safetensors")
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one), stage


def test_what_is_embedded_is_what_the_later_stages_read(place: Path) -> None:
    ids = [utterance.id for utterance in read_corpus(place / "corpus").utterances]
    for encoder, vectors in vectors_of(place / "embedded").items():
        assert list(vectors) == ids
        own = read_embeddings(place / "run/fold-5/embeddings" / f"{encoder}.parquet").vectors
        assert own.keys() < vectors.keys()
        for name, vector in own.items():
            assert_rounded_alike(vectors[name], vector, OPERATIONS)


def test_the_stages_behind_given_embeddings_are_those_behind_ones_own(place: Path) -> None:
    model = place / "given" / MODEL
    assert_same_weights(place / "run" / MODEL, model)
    assert {path.stem for path in model.glob("*.safetensors")} == set(LATER)
    assert not (model / "bert").exists()


def test_the_model_folder_tells_what_it_reads(place: Path) -> None:
    model = place / "given" / MODEL
    description = json.loads((model / "config.json").read_text())
    for encoder, name in ((AUDIO_UTTERANCE, "audio"), (TEXT_UTTERANCE, "text")):
        assert description["recipe"][encoder]["given"] is True
        assert description["recipe"][encoder]["embedding"] == 12
        told = f"{name}.parquet, hash {read_embeddings(place / 'exact' / f'{name}.parquet').hash}"
        assert description["provenance"]["embeddings"][encoder] == told
        assert f"length 12 instead of {encoder}; trained on {told}" in (model / "README.md").read_text()
    assert package.load(model).model.recipe.given == {AUDIO_UTTERANCE: 12, TEXT_UTTERANCE: 12}
    assert package.load(model).model.tokenizer is None


def test_the_scores_are_the_same(place: Path) -> None:
    tables = [pq.read_table(place / run / "predictions.parquet") for run in ("run", "given")]
    stages = json.loads((place / "given" / "results.json").read_text())["scores"]
    assert [entry["stage"] for entry in stages] == [*LATER, "majority"]
    for stage in LATER:
        first, second = (table.filter(pc.field("stage") == stage) for table in tables)
        assert first["utterance_id"] == second["utterance_id"]
        for name in first.column_names:
            if name.startswith("p_"):
                np.testing.assert_allclose(
                    first[name].to_numpy(), second[name].to_numpy(), rtol=0, atol=SAME_PROBABILITY
                )
    report = (place / "given" / "report.html").read_text()
    # Of the model that made the embeddings its calibration is told.
    report = re.sub(r'<p class="warning">The probabilities of .*?</p>', "", report)
    assert "audio context" in report
    assert "audio encoder" not in report


def test_a_conversation_is_predicted_from_its_embeddings_alone(place: Path) -> None:
    original = read_corpus(place / "corpus").conversations[-1]
    silent = replace(original, utterances=tuple(replace(u, audio=None, words="") for u in original.utterances))
    model = package.load(place / "given" / MODEL).with_embeddings(vectors_of(place / "embedded"))
    expected = package.load(place / "run" / MODEL).predict(original).utterances
    for found, one in zip(model.predict(silent).utterances, expected, strict=True):
        assert list(found.by_stage) == list(LATER)
        assert found.probabilities == pytest.approx(one.probabilities, abs=SAME_PROBABILITY)
    assert model.predict(Conversation(id="empty", utterances=())).utterances == ()


def test_predictions_depend_on_the_embeddings_given(place: Path) -> None:
    vectors = vectors_of(place / "embedded")
    conversation = read_corpus(place / "corpus").conversations[-1]
    model = package.load(place / "given" / MODEL)
    expected = model.with_embeddings(vectors).predict(conversation).utterances[0].by_stage
    changed = vectors | {AUDIO_UTTERANCE: {name: vector + 1 for name, vector in vectors[AUDIO_UTTERANCE].items()}}
    found = model.with_embeddings(changed).predict(conversation).utterances[0].by_stage
    assert found[TEXT_CONTEXT] == expected[TEXT_CONTEXT]
    for stage in (AUDIO_CONTEXT, FUSION):
        assert found[stage] != pytest.approx(expected[stage], abs=10 * SAME_PROBABILITY)


def test_the_command_line_predicts_from_files(place: Path, tmp_path: Path) -> None:
    command = ("predict", place / "corpus", "--conversation", "Ses05F_impro01", "--format", "json")
    moodline(*command, "--model", place / "run" / MODEL, "-o", tmp_path / "run.json")
    moodline(*command, "--model", place / "given" / MODEL, *both(place / "embedded"), "-o", tmp_path / "given.json")
    ((first,), (second,)) = (json.loads((tmp_path / name).read_text()) for name in ("run.json", "given.json"))
    for one, other in zip(first["utterances"], second["utterances"], strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=SAME_PROBABILITY)


def test_one_encoder_is_given_and_the_other_trained(place: Path, tmp_path: Path) -> None:
    model = train(place, tmp_path / "run", "--audio-embeddings", place / "exact" / "audio.parquet")
    assert_same_weights(place / "run" / MODEL, model, (TEXT_UTTERANCE, *LATER))
    assert package.load(model).model.recipe.stages == (TEXT_UTTERANCE, *LATER)


def test_of_one_modality_the_context_alone_is_trained(place: Path, tmp_path: Path) -> None:
    options = ("--modalities", "audio", "--audio-embeddings", place / "exact" / "audio.parquet")
    model = train(place, tmp_path / "run", *options)
    assert [path.stem for path in model.glob("*.safetensors")] == [AUDIO_CONTEXT]
    assert_same_weights(place / "run" / MODEL, model, (AUDIO_CONTEXT,))
    stages = [entry.stage for entry in evaluate_run(tmp_path / "run", nothing).evaluation.scores]
    assert stages == [AUDIO_CONTEXT, "majority"]
    shifted = {name: vector + 1 for name, vector in vectors_of(place / "exact")[AUDIO_UTTERANCE].items()}
    other = audio_file(place, tmp_path / "audio.parquet", dict(shifted))
    moodline(*audio_alone(place, other, tmp_path / "other"))
    with pytest.raises(AssertionError, match=AUDIO_CONTEXT):
        assert_same_weights(model, tmp_path / "other" / MODEL, (AUDIO_CONTEXT,))


def test_a_corpus_without_audio_words_and_times_is_enough(place: Path, tmp_path: Path) -> None:
    corpus = read_corpus(place / "corpus")
    bare = tuple(
        replace(
            one,
            utterances=tuple(replace(u, audio=None, words="", start=None, end=None) for u in one.utterances),
        )
        for one in corpus.conversations
    )
    write_corpus(replace(corpus, conversations=bare), tmp_path / "corpus")
    model = train(place, tmp_path / "run", *both(place / "exact"), corpus=tmp_path / "corpus")
    assert_same_weights(place / "run" / MODEL, model)
    assert evaluate_run(tmp_path / "run", nothing).evaluation.scores[-2].stage == FUSION


def audio_file(
    place: Path, path: Path, changes: dict[str, torch.Tensor | None], seen: TrainingRecord | None = None
) -> Path:
    """A copy of the file of speech with some vectors changed, new or, for None, left out."""
    vectors = vectors_of(place / "exact")[AUDIO_UTTERANCE] | changes
    write_embeddings(path, {name: vector for name, vector in vectors.items() if vector is not None}, seen)
    return path


def audio_alone(place: Path, file: Path, out: Path, *options: object) -> tuple[object, ...]:
    recipe = ("--recipe", place / "tiny.yaml", "--protocol", "session5", "--modalities", "audio")
    return "train", place / "corpus", *recipe, "--audio-embeddings", file, "-o", out, *options


def test_only_the_turns_that_are_read_need_a_vector(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the labelled context turns without a class are not read; ids of other corpora are no matter."""
    corpus = read_corpus(place / "corpus")
    labels = package.load(place / "run" / MODEL).model.label_set
    unread = {u.id: None for u in corpus.utterances if labels.index(u.label) is None}
    file = audio_file(place, tmp_path / "audio.parquet", unread | {"another": torch.zeros(12)})
    moodline(*audio_alone(place, file, tmp_path / "run"))
    assert_same_weights(place / "run" / MODEL, tmp_path / "run" / MODEL, (AUDIO_CONTEXT,))
    sentence = mistake(capsys, *audio_alone(place, file, tmp_path / "all", "--context", "all"))
    first = ", ".join(list(unread)[:3])
    assert f"{file} lacks {len(unread)} of {sum(1 for _ in corpus.utterances)} utterances ({first}, ...)" in sentence
    assert not (tmp_path / "all").exists()


def test_a_run_goes_on_with_the_same_embeddings_alone(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the hash, wherever the file lies."""
    file = audio_file(place, tmp_path / "audio.parquet", {})
    moodline(*audio_alone(place, file, tmp_path / "run"))
    copy = file.rename(tmp_path / "renamed.parquet")
    moodline(*audio_alone(place, copy, tmp_path / "run"))
    assert "finished before" in capsys.readouterr().out
    moodline("evaluate", tmp_path / "run")  # the run knows where the file is now
    copy = copy.rename(tmp_path / "moved.parquet")
    sentence = mistake(capsys, "evaluate", tmp_path / "run")
    assert f"{tmp_path / 'renamed.parquet'}, the embeddings that" in sentence
    assert sentence.endswith("is missing. Give its present path with --audio-embeddings FILE.")
    moodline("evaluate", tmp_path / "run", "--audio-embeddings", copy)
    assert (tmp_path / "run" / "results.json").is_file()

    changed = tmp_path / "renamed.parquet"
    audio_file(place, changed, {read_corpus(place / "corpus").conversations[0].utterances[0].id: torch.ones(12)})
    sentence = mistake(capsys, *audio_alone(place, changed, tmp_path / "run"))
    assert "holds another run: its embeddings.audio_utterance.hash is " in sentence
    for options in ((), ("--audio-embeddings", changed)):
        sentence = mistake(capsys, "evaluate", tmp_path / "run", *options)
        assert f"{changed} has {read_embeddings(changed).hash}" in sentence
        assert "--audio-embeddings FILE" in sentence


def test_a_run_of_ones_own_encoder_is_another_run(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = ("--recipe", place / "tiny.yaml", "--protocol", "session5")
    sentence = mistake(capsys, "train", place / "corpus", *recipe, *both(place / "exact"), "-o", place / "run")
    assert "holds another run: its embeddings.audio_utterance.hash is None, here it is" in sentence
    sentence = mistake(capsys, "train", place / "corpus", *recipe, "-o", place / "given")
    assert "holds another run: its embeddings.audio_utterance." in sentence
    assert "here it is None" in sentence


def test_a_recipe_may_say_itself_that_embeddings_are_given(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--audio_utterance.given", "true")
    file = place / "exact" / "audio.parquet"
    sentence = mistake(capsys, "train", *audio_alone(place, file, tmp_path / "a", *given)[1:6], *given, "-o", "run")
    assert "embeddings of length 12 instead of its audio_utterance: give them with --audio-embeddings FILE" in sentence
    sentence = mistake(capsys, *audio_alone(place, file, tmp_path / "b", *given, "--audio_utterance.embedding", "768"))
    assert "reads vectors of length 768" in sentence
    assert f"{file} has length 12" in sentence
    sentence = mistake(capsys, *audio_alone(place, file, tmp_path / "c", "--text-embeddings", file))
    assert "no embeddings instead of text_utterance: leave out --text-embeddings" in sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["predict", "evaluate", "embed"])
def test_a_model_says_which_embeddings_it_needs(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    out = ("-o", tmp_path / "out")

    def words(model: Path, *options: object) -> str:
        where = ("--corpus", place / "corpus") if command == "evaluate" else (place / "corpus",)
        stage = ("--stage", "context") if command == "embed" else ()
        return mistake(capsys, command, *where, "--model", model, *stage, *out, *options)

    given, own = place / "given" / MODEL, place / "run" / MODEL
    audio, text = both(place / "embedded")[:2], both(place / "embedded")[2:]
    assert "instead of its audio_utterance" in words(given)
    assert "give them with --audio-embeddings FILE" in words(given, *text)
    assert "give them with --text-embeddings FILE" in words(given, *audio)
    assert "leave out --audio-embeddings" in words(own, *audio)
    short = tmp_path / "short.parquet"
    write_embeddings(short, {u.id: torch.zeros(3) for u in read_corpus(place / "corpus").utterances})
    assert "reads vectors of length 12" in words(given, "--audio-embeddings", short, *text)
    gone = {u.id: None for u in read_corpus(place / "corpus").conversations[0].utterances}
    assert "lacks" in words(given, *text, "--audio-embeddings", audio_file(place, tmp_path / "less.parquet", gone))
    (tmp_path / "none.parquet").write_text("none")
    assert "a Parquet table with" in words(given, *text, "--audio-embeddings", tmp_path / "none.parquet")
    assert not (tmp_path / "out").exists()


def test_python_says_which_embeddings_a_model_needs(place: Path) -> None:
    model, conversation = package.load(place / "given" / MODEL), read_corpus(place / "corpus").conversations[0]
    vectors = vectors_of(place / "embedded")
    with refuses("embeddings.missing", "audio_utterance", "with_embeddings"):
        model.predict(conversation)
    with refuses("embeddings.missing", "text_utterance"):
        model.with_embeddings({AUDIO_UTTERANCE: vectors[AUDIO_UTTERANCE]})
    with refuses("embeddings.unexpected", "audio"):
        model.with_embeddings(vectors | {"audio": vectors[AUDIO_UTTERANCE]})
    with refuses("embeddings.missing_utterance", "6 of 6"):
        model.with_embeddings(vectors | {AUDIO_UTTERANCE: {}}).predict(conversation)


def test_a_model_is_scored_elsewhere_on_that_corpuss_embeddings(place: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", seed=1)
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    moodline("embed", tmp_path / "corpus", "--model", place / "run" / MODEL, "-o", tmp_path / "embedded")
    own = evaluate_model(place / "run" / MODEL, tmp_path / "corpus", tmp_path / "own", nothing)
    options = ("--corpus", tmp_path / "corpus", *both(tmp_path / "embedded"), "-o", tmp_path / "given")
    moodline("evaluate", "--model", place / "given" / MODEL, *options)
    found = {one["stage"]: one["pooled"] for one in json.loads((tmp_path / "given/results.json").read_text())["scores"]}
    expected = {one.stage: one.pooled for one in own.evaluation.scores}
    for stage in LATER:
        assert found[stage]["ua"]["value"] == pytest.approx(expected[stage].ua.value)


def test_what_embeddings_own_model_has_seen_is_not_tested(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its encoders were trained on sessions 2 to 4 and selected on session 1."""
    recipe = ("--recipe", place / "tiny.yaml", "--protocol", "cv5", *both(place / "exact"))
    sentence = mistake(capsys, "train", place / "corpus", *recipe, "-o", tmp_path / "run")
    assert f"made {place / 'exact' / 'audio.parquet'} has seen Ses01F_impro01" in sentence
    assert "cv5, fold 1 tests" in sentence
    assert not (tmp_path / "run").exists()


def test_a_model_has_seen_what_the_model_behind_its_embeddings_has(place: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", seed=1)
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    elsewhere = read_corpus(tmp_path / "corpus").conversations
    seen = TrainingRecord(trained_on=(elsewhere[3].fingerprint,), selected_on=(elsewhere[5].fingerprint,))
    file = audio_file(
        place, tmp_path / "audio.parquet", {u.id: torch.zeros(12) for c in elsewhere for u in c.utterances}, seen
    )
    moodline(*audio_alone(place, file, tmp_path / "run"))
    with refuses("embeddings.seen_conversation", f"trained on {elsewhere[3].id}"):
        evaluate_model(
            tmp_path / "run" / MODEL, tmp_path / "corpus", tmp_path / "out", nothing, {AUDIO_UTTERANCE: file}
        )
    (fold,) = build_folds(read_corpus(place / "corpus"), "session5")
    provenance = package.load(tmp_path / "run" / MODEL).model.provenance
    assert set(provenance.trained_on) == {*(one.fingerprint for one in fold.train), *seen.trained_on}
    assert set(provenance.selected_on) == {*(one.fingerprint for one in fold.validation), *seen.selected_on}
