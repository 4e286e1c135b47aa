from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from moodline.config import Recipe
from moodline.conversation import IEMOCAP4, AudioClip, Conversation, Utterance
from moodline.experiments.paper_tables import change_config
from moodline.modeling.context import number_speakers
from moodline.modeling.text_encoder import load_text_backbone
from moodline.training.dataset import (
    UNSCORED,
    BatchLoader,
    Item,
    StageData,
    WaveformItems,
    build_conversation_items,
    build_token_items,
    collate_items,
    select_scored,
    take_share,
)
from tests.rounding import rounding
from tests.tiny import tiny_bert

RATE = 16000
SLOPE = 2.0**-16  # of a ramp, exact in float32: played at another speed, its slope tells the speed


def conversation(name: str, *labels: str | None) -> Conversation:
    turns = (Utterance(id=f"{name}_{n}", speaker="F", words="yes " * n, label=label) for n, label in enumerate(labels))
    return Conversation(id=name, utterances=tuple(turns))


FIRST = conversation("first", "ang", "xxx", "exc", None, "neu")
SECOND = conversation("second", "sad")
UNLABELLED = conversation("unlabelled", "xxx", None)


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> AudioClip:
    path = tmp_path_factory.mktemp("audio") / "ramp.wav"
    soundfile.write(path, SLOPE * np.arange(RATE), RATE, subtype="FLOAT")
    return AudioClip(path=path, duration=1.0, sample_rate=RATE)


def build_waveform_data(conversation: Conversation, recipe: Recipe) -> StageData:
    scored = select_scored([conversation], IEMOCAP4)
    return StageData(*(WaveformItems(*scored, recipe, train=train) for train in (True, False)))


def speed(item: Item) -> float:
    (samples,) = item.sequences
    return float(samples[-1]) / (len(samples) - 1) / SLOPE


def speeds(clip: AudioClip, ids: list[str], seed: int = 0, epoch: int = 0, change: float = 0.2) -> dict[str, float]:
    utterances = [Utterance(id=name, speaker="F", words="", audio=clip) for name in ids]
    recipe = change_config(Recipe(seed=seed), {"audio_utterance.speed_change": change})
    items = WaveformItems(utterances, torch.zeros(len(ids), dtype=torch.long), recipe, train=True)
    items.epoch = epoch
    return {name: speed(items[index]) for index, name in enumerate(ids)}


IDS = [f"Ses01F_impro01_F{number:03}" for number in range(20)]


def test_the_speed_depends_on_seed_epoch_and_id_alone(ramp: AudioClip) -> None:
    drawn = speeds(ramp, IDS)
    again = speeds(ramp, [*IDS[::-1], "another"])
    assert {name: again[name] for name in IDS} == drawn
    for other in (speeds(ramp, IDS, seed=1), speeds(ramp, IDS, epoch=1)):
        assert all(abs(other[name] - drawn[name]) > 1e-6 for name in IDS)
    assert len({round(value, 6) for value in drawn.values()}) == len(IDS)


def test_speeds_lie_within_the_change_and_use_it(ramp: AudioClip) -> None:
    drawn = [value for epoch in range(5) for value in speeds(ramp, IDS, epoch=epoch).values()]
    assert 0.8 - 1e-4 <= min(drawn) < 0.82
    assert 1.18 < max(drawn) <= 1.2 + 1e-4


def test_without_a_change_the_waveform_is_the_recording(ramp: AudioClip) -> None:
    utterance = Utterance(id="a", speaker="F", words="", audio=ramp)
    for train in (True, False):
        items = WaveformItems([utterance], torch.tensor([2]), Recipe(), train=train)
        assert items[0].sequences[0].equal(SLOPE * torch.arange(RATE))
        assert int(items[0].labels) == 2


def test_the_speed_is_changed_in_training_alone(ramp: AudioClip) -> None:
    recipe = change_config(Recipe(), {"audio_utterance.speed_change": 0.2})
    heard = Conversation(id="c", utterances=tuple(replace(utterance, audio=ramp) for utterance in FIRST.utterances))
    data = build_waveform_data(heard, recipe)
    assert data.train.lengths == data.validation.lengths == [1.0] * 3
    assert [speed(data.validation[index]) for index in range(3)] == pytest.approx([1.0] * 3, rel=rounding(4))
    assert all(abs(speed(data.train[index]) - 1) > 1e-4 for index in range(3))


PADDED = 1.5  # seconds
RELEASED = {"audio_utterance.padding": "released", "audio_utterance.padded_seconds": PADDED}


def places(clip: AudioClip, seed: int = 0, epoch: int = 0, train: bool = True) -> dict[str, int]:
    """Where each utterance begins in its padding, in samples; that it is whole is checked."""
    utterances = [Utterance(id=name, speaker="F", words="", audio=clip) for name in IDS]
    recipe = change_config(Recipe(seed=seed), RELEASED)
    items = WaveformItems(utterances, torch.zeros(len(IDS), dtype=torch.long), recipe, train=train)
    items.epoch = epoch
    found = {}
    for index, name in enumerate(IDS):
        (samples,) = items[index].sequences
        assert len(samples) == PADDED * RATE
        begin = int(samples.nonzero()[0]) - 1  # a ramp begins with a zero
        assert samples[begin : begin + RATE].equal(SLOPE * torch.arange(RATE))
        found[name] = begin
    return found


