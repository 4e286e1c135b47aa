"""Turns of recordings whose voices are known."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from moodline.audio import vad as module
from moodline.audio.recording import Recording
from moodline.audio.vad import CHUNK_SAMPLES, CHUNK_SECONDS, SAMPLE_RATE, VoiceActivity, detect_turns, remove_leaks
from moodline.conversation import UNKNOWN, Segment
from tests.refusals import refuses


def voice(seconds: float, pitch: float = 120.0, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """(T,) vowels: pulses through three resonances that move, four syllables a second."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time))) / sample_rate
    sound = np.zeros(len(time))
    for harmonic in range(1, 30):
        frequency = harmonic * pitch
        formants = ((500 + 200 * np.sin(2 * np.pi * 2 * time), 100), (1500 + 400 * np.cos(2 * np.pi * 2 * time), 150))
        gain = sum(1 / (1 + ((frequency - formant) / width) ** 2) for formant, width in (*formants, (2500, 200)))
        sound += gain * np.sin(harmonic * phase)
    syllables = 0.5 - 0.5 * np.cos(2 * np.pi * 4 * time)
    return 0.1 * sound * syllables


def conversation(*parts: tuple[int, float, float], seconds: float) -> np.ndarray:
    """(T, 2) of voices: channel, start and duration each."""
    samples = np.random.default_rng(0).normal(0, 1e-4, (round(seconds * SAMPLE_RATE), 2))
    for channel, start, duration in parts:
        first = round(start * SAMPLE_RATE)
        sound = voice(duration, (110, 190)[channel])
        samples[first : first + len(sound), channel] += sound
    return samples


PARTS = [(0, 1.0, 3.0), (1, 5.0, 3.0), (0, 7.0, 3.0), (1, 12.0, 2.0)]


def assert_like(found: list[Segment], parts: list[tuple[int, float, float]]) -> None:
    assert len(found) == len(parts)
    for turn, (channel, start, duration) in zip(found, parts, strict=True):
        assert (turn.channel, turn.speaker, turn.words) == (channel, f"channel {channel + 1}", None)
        assert turn.start == pytest.approx(start, abs=0.35)
        assert turn.end == pytest.approx(start + duration, abs=0.35)


def test_mixed_channels_have_turns_of_unknown_speakers() -> None:
    found = detect_turns(Recording.from_samples(conversation(*PARTS, seconds=16), SAMPLE_RATE))
    assert [(turn.speaker, turn.channel, turn.words) for turn in found] == [(UNKNOWN, None, None)] * len(found)
    assert [(round(turn.start), round(turn.end)) for turn in found] == [(1, 4), (5, 10), (12, 14)]


def test_each_channel_has_its_speaker_and_overlaps_are_kept() -> None:
    assert_like(
        detect_turns(Recording.from_samples(conversation(*PARTS, seconds=16), SAMPLE_RATE, separate=True), "speakers"),
        PARTS,
    )


def test_what_leaks_from_the_other_channel_is_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = conversation(*PARTS, seconds=16)
    leaking = Recording.from_samples(samples + 0.1 * samples[:, ::-1], SAMPLE_RATE, separate=True)  # by 20 dB less
    assert_like(detect_turns(leaking, "speakers"), PARTS)
    monkeypatch.setattr(module, "MIN_LEAK_DECIBELS", 60.0)
    assert len(detect_turns(leaking, "speakers")) > len(PARTS)  # else there is nothing to leave out


def test_a_leak_is_what_another_channel_exceeds_by_far() -> None:
    loud, quiet = np.full(100, 1.0), np.full(100, 0.02)  # 17 dB
    quiet[50:] = 0.5
    own = remove_leaks([VoiceActivity(np.full(100, 0.9), loud), VoiceActivity(np.full(100, 0.8), quiet)])
    assert (own[0] == 0.9).all()
    assert (own[1][:40] == 0).all()
    assert (own[1][50:] == 0.8).all()


def test_turns_end_with_the_recording() -> None:
    samples = voice(3)[: 2 * SAMPLE_RATE + CHUNK_SAMPLES // 3]
    (turn,) = detect_turns(Recording.from_samples(samples, SAMPLE_RATE))
    assert turn.end == len(samples) / SAMPLE_RATE
    assert turn.start % CHUNK_SECONDS == 0


@pytest.mark.parametrize(
    ("samples", "channels", "code"),
    [
        (np.zeros(SAMPLE_RATE * 3), "mixed", "audio.no_speech"),
        (np.full((SAMPLE_RATE * 3, 2), [0, 1e-3]), "speakers", "audio.no_speech"),
        (voice(2), "speakers", "audio.one_channel"),
        (np.stack([voice(2)] * 2, axis=1), "speakers", "audio.same_channels"),
    ],
)
def test_what_has_no_turns_is_refused(samples: np.ndarray, channels: module.Channels, code: str) -> None:
    with refuses(code, "call"):
        detect_turns(Recording.from_samples(samples, SAMPLE_RATE, "call", separate=channels == "speakers"), channels)


@pytest.mark.realdata
def test_each_of_joined_recordings_of_people_is_a_turn(shared: Path) -> None:
    paths = sorted((shared / "corpora" / "ravdess").rglob("*.flac"))[::24]
    recordings = [soundfile.read(path)[0] for path in paths]  # each with silence around its sentence
    samples = np.concatenate(recordings)
    ends = np.cumsum([len(one) for one in recordings]) / SAMPLE_RATE
    found = detect_turns(Recording.from_samples(samples, SAMPLE_RATE))
    owners = np.searchsorted(ends, [(turn.start + turn.end) / 2 for turn in found])
    assert len(recordings) == 10
    assert owners.tolist() == list(range(10))
