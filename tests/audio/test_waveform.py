import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from moodline.audio import io
from moodline.conversation import AudioClip
from moodline.errors import MoodlineError
from tests.rounding import assert_rounded_alike, rounding


def tone(seconds: float, sample_rate: int, frequency: float = 440.0) -> np.ndarray:
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return (0.4 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def written(path: Path, samples: np.ndarray, sample_rate: int = 16000, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, samples, sample_rate, subtype=subtype)
    return path


def with_announced_size(path: Path, size: int) -> Path:
    """The WAV file with another number of bytes in its data chunk's header."""
    content = path.read_bytes()
    at = content.index(b"data") + 4
    path.write_bytes(content[:at] + struct.pack("<I", size) + content[at + 4 :])
    return path


def cut(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def refusal(code: str, call, *arguments) -> str:
    with pytest.raises(MoodlineError) as refused:
        call(*arguments)
    message = str(refused.value)
    assert refused.value.code == code
    assert "\n" not in message
    return message


def test_a_whole_file_is_inspected_and_read(tmp_path: Path) -> None:
    samples = tone(1.0, 16000)
    clip = io.inspect_file(written(tmp_path / "a.wav", samples))
    assert (clip.offset, clip.duration, clip.sample_rate) == (0.0, 1.0, 16000)
    read = io.read_clip(clip, 16000)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, samples, atol=1 / 32768)


def test_a_clip_is_that_stretch_of_the_file(tmp_path: Path) -> None:
    samples = np.arange(16000, dtype=np.int16)
    path = written(tmp_path / "a.wav", samples)
    clip = AudioClip(path=path, offset=0.25, duration=0.5, sample_rate=16000)
    np.testing.assert_array_equal(io.read_clip(clip, 16000) * 32768, np.arange(4000, 12000))


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(0.1, 16000), tone(0.1, 16000, 1000.0)
    path = written(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT")
    assert_rounded_alike(io.read_clip(io.inspect_file(path), 16000), (left + right) / 2, 3)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_other_rates_are_resampled(tmp_path: Path, rate: int) -> None:
    path = written(tmp_path / "a.wav", tone(1.0, rate), rate, subtype="FLOAT")
    read = io.read_clip(io.inspect_file(path), 16000)
    assert read.dtype == np.float32
    assert len(read) == 16000
    inner = slice(1000, -1000)  # away from the ends, where the signal sets in and breaks off
    np.testing.assert_allclose(read[inner], tone(1.0, 16000)[inner], atol=1e-4)


def test_resampling_keeps_out_what_the_new_rate_cannot_hold(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", tone(1.0, 48000, 12000.0), 48000, subtype="FLOAT")
    assert np.abs(io.read_clip(io.inspect_file(path), 16000)[1000:-1000]).max() < 1e-4


@pytest.mark.parametrize("ending", ["flac", "ogg", "mp3", "aiff"])
def test_other_formats_are_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, tone(1.0, 16000), 16000)
    clip = io.inspect_file(path)
    assert clip.duration == pytest.approx(1.0, abs=0.1)
    assert np.corrcoef(io.read_clip(clip, 16000)[:15000], tone(1.0, 16000)[:15000])[0, 1] > 0.99


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_clip_of_an_mp3_is_what_the_whole_holds_there(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.mp3"
    # Pauses save up bits, which the frames after them need: what is decoded without the frames before is wrong.
    bursts = np.random.default_rng(0).normal(0, 0.1, 12 * rate) * (tone(12.0, rate, 1.3) > 0)
    soundfile.write(path, bursts, rate)
    whole = io.read_clip(AudioClip(path=path, duration=12.0, sample_rate=rate), rate)
    for start in np.linspace(0.1, 11, 25).round(3).tolist():
        clip = io.read_clip(AudioClip(path=path, offset=start, duration=0.5, sample_rate=rate), rate)
        allowed = 2 * rounding(18 + 32 + 16)  # MPEG-1 layer III sums over lines, bands and the taps of its window
        np.testing.assert_allclose(clip, whole[round(start * rate) :][: len(clip)], rtol=0, atol=allowed)


@pytest.mark.parametrize("call", [io.inspect_file, lambda path: io.read_clip(clip_of(path), 16000)])
class TestFilesThatCannotBeOpened:
    def test_missing(self, tmp_path: Path, call) -> None:
        assert str(tmp_path / "a.wav") in refusal("audio.missing_file", call, tmp_path / "a.wav")

    def test_empty(self, tmp_path: Path, call) -> None:
        (tmp_path / "a.wav").touch()
        assert str(tmp_path / "a.wav") in refusal("audio.empty_file", call, tmp_path / "a.wav")

    @pytest.mark.parametrize("name", ["a.wav", "a.raw"])
    def test_unreadable(self, tmp_path: Path, call, name: str) -> None:
        (tmp_path / name).write_bytes(b"not audio" * 100)
        assert str(tmp_path / name) in refusal("audio.unreadable", call, tmp_path / name)

    def test_folder(self, tmp_path: Path, call) -> None:
        assert str(tmp_path) in refusal("audio.missing_file", call, tmp_path)


def clip_of(path: Path, duration: float = 1.0) -> AudioClip:
    return AudioClip(path=path, duration=duration, sample_rate=16000)


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", np.zeros(0, dtype=np.float32))
    assert str(path) in refusal("audio.no_samples", io.inspect_file, path)
    assert str(path) in refusal("audio.short_file", io.read_clip, clip_of(path), 16000)


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "AIFF", "AU", "RF64", "W64"])
def test_a_truncated_file_is_refused_by_its_header(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.wav"  # libsndfile goes by the content, as files are often misnamed
    soundfile.write(path, tone(1.0, 16000), 16000, format=kind)
    assert io.inspect_file(path).duration == 1.0
    message = refusal("audio.truncated", io.inspect_file, cut(path, 20000))
    assert str(path) in message
    announced, held = (int(number) for number in re.findall(r"\d+", message.split(str(path))[1]))
    assert announced in (16000, 32000) or 32000 < announced < 32200  # frames, or bytes with or without the header's
    assert 19800 <= held * (32000 / announced) <= 20000


def test_a_clip_that_outlasts_its_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", tone(1.0, 16000))
    message = refusal(
        "audio.short_file", io.read_clip, AudioClip(path=path, offset=0.5, duration=0.75, sample_rate=16000), 16000
    )
    assert "1.000 s" in message
    assert "1.250 s" in message
    message = refusal(
        "audio.short_file", io.read_clip, AudioClip(path=path, offset=3.0, duration=1.0, sample_rate=16000), 16000
    )
    assert "1.000 s" in message
    assert "4.000 s" in message


def test_a_clips_times_may_be_rounded_by_a_frame(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", tone(1.0, 16000))
    assert len(io.read_clip(clip_of(path, 1.00005), 16000)) == 16000
    refusal("audio.short_file", io.read_clip, clip_of(path, 1.0002), 16000)


def test_a_flac_file_that_breaks_off_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.flac", tone(1.0, 16000))
    clip = io.inspect_file(path)
    cut(path, path.stat().st_size // 2)
    assert str(path) in refusal("audio.unreadable", io.read_clip, clip, 16000)


@pytest.mark.parametrize("size", [0x7FFFF000, 0xFFFFFFFF])
def test_a_wav_file_from_a_pipe_need_not_know_its_size(tmp_path: Path, size: int) -> None:
    path = with_announced_size(written(tmp_path / "a.wav", tone(1.0, 16000)), size)
    clip = io.inspect_file(path)
    assert clip.duration == 1.0
    assert len(io.read_clip(clip, 16000)) == 16000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused_with_their_time(tmp_path: Path, value: float) -> None:
    samples = tone(1.0, 16000)
    samples[4000] = value
    path = written(tmp_path / "a.wav", samples, subtype="FLOAT")
    message = refusal("audio.not_finite", io.read_clip, clip_of(path), 16000)
    assert str(value) in message
    assert "0.250 s" in message
    assert refusal("audio.not_finite", io.check_clip, clip_of(path)) == message
    clip = AudioClip(path=path, offset=0.3, duration=0.7, sample_rate=16000)
    assert np.isfinite(io.read_clip(clip, 16000)).all()


def test_floating_point_samples_beyond_all_bounds_are_refused(tmp_path: Path) -> None:
    """Their squares would be infinite, and what follows no number; those of 32-bit integers are taken."""
    samples = tone(0.5, 16000)
    for level, is_taken in ((2.0**31, True), (1e30, False)):
        path = written(tmp_path / f"{level}.wav", level * samples, subtype="FLOAT")
        if is_taken:
            np.testing.assert_allclose(io.read_clip(io.inspect_file(path), 16000) / level, samples, rtol=rounding(4))
        else:
            assert "1e+30" in refusal("audio.not_finite", io.check_clip, clip_of(path, 0.5))


@pytest.mark.parametrize(("kind", "code"), [("wav", "audio.short_file"), ("flac", "audio.unreadable")])
def test_checking_reads_to_the_end(tmp_path: Path, kind: str, code: str) -> None:
    path = written(tmp_path / f"a.{kind}", tone(1.0, 16000))
    clip = io.inspect_file(path)
    io.check_clip(clip)
    cut(path, path.stat().st_size - 1000)
    assert str(path) in refusal(code, io.check_clip, clip)


def test_a_check_of_a_long_clip_reads_it_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sizes = written(tmp_path / "long.wav", tone(1, 16000)), []
    read = io.ForwardSoundFile.read

    def read_block(file: io.ForwardSoundFile, frames: int = -1, **options) -> np.ndarray:
        sizes.append(frames)
        return read(file, frames, **options)

    monkeypatch.setattr(io, "BLOCK", 3_000)
    monkeypatch.setattr(io.ForwardSoundFile, "read", read_block)
    io.check_clip(clip_of(path))
    assert max(sizes) == 3_000
    assert sum(sizes) == 16_000
    assert np.array_equal(io.read_clip(clip_of(path), 16_000), soundfile.read(path, dtype="float32")[0])


def test_reading_audio_needs_no_torch() -> None:
    code = "import sys, moodline.audio.io; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