def test_the_place_in_the_padding_depends_on_seed_epoch_and_id_alone(ramp: AudioClip) -> None:
    drawn = places(ramp)
    assert places(ramp) == drawn
    assert len(set(drawn.values())) == len(IDS)
    for other in (places(ramp, seed=1), places(ramp, epoch=1)):
        assert all(other[name] != drawn[name] for name in IDS)
    assert 0 <= min(drawn.values()) < 0.15 * RATE
    assert 0.35 * RATE < max(drawn.values()) <= 0.5 * RATE


def test_what_selects_is_padded_at_its_end(ramp: AudioClip) -> None:
    assert places(ramp, train=False) == places(ramp, epoch=1, train=False) == dict.fromkeys(IDS, 0)


def test_the_padded_length_is_what_batches_are_made_by(ramp: AudioClip) -> None:
    heard = Conversation(id="c", utterances=tuple(replace(utterance, audio=ramp) for utterance in FIRST.utterances))
    data = build_waveform_data(heard, change_config(Recipe(), RELEASED))
    assert data.train.lengths == data.validation.lengths == [PADDED] * 3
    short = change_config(Recipe(), RELEASED | {"audio_utterance.padded_seconds": 0.5})
    data = build_waveform_data(heard, short)
    assert data.train.lengths == [1.0] * 3  # longer ones stay
    assert [len(data.train[index].sequences[0]) for index in range(3)] == [RATE] * 3


def test_utterance_encoders_train_on_the_turns_that_have_a_class() -> None:
    utterances, labels = select_scored([FIRST, UNLABELLED, SECOND], IEMOCAP4)
    assert [utterance.id for utterance in utterances] == ["first_0", "first_2", "first_4", "second_0"]
    assert [IEMOCAP4.classes[label] for label in labels] == ["angry", "happy", "neutral", "sad"]


def test_token_items_are_the_scored_turns_words(tmp_path: Path) -> None:
    _, tokenizer = load_text_backbone(str(tiny_bert(tmp_path)), 512)
    items = build_token_items([FIRST, UNLABELLED, SECOND], tokenizer, IEMOCAP4, Recipe())
    assert items.lengths == [2, 4, 6, 2]  # no, two, four and no words, and the two marks
    for index, words in enumerate(["", "yes yes", "yes yes yes yes"]):
        assert items[index].sequences[0].equal(tokenizer([words])[0])
    assert [int(items[index].labels) for index in range(4)] == [0, 1, 3, 2]


def embeddings(size: int) -> dict[str, Tensor]:
    ids = [utterance.id for each in (FIRST, SECOND, UNLABELLED) for utterance in each.utterances]
    return {name: torch.full((size,), float(number)) for number, name in enumerate(ids)}


def test_conversations_are_sequences_of_every_turn_scored_or_not() -> None:
    items = build_conversation_items([FIRST, UNLABELLED, SECOND], [embeddings(3), embeddings(2)], IEMOCAP4)
    assert items.lengths == [5, 1]  # a conversation without any class teaches nothing
    item = items[0]
    assert [sequence.shape for sequence in item.sequences] == [(5, 3), (5, 2)]
    assert [sequence[:, 0].tolist() for sequence in item.sequences] == [[0, 1, 2, 3, 4]] * 2
    assert item.labels.tolist() == [0, UNSCORED, 1, UNSCORED, 3]
    assert items[1].labels.tolist() == [2]


def test_a_batch_is_padded_and_its_padding_unscored() -> None:
    items = build_conversation_items([FIRST, SECOND], [embeddings(3), embeddings(2)], IEMOCAP4)
    batch = collate_items([items[1], items[0]])
    first, second, lengths, speakers = batch.inputs
    assert lengths.tolist() == [1, 5]
    assert speakers[0, :1].tolist() == number_speakers([turn.speaker for turn in SECOND.utterances]).tolist()
    assert speakers[1].tolist() == number_speakers([turn.speaker for turn in FIRST.utterances]).tolist()
    assert (first.shape, second.shape) == ((2, 5, 3), (2, 5, 2))
    assert (first[0, 0] == 5).all()
    assert (first[0, 1:] == 0).all()
    assert batch.labels.tolist() == [[2] + [UNSCORED] * 4, [0, UNSCORED, 1, UNSCORED, 3]]


def test_a_batch_of_utterances_has_one_label_a_row() -> None:
    items = [Item((torch.arange(length),), torch.tensor(length)) for length in (3, 1)]
    batch = collate_items(items)
    assert batch.inputs[0].tolist() == [[0, 1, 2], [0, 0, 0]]
    assert batch.labels.tolist() == [[3], [1]]


def test_the_loader_gives_the_batches_in_their_order() -> None:
    items = build_conversation_items([FIRST, SECOND], [embeddings(1)], IEMOCAP4)
    found = [batch.inputs[1].tolist() for batch in BatchLoader(items).select_epoch(0, [[1], [0, 1], [0]])]
    assert found == [[1], [5, 1], [5]]


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5), processes=st.integers(1, 5))
def test_processes_share_a_batch_and_their_mean_is_its_mean(sizes: list[int], processes: int) -> None:
    """Averaged over the processes, as their gradients are, weighted means of their rows are the batch's mean."""
    generator = np.random.default_rng(sum(sizes))
    values = generator.normal(size=sum(sizes))
    batches = [one.tolist() for one in np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])]
    for batch in batches:
        means = []
        for rank in range(processes):
            rows, weight = take_share(batch, rank, processes)
            assert rows  # every process takes part in every step
            means.append(values[rows].mean() * weight)
        assert np.mean(means) == pytest.approx(values[batch].mean())


def test_one_process_has_all_batches_in_order() -> None:
    for batch in ([3, 1], [0], [2]):
        assert take_share(batch, 0, 1) == (batch, 1.0)
