"""A conversation as it goes on: what is said of a turn is what is said of the last turn of the conversation so far."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from moodline.audio.io import inspect_file
from moodline.config import AudioUtteranceConfig, ContextConfig, Modalities, Recipe
from moodline.conversation import UNKNOWN, Conversation, Utterance
from moodline.inference.pipeline import Model, load
from moodline.inference.streaming import MAX_HISTORY, EncodedConversation, encode_causally
from moodline.inference.windows import encode_in_windows
from moodline.modeling.context import number_speakers
from moodline.modeling.model import relate_to_speakers
from moodline.timeline.timeline import UNCERTAIN, UtterancePrediction
from tests.inference.tiny_models import CONTEXT, conversation_of, predictor_of, recipe_of, write_model
from tests.refusals import refuses
from tests.system import SAME_PROBABILITY

RECIPES = {
    "paper": recipe_of(),
    "words alone": recipe_of(modalities="text"),
    "speaker-relative": recipe_of(replace(CONTEXT, speaker_relative=True)),
    "bc_lstm": recipe_of(ContextConfig(hidden=7, kind="bc_lstm")),
    "released attention": recipe_of(replace(CONTEXT, attention="released")),
    "who speaks": recipe_of(
        replace(CONTEXT, attention="residual", speaker_gru=True, speaker_relative=True, append_speaker_mean=True),
        speaker_crf=True,
    ),
}


def until(talk: Conversation, turns: int) -> Conversation:
    return replace(talk, utterances=talk.utterances[:turns])


def assert_same(found: UtterancePrediction, expected: UtterancePrediction) -> None:
    assert (found.id, found.speaker, found.words) == (expected.id, expected.speaker, expected.words)
    assert list(found.by_stage) == list(expected.by_stage)
    for stage, probabilities in expected.by_stage.items():
        assert found.by_stage[stage] == pytest.approx(probabilities, abs=SAME_PROBABILITY)


@pytest.mark.parametrize("name", RECIPES)
def test_a_turn_is_labelled_as_the_last_of_the_conversation_so_far(name: str) -> None:
    talk = conversation_of(9)
    predictor = predictor_of(RECIPES[name], talk)
    stream = predictor.stream()
    for turn, utterance in enumerate(talk.utterances, start=1):
        assert_same(stream.predict(utterance), predictor.predict(until(talk, turn)).utterances[-1])


def test_below_the_threshold_a_turn_is_uncertain() -> None:
    talk = conversation_of(5)
    predictor = predictor_of(RECIPES["paper"], talk)
    whole = [predictor.predict(until(talk, turns)).utterances[-1] for turns in range(1, 6)]
    middle = sorted(one.probability for one in whole)[2]
    stream = predictor.stream(threshold=middle)
    found = [stream.predict(utterance) for utterance in talk.utterances]
    assert [one.label for one in found] == [one.best if one.probability >= middle else UNCERTAIN for one in found]
    assert {one.label for one in found} > {UNCERTAIN}
    assert [one.best for one in found] == [one.best for one in whole]
    with refuses("option.out_of_range", 1.5):
        predictor.stream(threshold=1.5)


@pytest.mark.parametrize(("name", "told"), [("who speaks", ["turn2"]), ("paper", [])])
def test_the_first_turn_of_an_unknown_speaker_is_told_where_the_model_reads_a_speakers_turns_apart(
    name: str, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    talk = conversation_of(6, ("F", "M", UNKNOWN))
    stream = predictor_of(RECIPES[name], talk).stream()
    with caplog.at_level(logging.WARNING, "moodline"):
        for utterance in talk.utterances:
            stream.predict(utterance)
    assert [record.args for record in caplog.records] == [(one,) for one in told]


@pytest.mark.parametrize("name", ["paper", "speaker-relative", "who speaks"])
def test_of_a_long_conversation_the_last_turns_are_read(name: str) -> None:
    """Speakers' means are those of all turns so far, whatever is read of them."""
    talk = conversation_of(MAX_HISTORY + 40)
    predictor = predictor_of(RECIPES[name], talk)
    recipe, stream = predictor.model.recipe, predictor.stream()
    found = [stream.predict(utterance) for utterance in talk.utterances]
    for turns in (MAX_HISTORY, MAX_HISTORY + 1, MAX_HISTORY + 40):
        utterances = talk.utterances[:turns]
        read = {}
        for encoder, rows in predictor.encode_utterances(utterances).embeddings.items():
            rows = relate_to_speakers(rows, [one.speaker for one in utterances], recipe.audio_context)
            read[encoder] = rows[-MAX_HISTORY:]
        speakers = number_speakers([one.speaker for one in utterances[-MAX_HISTORY:]])
        expected = (
            encode_in_windows(predictor.model.network, read, speakers=speakers)["fusion"].logits[-1].softmax(dim=-1)
        )
        assert list(found[turns - 1].probabilities.values()) == pytest.approx(expected.tolist(), abs=SAME_PROBABILITY)
    assert all(len(kept) == MAX_HISTORY for kept in stream.history.embeddings.values())


