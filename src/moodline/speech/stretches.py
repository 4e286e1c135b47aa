"""Probabilities of speech to stretches of it, each as long as a turn may be (docs/recordings.md).

All of it is counted in chunks. A stretch is (first, last), the last not included.
"""

import math

import numpy as np

from moodline.speech.voice_activity import CHUNK_SECONDS

ONSET = 0.5  # speech is where this is reached,
OFFSET = 0.35  # and around there as far as this is
PAUSE = 0.25  # seconds without speech that part two turns
PADDING = 0.1  # seconds of the pauses around it that a turn takes along: breath, and quiet consonants
SHORTEST, LONGEST = 1.0, 15.0  # seconds

Stretch = tuple[int, int]

_PAUSE = math.ceil(PAUSE / CHUNK_SECONDS)
_PADDING = math.ceil(PADDING / CHUNK_SECONDS)
_SHORTEST = math.ceil(SHORTEST / CHUNK_SECONDS) + 1  # one more, as a recording's last chunk may be a part of one
_LONGEST = math.floor(LONGEST / CHUNK_SECONDS)


def stretches(probabilities: np.ndarray) -> list[Stretch]:
    """Where the turns are, in order and apart; every chunk of speech is in one.

    Args:
        probabilities: of speech, a chunk each (N,)

    Returns:
        Of SHORTEST to LONGEST seconds each, but for a recording that is itself shorter
    """
    chunks = len(probabilities)
    joined = _lengthened(_joined(speech(probabilities)), chunks)
    parts = [part for stretch in joined for part in _parted(stretch, probabilities)]
    return _widened(parts, chunks)


def speech(probabilities: np.ndarray) -> list[Stretch]:
    """Runs of chunks of OFFSET or more, one of which at least has ONSET."""
    over = np.concatenate([[False], probabilities >= OFFSET, [False]])
    edges = np.flatnonzero(over[1:] != over[:-1]).reshape(-1, 2)  # (2 runs,) -> (runs, 2)
    return [(int(first), int(last)) for first, last in edges if probabilities[first:last].max() >= ONSET]


def _joined(found: list[Stretch]) -> list[Stretch]:
    """Without the pauses that are too short to be one."""
    joined: list[Stretch] = []
    for first, last in found:
        if joined and first - joined[-1][1] < _PAUSE:
            joined[-1] = joined[-1][0], last
        else:
            joined.append((first, last))
    return joined


def _lengthened(found: list[Stretch], chunks: int) -> list[Stretch]:
    """Those that are too short, even with half the pauses around them, joined with their nearest neighbours."""
    found, place = list(found), 0
    while place < len(found):
        first, last = found[place]
        before, after = _room(found, place, chunks)
        if last - first + before + after >= _SHORTEST or len(found) == 1:
            place += 1
            continue
        pauses = {other: _pause(found, place, other) for other in (place - 1, place + 1) if 0 <= other < len(found)}
        place = min(place, min(pauses, key=pauses.__getitem__))
        found[place : place + 2] = [(found[place][0], found[place + 1][1])]
        place = max(0, place - 1)  # which may have less room now
    return found


def _pause(found: list[Stretch], place: int, other: int) -> int:
    return max(found[place][0], found[other][0]) - min(found[place][1], found[other][1])


def _parted(stretch: Stretch, probabilities: np.ndarray) -> list[Stretch]:
    """One that is too long, cut where speech is least probable in the second half of what a turn may last."""
    first, last = stretch
    most, parts = _LONGEST - 2 * _PADDING, []
    while last - first > most:
        earliest, latest = first + most // 2, min(first + most, last - _SHORTEST)
        cut = earliest + int(np.argmin(probabilities[earliest : latest + 1]))
        parts.append((first, cut))
        first = cut
    return [*parts, (first, last)]


def _widened(found: list[Stretch], chunks: int) -> list[Stretch]:
    """With their padding, and those that are too short with more of the pauses around them, of each at most half."""
    widened = []
    for place, (first, last) in enumerate(found):
        before, after = _room(found, place, chunks)
        missing = max(2 * _PADDING, _SHORTEST - (last - first))
        left = min(before, max(missing // 2, missing - after))
        widened.append((first - left, last + min(after, missing - left)))
    return widened


def _room(found: list[Stretch], place: int, chunks: int) -> Stretch:
    """How far a stretch may reach to the left and to the right: half a pause, or all of it at the recording's ends."""
    first, last = found[place]
    before = (first - found[place - 1][1]) // 2 if place else first
    after = (found[place + 1][0] - last) // 2 if place + 1 < len(found) else chunks - last
    return before, after
