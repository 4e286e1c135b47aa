"""Babble and the telephone's band, measured: ratios of powers, tones that pass and tones that do not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.conversation import AudioClip, Conversation, Utterance
from moodline.corpora.corpus import Corpus
from moodline.errors import MoodlineError
from moodline.experiments.corruptions import (
    BABBLE,
    BABBLE_SPEAKERS,
    CLEAN_RATIO,
    CURVES,
    TELEPHONE,
    BabbleNoise,
    CorruptionPoint,
    apply_telephone_band,
    mix_at_ratio,
)
from moodline.inference.encode import read_waveform

RATE = 16_000


def decibels(signal: np.ndarray, noise: np.ndarray) -> float:
    """Of mean powers, in double precision."""
    return float(10 * np.log10(np.mean(signal.astype(float) ** 2) / np.mean(noise.astype(float) ** 2)))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4_000),
    st.floats(-30, 40),
    st.floats(-4, 0).map(lambda power: 10**power),
    st.integers(0, 2**32 - 1),
)
def test_the_ratio_is_the_one_asked_for(length: int, ratio: float, level: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    speech = (level * generator.uniform(0.1, 1, length)).astype(np.float32)
    babble = generator.uniform(0.1, 1, length) + 0.05
    heard = mix_at_ratio(speech, babble, ratio)
    assert heard.dtype == np.float32
    assert decibels(speech, heard.astype(float) - speech) == pytest.approx(ratio, abs=0.1)


def test_silence_stays_silent() -> None:
    assert not mix_at_ratio(np.zeros(100, np.float32), np.ones(100), 0.0).any()


@pytest.mark.parametrize("ratio", CURVES[BABBLE].x[1:])
def test_the_ratio_holds_for_utterances_in_babble_of_the_corpus(corpus: Corpus, ratio: float) -> None:
    babble = BabbleNoise(corpus.conversations, seed=0)
    point = CorruptionPoint(BABBLE, ratio)
    for turn in corpus.conversations[0].utterances:
        clean, heard = read_waveform(turn, RATE).numpy(), babble.read_corrupted(point, turn, RATE).numpy()
        assert decibels(clean, heard.astype(float) - clean) == pytest.approx(ratio, abs=0.1)


def test_nobody_of_the_conversation_talks_over_it(corpus: Corpus) -> None:
    babble = BabbleNoise(corpus.conversations, seed=0)
    for conversation in corpus.conversations:
        for turn in conversation.utterances:
            talkers = [talker.speaker for talker in babble.draw_speakers(turn)]
            assert len(set(talkers)) == len(talkers) == BABBLE_SPEAKERS
            assert not conversation.speakers & set(talkers)


def test_babble_is_a_function_of_seed_and_utterance(corpus: Corpus) -> None:
    first, second = corpus.conversations[0].utterances[:2]
    one, again, other = (BabbleNoise(corpus.conversations, seed) for seed in (0, 0, 1))
    found = one.generate_babble(first, 8_000, RATE)
    assert np.array_equal(found, again.generate_babble(first, 8_000, RATE))
    assert not np.array_equal(found, other.generate_babble(first, 8_000, RATE))
    assert not np.array_equal(found, one.generate_babble(second, 8_000, RATE))
    shuffled = BabbleNoise(corpus.conversations[::-1], 0)
    assert np.array_equal(found, shuffled.generate_babble(first, 8_000, RATE))


def test_each_talker_is_as_loud_as_the_others(tmp_path: Path) -> None:
    """Two talkers, one much quieter, at tones that a spectrum tells apart."""
    time = np.arange(RATE) / RATE
    turns = []
    for speaker, level, tone in (("A", 0.5, 200.0), ("B", 0.5, 1_000.0), ("C", 0.01, 3_000.0)):
        path = tmp_path / f"{speaker}.wav"
        soundfile.write(path, level * np.sin(2 * np.pi * tone * time), RATE, subtype="FLOAT")
        clip = AudioClip(path=path, duration=1.0, sample_rate=RATE)
        turns.append(Utterance(id=speaker, speaker=speaker, words="", audio=clip))
    babble = BabbleNoise([Conversation(id=turn.id, utterances=(turn,)) for turn in turns], seed=0)
    power = np.abs(np.fft.rfft(babble.generate_babble(turns[0], RATE, RATE))) ** 2  # a bin a Hz
    assert power[3_000] == pytest.approx(power[1_000], rel=1e-3)
    assert power[200] < 1e-6 * power[1_000]


def test_babble_of_nobody_and_of_silence_are_told(tmp_path: Path, corpus: Corpus) -> None:
    alone = corpus.conversations[0]
    lack = BabbleNoise([alone], 0).explain_missing(alone.utterances)
    assert alone.utterances[0].id in lack
    assert not BabbleNoise(corpus.conversations, 0).explain_missing(alone.utterances)
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    clip = AudioClip(path=tmp_path / "silent.wav", duration=1.0, sample_rate=RATE)
    silent = replace(alone.utterances[0], id="silent", speaker="X", audio=clip)
    babble = BabbleNoise([alone, Conversation(id="other", utterances=(silent,))], 0)
    with pytest.raises(MoodlineError) as error:
        babble.generate_babble(alone.utterances[0], 100, RATE)
    assert error.value.code == "experiment.silent_babble"
    assert all(one in str(error.value) for one in (alone.utterances[0].id, "silent"))


def level_of(tone: float, rate: int) -> float:
    """What a telephone leaves of a tone of two seconds, in dB, away from its ends."""
    samples = np.sin(2 * np.pi * tone * np.arange(2 * rate) / rate).astype(np.float32)
    middle = slice(rate // 2, -rate // 2)
    return decibels(apply_telephone_band(samples, rate)[middle], samples[middle])


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100])
def test_a_telephone_keeps_its_band_and_nothing_else(rate: int) -> None:
    assert abs(level_of(1_000, rate)) < 1
    assert abs(level_of(2_500, rate)) < 1
    for tone in (100, 6_000):
        assert level_of(tone, rate) < -40


def test_a_telephone_at_its_own_rate_has_no_less_of_a_band() -> None:
    assert abs(level_of(1_000, 8_000)) < 1
    assert level_of(100, 8_000) < -40


@given(st.integers(1, 3_000), st.sampled_from([8_000, 11_025, 16_000, 44_100]))
@settings(max_examples=40, deadline=None)
def test_an_utterance_stays_as_long_as_it_is(length: int, rate: int) -> None:
    heard = apply_telephone_band(np.ones(length, np.float32), rate)
    assert heard.shape == (length,)
    assert heard.dtype == np.float32
    assert np.isfinite(heard).all()


def test_a_telephone_hears_the_babble_too(corpus: Corpus) -> None:
    babble, turn = BabbleNoise(corpus.conversations, 0), corpus.conversations[0].utterances[0]
    wide = babble.read_corrupted(CorruptionPoint(BABBLE, 5.0), turn, RATE).numpy()
    narrow = babble.read_corrupted(CorruptionPoint(TELEPHONE, 5.0), turn, RATE).numpy()
    assert np.array_equal(narrow, apply_telephone_band(wide, RATE))
    alone = babble.read_corrupted(CorruptionPoint(TELEPHONE, CLEAN_RATIO), turn, RATE).numpy()
    assert np.array_equal(alone, apply_telephone_band(read_waveform(turn, RATE).numpy(), RATE))
