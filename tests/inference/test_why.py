"""Reasons: rows of the self-attention, and what a label loses without speech or without words."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from moodline.config import FUSION, ContextConfig
from moodline.inference import explain
from moodline.inference.windows import WINDOW, plan_windows
from moodline.modeling.context import BiGruAttention, number_speakers
from moodline.modeling.model import ENCODER_BY_STAGE
from moodline.timeline.timeline import Reasons
from tests.inference.tiny_models import CONTEXT, conversation_of, predictor_of, recipe_of
from tests.rounding import assert_rounded_alike, count_operations
from tests.system import SAME_PROBABILITY

TURNS = 8
TALK = conversation_of(TURNS)
PREDICTOR = predictor_of(recipe_of(), TALK)


def reasons(predictor=PREDICTOR, talk=TALK) -> list[Reasons]:
    found = [one.reasons for one in predictor.predict(talk, reasons=True).utterances]
    assert all(found)
    return found


def direct_attention(box: BiGruAttention, values: np.ndarray) -> list[np.ndarray]:
    """softmax((O W)(O W)^T) of each direction, a turn and a pair at a time: values (S, E)."""
    outputs = box.gru(torch.from_numpy(values)[None])[0][0].detach().numpy().astype(float)  # (S, 2H)
    found = []
    for attend, one in zip(box.attention, np.split(outputs, 2, axis=1), strict=True):
        mapped = one @ attend.map.weight.detach().numpy().astype(float).T
        scores = [[float(row @ column) for column in mapped] for row in mapped]
        exponentials = np.exp(np.array(scores) - np.max(scores, axis=1, keepdims=True))
        found.append(exponentials / exponentials.sum(axis=1, keepdims=True))
    return found


def embeddings_of(encoder: str) -> Tensor:
    return torch.stack([PREDICTOR.embeddings[encoder][turn.id] for turn in TALK.utterances])


def test_the_weights_are_those_of_the_definition_and_their_rows_distributions() -> None:
    values = {encoder: embeddings_of(encoder) for encoder in ENCODER_BY_STAGE.values()}
    found = explain.compute_attention(PREDICTOR.model.network, {encoder: one[None] for encoder, one in values.items()})
    assert found is not None
    assert_rounded_alike(found.sum(dim=1), torch.ones(TURNS), 4 * TURNS)
    each = [
        matrix
        for stage, encoder in ENCODER_BY_STAGE.items()
        for matrix in direct_attention(PREDICTOR.model.network.parts[stage], values[encoder].numpy())
    ]
    assert len(each) == 4
    np.testing.assert_allclose(found.detach().numpy(), np.mean(each, axis=0), rtol=0, atol=SAME_PROBABILITY)
    for turn, one in enumerate(reasons()):
        row = np.mean(each, axis=0)[turn]
        others = [other for other in np.argsort(-row) if other != turn][: explain.MAX_INFLUENCES]
        assert [influence.turn for influence in one.context] == others
        assert [influence.weight for influence in one.context] == pytest.approx(row[others], abs=SAME_PROBABILITY)


def test_the_weights_are_those_that_the_context_uses() -> None:
    box = PREDICTOR.model.network.parts["audio_context"]
    values, lengths = torch.randn(2, 5, 5), torch.tensor([5, 3])
    outputs = box.gru(values[1:, :3])[0].chunk(2, dim=-1)
    attended = torch.cat([w[1:, :3, :3] @ o for w, o in zip(box.weights(values, lengths), outputs, strict=True)], -1)
    assert_rounded_alike(attended[0], box(values, lengths).embeddings[1, :3], count_operations(box, steps=5))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turn_is_not_its_own_context(turns: int) -> None:
    for turn, one in enumerate(reasons(talk=replace(TALK, utterances=TALK.utterances[:turns]))):
        assert len(one.context) == min(explain.MAX_INFLUENCES, turns - 1)
        assert turn not in {influence.turn for influence in one.context}


@torch.inference_mode()
@pytest.mark.parametrize("speaker_crf", [False, True])
def test_what_a_label_loses_is_the_difference_of_two_predictions(speaker_crf: bool) -> None:
    predictor = predictor_of(recipe_of(speaker_crf=speaker_crf), TALK)
    network = predictor.model.network
    encodings = predictor.encode(TALK)
    audio, text = encodings["audio_context"].embeddings, encodings["text_context"].embeddings
    lengths = torch.tensor([TURNS])
    probabilities = encodings[FUSION].logits.softmax(dim=-1)
    speakers = number_speakers([turn.speaker for turn in TALK.utterances])[None]

    def fuse(audio: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return network.parts[FUSION](audio[None], text[None], lengths, speakers).logits[0].softmax(-1)

    dull, mute = fuse(audio.mean(dim=0).repeat(TURNS, 1), text), fuse(audio, text.mean(dim=0).repeat(TURNS, 1))
    for turn, one in enumerate(reasons(predictor)):
        label = int(probabilities[turn].argmax())
        assert one.speech == pytest.approx(float(probabilities[turn, label] - dull[turn, label]), abs=SAME_PROBABILITY)
        assert one.words == pytest.approx(float(probabilities[turn, label] - mute[turn, label]), abs=SAME_PROBABILITY)
    assert len({round(one.speech or 0.0, 6) for one in reasons(predictor)}) > 1


@pytest.mark.parametrize(
    "context",
    [
        ContextConfig(hidden=7, kind="bc_lstm"),
        replace(CONTEXT, self_attention=False),
        replace(CONTEXT, attention="released"),
    ],
)
def test_contexts_without_rows_of_attention_name_no_turns(context: ContextConfig) -> None:
    found = reasons(predictor_of(recipe_of(context), TALK))
    assert all(one.context == () and one.speech is not None for one in found)


def test_a_model_of_words_alone_says_nothing_of_the_share_of_speech() -> None:
    found = reasons(predictor_of(recipe_of(modalities="text"), TALK))
    assert all(one.speech is None and one.words is None and len(one.context) == explain.MAX_INFLUENCES for one in found)


def test_reasons_of_a_long_conversation_are_those_of_each_turns_window() -> None:
    talk = conversation_of(WINDOW + 30)
    predictor = predictor_of(recipe_of(), talk)
    found = reasons(predictor, talk)
    second = plan_windows(len(talk.utterances))[1]
    cut = reasons(predictor, replace(talk, utterances=talk.utterances[second.start :]))
    for turn in (second.first, second.last - 1):
        expected = cut[turn - second.start]
        assert [one.turn for one in found[turn].context] == [one.turn + second.start for one in expected.context]
        assert found[turn].speech == pytest.approx(expected.speech, abs=SAME_PROBABILITY)


def test_reasons_are_given_where_they_are_asked_for() -> None:
    plain, told = PREDICTOR.predict(TALK), PREDICTOR.predict(TALK, reasons=True)
    assert all(one.reasons is None for one in plain.utterances)
    assert [replace(one, reasons=None) for one in told.utterances] == list(plain.utterances)