@pytest.mark.parametrize("name", RECIPES)
def test_conversations_side_by_side_are_labelled_as_each_in_a_stream(name: str) -> None:
    talks = [conversation_of(turns, speakers) for turns, speakers in ((4, ("a",)), (1, ("b",)), (7, ("a", "b")))]
    predictor = predictor_of(RECIPES[name], talks[2])
    alone = [predictor.encode_utterances(talk.utterances) for talk in talks]
    by_talk = encode_causally(
        predictor.model.network,
        predictor.model.recipe,
        [EncodedConversation(one.embeddings, talk.utterances) for one, talk in zip(alone, talks, strict=True)],
    )
    for talk, one, encodings in zip(talks, alone, by_talk, strict=True):
        stream = predictor.stream()
        for found, utterance in zip(
            predictor.build_predictions(talk.utterances, {**one.encodings, **encodings}), talk.utterances, strict=True
        ):
            assert_same(found, stream.predict(utterance))


@pytest.fixture(scope="module")
def one_of_three_modes(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model with encoders of its own whose fusion was trained with modality dropout."""
    return load(write_model(tmp_path_factory.mktemp("modes"), "both", modality_dropout=0.3))


@pytest.fixture(scope="module")
def patchy(tmp_path_factory: pytest.TempPathFactory) -> Conversation:
    """Turns of which some have no words, some no audio, and one nothing."""
    folder, generator, rate = tmp_path_factory.mktemp("talk"), np.random.default_rng(0), 16_000
    turns = []
    for number, (words, speaks) in enumerate([("Yes.", 1), ("", 1), ("No.", 0), ("", 0), ("Well, no.", 1), (" ", 1)]):
        file = folder / f"{number}.wav"
        soundfile.write(file, generator.normal(0, 0.1, rate), rate)
        audio = inspect_file(file) if speaks else None
        turns.append(Utterance(id=str(number), speaker="FM"[number % 2], words=words, audio=audio))
    return Conversation(id="patchy", utterances=tuple(turns))


@pytest.mark.parametrize("modalities", ["both", "audio", "text"])
def test_turns_that_lack_audio_or_words_are_labelled_as_the_last_so_far(
    modalities: Modalities, one_of_three_modes: Model, patchy: Conversation
) -> None:
    stream = one_of_three_modes.stream(modalities)
    for turn, utterance in enumerate(patchy.utterances, start=1):
        expected = one_of_three_modes.predict(until(patchy, turn), modalities).utterances[-1]
        assert_same(stream.predict(utterance), expected)


def test_turns_that_lack_audio_or_words_are_labelled_side_by_side_as_in_a_stream(
    one_of_three_modes: Model, patchy: Conversation
) -> None:
    talks = [patchy, until(patchy, 3)]
    alone = [one_of_three_modes.encode_present(talk) for talk in talks]
    model = one_of_three_modes.model
    by_talk = encode_causally(
        model.network,
        model.recipe,
        [EncodedConversation(one.embeddings, talk.utterances) for one, talk in zip(alone, talks, strict=True)],
    )
    for talk, one, encodings in zip(talks, alone, by_talk, strict=True):
        stream = one_of_three_modes.stream()
        for found, utterance in zip(
            one_of_three_modes.build_predictions(talk.utterances, {**one.encodings, **encodings}),
            talk.utterances,
            strict=True,
        ):
            assert_same(found, stream.predict(utterance))


def test_a_stream_without_any_audio_is_refused_and_goes_on_with_what_has_some(
    one_of_three_modes: Model, patchy: Conversation
) -> None:
    silent, stream = patchy.utterances[2], one_of_three_modes.stream()
    with refuses("model.no_audio", "--modalities text"):
        stream.predict(silent)
    found = stream.predict(patchy.utterances[0])
    assert_same(found, one_of_three_modes.predict(until(patchy, 1)).utterances[0])


def test_no_conversation_takes_no_time() -> None:
    talk = conversation_of(1)
    predictor = predictor_of(recipe_of(), talk)
    assert encode_causally(predictor.model.network, predictor.model.recipe, []) == []


def test_a_turn_that_cannot_be_read_is_no_part_of_the_conversation() -> None:
    talk = conversation_of(4)
    predictor = predictor_of(recipe_of(), talk)
    stream = predictor.stream()
    stream.predict(talk.utterances[0])
    with refuses("embeddings.missing_utterance", "stranger"):
        stream.predict(replace(talk.utterances[1], id="stranger"))
    found = stream.predict(talk.utterances[1])
    assert_same(found, predictor.predict(until(talk, 2)).utterances[-1])


def test_samples_are_labelled_as_a_file_of_them_is(tmp_path: Path) -> None:
    recipe = Recipe(
        modalities="audio",
        audio_utterance=AudioUtteranceConfig(channels=(3, 4, 5, 6, 7, 8), embedding=5),
        audio_context=CONTEXT,
    )
    predictor = predictor_of(recipe, conversation_of(0))
    rate = recipe.audio_utterance.sample_rate
    samples = np.random.default_rng(0).normal(0, 0.1, 2 * rate).astype(np.float32)
    files, arrays = predictor.stream(), predictor.stream()
    for number, (begin, end) in enumerate(((0, rate), (rate, 2 * rate))):
        soundfile.write(tmp_path / f"{number}.wav", samples[begin:end], rate, subtype="FLOAT")
        turn = Utterance(id=str(number), speaker="F", words="Yes.", audio=inspect_file(tmp_path / f"{number}.wav"))
        assert_same(arrays.predict_samples(samples[begin:end], rate, "Yes.", "F"), files.predict(turn))
    integers = (samples.clip(-1, 1) * 32767).round().astype(np.int16)[:rate]
    stream = predictor.stream()
    as_floats = predictor.stream().predict_samples(integers / np.float32(32768), rate, "Yes.", "F")
    assert stream.predict_samples(integers, rate, "Yes.", "F").probabilities == pytest.approx(
        as_floats.probabilities, abs=1e-6
    )
    slow = arrays.predict_samples(samples[::2], rate // 2, "Yes.")
    assert (slow.id, slow.speaker) == ("2", "unknown")


def test_the_former_names_are_deprecated_aliases() -> None:
    talk = conversation_of(1)
    predictor = predictor_of(RECIPES["paper"], talk)
    expected = predictor.stream().predict(talk.utterances[0])
    with pytest.warns(DeprecationWarning, match="Stream.predict$"):
        assert_same(predictor.stream().hear(talk.utterances[0]), expected)
    with pytest.warns(DeprecationWarning, match="Stream.predict_samples$"), refuses("stream.bad_samples", (0,)):
        predictor.stream().hear_samples(np.zeros(0), sample_rate=16_000, words="")


@pytest.mark.parametrize(
    "samples", [np.zeros((2, 9)), np.zeros(0), np.array([0.0, np.nan])], ids=["two rows", "none", "not a number"]
)
def test_samples_that_are_no_sound_are_refused(samples: np.ndarray) -> None:
    stream = predictor_of(recipe_of(), conversation_of(0)).stream()
    with refuses("stream.bad_samples", samples.shape):
        stream.predict_samples(samples, 16_000, "")
