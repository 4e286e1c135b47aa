"""What of a training set is measured, and how much of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.config import Recipe
from moodline.conversation import AudioClip, Conversation, Utterance
from moodline.inference.domain_shift import (
    MAX_TURNS,
    MIN_PIECES,
    TURNS_PER_CONVERSATION,
    compute_training_statistics,
    merge_counts,
    sample_evenly,
    sample_turns,
)
from moodline.modeling.description import (
    LOUDNESS,
    MEASURES,
    PIECES_PER_WORD,
    UNKNOWN_PIECES,
    TrainingStatistics,
    parse_training_statistics,
)
from moodline.modeling.text_encoder import PieceCounts, Tokenizer, load_text_backbone
from tests.refusals import refuses
from tests.tiny import POSITIONS, tiny_bert

AUDIO, TEXT = Recipe(modalities="audio"), Recipe(modalities="text")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_text_backbone(str(tiny_bert(tmp_path_factory.mktemp("bert"))), POSITIONS)[1]


def talk(name: str, turns: int, words: str = "i am so happy", audio: AudioClip | None = None) -> Conversation:
    return Conversation(
        id=name,
        utterances=tuple(
            Utterance(id=f"{name}-{n}", speaker="a", words=f"{words} {n}", audio=audio) for n in range(turns)
        ),
    )


@given(st.lists(st.integers()), st.integers(2, 9))
def test_evenly_is_in_order_and_from_end_to_end(items: Sequence[int], most: int) -> None:
    chosen = sample_evenly(range(len(items)), most)
    assert len(chosen) == min(most, len(items))
    assert chosen == sorted(set(chosen))
    if items:
        assert (chosen[0], chosen[-1]) == (0, len(items) - 1)
        assert max(np.diff([*chosen, len(items)])) <= np.ceil(len(items) / (most - 1))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3 * TURNS_PER_CONVERSATION), max_size=150), st.randoms())
def test_a_sample_is_bounded_and_the_same_in_any_order(sizes: Sequence[int], random) -> None:
    talks = [talk(str(number), size) for number, size in enumerate(sizes)]
    sample = sample_turns(talks)
    random.shuffle(talks)
    assert sample_turns(talks) == sample
    assert all(0 < len(turns) <= TURNS_PER_CONVERSATION for turns in sample)
    assert sum(map(len, sample)) < MAX_TURNS + TURNS_PER_CONVERSATION
    if sum(map(len, sample)) < MAX_TURNS:  # nothing was left out but turns of long conversations
        assert len(sample) == len([size for size in sizes if size])


def test_ranges_are_those_of_the_conversations(tmp_path: Path) -> None:
    """Fifty conversations from -50 to -1 dB: all but the lowest and the highest 5 %."""
    talks = []
    for loudness in range(-50, 0):
        path = tmp_path / f"{-loudness}.wav"
        tone = np.sin(2 * np.pi * 500 * np.arange(8_000) / 16_000) * np.sqrt(2) * 10 ** (loudness / 20)
        soundfile.write(path, tone, 16_000, subtype="FLOAT")
        talks.append(talk(path.stem, 1, audio=AudioClip(path=path, duration=0.5, sample_rate=16_000)))
    found = compute_training_statistics(talks, AUDIO, None)
    assert found.conversations == 50
    assert found.ranges[LOUDNESS] == pytest.approx((-47.55, -3.45), abs=0.01)
    assert set(found.ranges).isdisjoint({PIECES_PER_WORD, UNKNOWN_PIECES})


def test_a_model_of_words_measures_words_alone(tokenizer: Tokenizer) -> None:
    gone = AudioClip(path=Path("gone.wav"), duration=1, sample_rate=16_000)
    found = compute_training_statistics([talk("a", 9, "i am angryer", gone)], TEXT, tokenizer)
    assert set(found.ranges) == {PIECES_PER_WORD, UNKNOWN_PIECES}
    low, high = found.ranges[PIECES_PER_WORD]
    assert low == high == pytest.approx(5 / 4)  # i am angry ##er, and an unknown number
    assert found.ranges[UNKNOWN_PIECES] == (pytest.approx(1 / 5),) * 2
    with refuses("audio.missing_file", "gone.wav"):
        compute_training_statistics([talk("a", 9, "i am angryer", gone)], AUDIO, None)


def test_turns_without_audio_or_words_have_no_ranges(tokenizer: Tokenizer) -> None:
    assert compute_training_statistics([talk("a", 3)], AUDIO, None).ranges == {}
    silent = Conversation(id="b", utterances=(Utterance(id="b", speaker="a", words=""),))
    assert compute_training_statistics([silent], TEXT, tokenizer).ranges == {}


def test_lone_turns_tell_a_language_together(tokenizer: Tokenizer) -> None:
    lone = [talk(str(number), 1) for number in range(40)]
    assert compute_training_statistics(lone, TEXT, tokenizer).ranges[PIECES_PER_WORD] == (1.0, 1.0)


@given(st.lists(st.integers(0, 20)))
def test_counts_are_joined_until_they_are_enough(pieces: Sequence[int]) -> None:
    joined = [count.pieces for count in merge_counts(PieceCounts(number, number, 0) for number in pieces)]
    assert all(MIN_PIECES <= count < MIN_PIECES + 20 for count in joined)
    assert 0 <= sum(pieces) - sum(joined) < MIN_PIECES  # but for a rest that is not enough


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"conversations": 3},
        {"conversations": "3", "ranges": {}},
        {"conversations": 3, "ranges": []},
        {"conversations": 3, "ranges": {"pitch": [1.0, 2.0]}},
        {"conversations": 3, "ranges": {LOUDNESS: [1.0]}},
        {"conversations": 3, "ranges": {LOUDNESS: [2.0, 1.0]}},
        {"conversations": 3, "ranges": {LOUDNESS: [float("nan"), 1.0]}},
        {"conversations": 3, "ranges": {LOUDNESS: ["1", "2"]}},
    ],
)
def test_conditions_that_are_none_are_refused(content: object) -> None:
    with pytest.raises(TypeError, match="expected a number of conversations and a range for each of"):
        parse_training_statistics(content)


def test_conditions_are_read_as_json_has_them() -> None:
    content = {"conversations": 3, "ranges": {measure: [1.0, 2.0] for measure in MEASURES}}
    expected = TrainingStatistics(conversations=3, ranges=dict.fromkeys(MEASURES, (1.0, 2.0)))
    assert parse_training_statistics(content) == expected
