"""The rule from probabilities of speech to stretches, for any probabilities."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from moodline.audio.vad import (
    CHUNK_SECONDS,
    MAX_SECONDS,
    MIN_PAUSE,
    MIN_SECONDS,
    OFFSET,
    ONSET,
    PADDING,
    find_speech,
    segment_speech,
)

RUNS = st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(1, 700)), min_size=1, max_size=25)
"""A probability, and for how many chunks it stays."""


def probabilities(*runs: tuple[float, float]) -> np.ndarray:
    """(N,) of runs of a probability for so many seconds."""
    return np.concatenate([np.full(round(seconds / CHUNK_SECONDS), value) for value, seconds in runs])


def seconds(found: list[tuple[int, int]]) -> list[tuple[float, float]]:
    return [(first * CHUNK_SECONDS, last * CHUNK_SECONDS) for first, last in found]


def spoken(values: np.ndarray) -> np.ndarray:
    """Which chunks are speech (N,), by walking from each onset as far as the offset's threshold holds."""
    marks = np.zeros(len(values), dtype=bool)
    for onset in np.flatnonzero(values >= ONSET):
        if marks[onset]:
            continue
        for step in (-1, 1):
            at = onset
            while 0 <= at < len(values) and values[at] >= OFFSET:
                marks[at] = True
                at += step
    return marks


@settings(deadline=None)
@given(RUNS)
@example([(0.9, 3), (0.0, 5), (0.9, 3), (0.0, 5), (0.9, 3)])
@example([(0.0, 1), (0.9, 2000), (0.1, 8), (0.9, 5)])
@example([(0.9, 1)])
def test_turns_are_apart_of_allowed_lengths_and_hold_all_speech(runs: list[tuple[float, int]]) -> None:
    values = np.concatenate([np.full(chunks, value, dtype=np.float32) for value, chunks in runs])
    found, covered = segment_speech(values), np.zeros(len(values), dtype=int)
    for first, last in found:
        covered[first:last] += 1
        assert 0 <= first < last <= len(values)
        assert (last - first) * CHUNK_SECONDS <= MAX_SECONDS
        # The last chunk of a recording may be a part of one.
        assert (last - first - 1) * CHUNK_SECONDS >= MIN_SECONDS or (first, last) == (0, len(values))
    assert covered.max(initial=0) <= 1
    assert found == sorted(found)
    assert covered[values >= ONSET].all()
    marks = np.zeros(len(values), dtype=bool)
    for first, last in find_speech(values):
        marks[first:last] = True
    assert np.array_equal(marks, spoken(values))
    assert covered[marks].all()
    for first, last in found:
        assert marks[first:last].any()


def test_turns_part_at_pauses_and_not_at_shorter_ones() -> None:
    for pause, turns in ((MIN_PAUSE - 2 * CHUNK_SECONDS, 1), (MIN_PAUSE + 2 * CHUNK_SECONDS, 2)):
        assert len(segment_speech(probabilities((0, 2), (1, 2), (0, pause), (1, 2), (0, 2)))) == turns


def test_a_turn_takes_its_padding_along_and_not_more_than_half_a_pause() -> None:
    ((start, end),) = seconds(segment_speech(probabilities((0, 3.2), (1, 3.2), (0, 3.2))))
    assert PADDING <= 3.2 - start < PADDING + CHUNK_SECONDS
    assert PADDING <= end - 6.4 < PADDING + CHUNK_SECONDS
    (_, end), (start, _) = segment_speech(probabilities((0.9, 3.2), (0, 10 * CHUNK_SECONDS), (0.9, 3.2)))
    assert 100 <= end <= 105 <= start <= 110


def test_speech_begins_at_the_onset_and_stays_to_the_offset() -> None:
    between = (ONSET + OFFSET) / 2
    assert not segment_speech(probabilities((0, 2), (between, 2), (0, 2)))
    ((start, end),) = seconds(segment_speech(probabilities((0, 2), (ONSET, 0.1), (between, 2), (0, 2))))
    assert start <= 2
    assert end >= 4.1 - CHUNK_SECONDS


def test_a_short_word_is_widened_where_there_is_room_and_joined_where_there_is_none() -> None:
    alone = segment_speech(probabilities((0, 3), (1, 0.2), (0, 3)))
    assert len(alone) == 1
    assert MIN_SECONDS <= (alone[0][1] - alone[0][0]) * CHUNK_SECONDS < MIN_SECONDS + 3 * CHUNK_SECONDS
    assert len(segment_speech(probabilities((1, 3), (0, 1.2), (1, 0.2), (0, 1.2), (1, 3)))) == 3
    left, right = seconds(segment_speech(probabilities((1, 3), (0, 0.5), (1, 0.2), (0, 0.4), (1, 3))))
    assert left[1] < 3.5  # it is with the nearer neighbour
    assert right[0] < 3.5


def test_a_long_speech_is_cut_where_it_is_least_probable() -> None:
    long = probabilities((0, 1), (0.9, 9), (0.5, 0.2), (0.9, 4), (0.6, 0.2), (0.9, 8), (0, 1))
    (_, end), (start, _) = seconds(segment_speech(long))
    assert end == start
    assert 10 - CHUNK_SECONDS <= end <= 10.2


def test_hours_without_a_pause_are_cut_into_turns_that_are_not_short() -> None:
    found = segment_speech(np.full(100_000, 0.9))
    lengths = [(last - first) * CHUNK_SECONDS for first, last in found]
    assert sum(last - first for first, last in found) == 100_000
    assert all(length > MAX_SECONDS / 2 - 1 for length in lengths[:-1])


def test_silence_has_no_turn() -> None:
    assert segment_speech(np.zeros(1000)) == segment_speech(np.zeros(0)) == []
