"""What the fusion is trained on where it is to know conversations without speech or without words."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from moodline.config import Modalities, Recipe
from moodline.conversation import IEMOCAP4, AudioClip, Conversation, Utterance
from moodline.experiments.paper_tables import change_config
from moodline.training.dataset import (
    FusionItems,
    StageData,
    build_conversation_items,
    collate_items,
    draw_modalities,
)

CLIP = AudioClip(path=Path("a.wav"), duration=1.0, sample_rate=16_000)
DROPPED = change_config(Recipe(), {"fusion.modality_dropout": 0.4})


def conversation(name: str, *labels: str | None) -> Conversation:
    turns = (
        Utterance(id=f"{name}_{number}", speaker="F", words="yes", audio=CLIP, label=label)
        for number, label in enumerate(labels)
    )
    return Conversation(id=name, utterances=tuple(turns))


FIRST = conversation("first", "ang", "xxx", "exc")
SECOND = conversation("second", "sad")
UNLABELLED = conversation("unlabelled", "xxx")
TALKS = [FIRST, SECOND, UNLABELLED]
TURNS = [turn.id for talk in TALKS for turn in talk.utterances]
EMBEDDINGS = [{name: torch.full((2,), float(number)) for number, name in enumerate(TURNS)} for _ in range(2)]
MASKS: dict[Modalities, list[bool]] = {"both": [True, True], "audio": [True, False], "text": [False, True]}


def data(recipe: Recipe, talks: list[Conversation] = TALKS) -> StageData:
    return StageData(*(FusionItems(talks, EMBEDDINGS, recipe, IEMOCAP4, train=train) for train in (True, False)))


def items_of(found: StageData) -> tuple[FusionItems, FusionItems]:
    assert isinstance(found.train, FusionItems)
    assert isinstance(found.validation, FusionItems)
    return found.train, found.validation


def given(items: FusionItems, index: int) -> list[bool]:
    """Whether an item has speech, and whether it has words: everywhere or nowhere."""
    present = [set(mask.tolist()) for mask in items[index].masks[1:]]
    assert all(len(one) == 1 for one in present)
    return [one.pop() for one in present]


def names(count: int) -> list[Conversation]:
    return [conversation(f"talk {number}", "ang") for number in range(count)]


def test_what_is_drawn_depends_on_seed_epoch_and_id_alone() -> None:
    talks = names(60)
    drawn = [draw_modalities(DROPPED, 3, one) for one in talks]
    assert [draw_modalities(DROPPED, 3, one) for one in reversed(talks)] == drawn[::-1]
    assert [draw_modalities(DROPPED, 4, one) for one in talks] != drawn
    assert [draw_modalities(replace(DROPPED, seed=1), 3, one) for one in talks] != drawn


def test_modalities_are_dropped_as_often_as_is_said_half_of_it_each() -> None:
    counts = Counter(draw_modalities(DROPPED, epoch, one) for epoch in range(40) for one in names(100))
    for mode, share in {"both": 0.6, "audio": 0.2, "text": 0.2}.items():
        # 4 deviations of a share of 4000 draws
        assert counts[mode] / 4000 == pytest.approx(share, abs=4 * (share * (1 - share) / 4000) ** 0.5)


def test_an_items_masks_are_what_its_epoch_draws() -> None:
    train, _ = items_of(data(DROPPED))
    for epoch in range(20):
        train.epoch = epoch
        assert given(train, 0) == MASKS[draw_modalities(DROPPED, epoch, FIRST)]


def test_an_epoch_is_selected_by_each_mode_alike() -> None:
    found = data(DROPPED)
    _, validation = items_of(found)
    assert found.validation.lengths == [3, 1] * 3
    assert [given(validation, index) for index in range(6)] == [
        MASKS[mode] for mode in ("both", "audio", "text") for _ in range(2)
    ]


@pytest.mark.parametrize("mode", ["audio", "text"])
def test_a_fusion_of_one_modality_is_never_given_the_other(mode: Modalities) -> None:
    found = data(change_config(Recipe(), {"fusion.input_modalities": mode}))
    assert found.train.lengths == found.validation.lengths == [3, 1]
    for items in items_of(found):
        for items.epoch in range(5):
            assert [given(items, index) for index in range(2)] == [MASKS[mode]] * 2


def test_sequences_and_labels_are_those_of_training_without_it() -> None:
    expected, found = build_conversation_items(TALKS, EMBEDDINGS, IEMOCAP4), data(DROPPED)
    assert found.train.lengths == expected.lengths
    for index in range(2):
        assert torch.equal(found.train[index].labels, expected[index].labels)
        for one, other in zip(found.train[index].sequences, expected[index].sequences, strict=True):
            assert torch.equal(one, other)


def lacking(talk: Conversation, turn: int, **changes: object) -> Conversation:
    turns = list(talk.utterances)
    turns[turn] = replace(turns[turn], **changes)
    return replace(talk, utterances=tuple(turns))


def test_turns_that_lack_a_modality_lack_it_in_training() -> None:
    talk = lacking(lacking(FIRST, 0, words=" "), 2, audio=None)
    items, _ = items_of(data(change_config(Recipe(), {"fusion.modality_dropout": 1e-9}), [talk]))
    _, has_audio, has_text = items[0].masks
    assert has_audio.tolist() == [True, True, False]
    assert has_text.tolist() == [False, True, True]


def test_a_conversation_is_never_left_without_anything() -> None:
    wordless = lacking(SECOND, 0, words="")
    train, validation = items_of(data(change_config(Recipe(), {"fusion.modality_dropout": 0.99}), [wordless]))
    for train.epoch in range(50):
        assert given(train, 0) == MASKS["audio"]
    assert [given(validation, index) for index in range(len(validation))] == [MASKS["audio"]] * 2  # not words alone
    words = data(change_config(Recipe(), {"fusion.input_modalities": "text"}), [wordless, FIRST])
    assert words.train.lengths == words.validation.lengths == [3]


def test_a_batchs_masks_are_padded_with_what_is_absent() -> None:
    train, _ = items_of(data(change_config(Recipe(), {"fusion.input_modalities": "text"})))
    batch = collate_items([train[1], train[0]])
    masks: list[Tensor] = list(batch.inputs[4:])
    assert batch.inputs[2].tolist() == [1, 3]
    assert masks[0].tolist() == [[False] * 3] * 2
    assert masks[1].tolist() == [[True, False, False], [True] * 3]
