"""A recording's turns, where no transcript tells them: by voice activity, and by channel where each has a speaker."""

from typing import Literal

import numpy as np

from moodline.audio.recording import Recording
from moodline.errors import MoodlineError
from moodline.speech.stretches import stretches
from moodline.speech.turn import UNKNOWN, Turn
from moodline.speech.voice_activity import CHUNK_SECONDS, SAMPLE_RATE, Activity, activity

Channels = Literal["mixed", "speakers"]

LEAK = 10.0  # dB: a channel that another exceeds by this much holds the other's voice
LEVEL_CHUNKS = 11  # over which a channel's level is taken, some 0.35 s: syllables of two speakers alternate faster


def turns_of(recording: Recording, channels: Channels = "mixed") -> list[Turn]:
    """The turns that voice activity finds, in order of their starts.

    Args:
        channels: ``mixed``: all channels together, their speakers unknown; ``speakers``: each channel is a speaker's,
            and what leaks into it from another is left out

    Raises:
        MoodlineError: there is no speech; or of ``speakers``, there is one channel, or all hold the same sound
    """
    if channels == "mixed":
        turns = _turns(activity(recording.blocks(SAMPLE_RATE)).probabilities, recording, None)
    else:
        activities = _of_channels(recording)
        own = without_leaks(activities)
        turns = [turn for channel, heard in enumerate(own) for turn in _turns(heard, recording, channel)]
    if not turns:
        raise MoodlineError(
            f"a recording must hold speech: none was found in the {recording.duration:.1f} s of {recording.name}; "
            "give its turns with --transcript, or leave it out"
        )
    return sorted(turns, key=lambda turn: (turn.start, turn.end))


def without_leaks(activities: list[Activity]) -> list[np.ndarray]:
    """Each channel's probabilities of speech, zero where another channel is the louder by LEAK decibels."""
    levels = np.stack([_level(one.powers) for one in activities])  # (channels, N)
    leaking = levels.max(axis=0) > levels * 10 ** (LEAK / 10)
    return [np.where(leaks, 0, one.probabilities) for one, leaks in zip(activities, leaking, strict=True)]


def _of_channels(recording: Recording) -> list[Activity]:
    if recording.channels == 1:
        raise MoodlineError(
            f"--channels speakers wants a channel for each speaker: {recording.name} has one channel; "
            "leave the option out"
        )
    activities = [activity(recording.blocks(SAMPLE_RATE, channel)) for channel in range(recording.channels)]
    if all(np.array_equal(one.powers, activities[0].powers) for one in activities[1:]):
        raise MoodlineError(
            f"--channels speakers wants a channel for each speaker: all {recording.channels} channels of "
            f"{recording.name} hold the same sound; leave the option out"
        )
    return activities


def _level(powers: np.ndarray) -> np.ndarray:
    """The mean power around each chunk (N,)."""
    return np.convolve(np.pad(powers, LEVEL_CHUNKS // 2), np.full(LEVEL_CHUNKS, 1 / LEVEL_CHUNKS), mode="valid")


def _turns(probabilities: np.ndarray, recording: Recording, channel: int | None) -> list[Turn]:
    return [
        Turn(
            start=first * CHUNK_SECONDS,
            end=min(last * CHUNK_SECONDS, recording.duration),
            speaker=UNKNOWN if channel is None else f"channel {channel + 1}",
            channel=channel,
        )
        for first, last in stretches(probabilities)
    ]
