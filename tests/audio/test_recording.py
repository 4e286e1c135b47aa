"""Recordings against the samples that were put into them."""

import io
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr

from moodline.audio import io as waveform
from moodline.audio import recording as module
from moodline.audio.recording import NOT_FINITE, TRUNCATED, UNREADABLE, Gap, Recording
from moodline.conversation import AudioClip
from tests.cli.test_full_disk import room_for
from tests.decoder import Decoder
from tests.films import RATE, tone, write_film
from tests.refusals import refuses
from tests.rounding import rounding

# MPEG-1 layer III sums over 18 lines, 32 bands and 16 taps of its window.
MP3_ROUNDING = 2 * rounding(18 + 32 + 16)
STRETCHES = [(2.0, 2.987), (0.0, 0.7), (0.31, 1.234567), (0.4, 0.40001), (0.5, 0.9)]


def noise(seconds: float, sample_rate: int, channels: int = 2) -> np.ndarray:
    """(T, channels), audible up to a quarter of the rate."""
    samples = np.random.default_rng(1).normal(0, 0.1, (round(seconds * sample_rate), channels))
    return np.cumsum(samples - np.roll(samples, 4, axis=0), axis=0).clip(-0.9, 0.9).astype(np.float32)


def written(path: Path, samples: np.ndarray, sample_rate: int = 16_000, subtype: str | None = None) -> Path:
    soundfile.write(path, samples, sample_rate, subtype=subtype)
    return path


def whole(recording: Recording, sample_rate: int, channel: int | None = None) -> np.ndarray:
    return np.concatenate(list(recording.iter_blocks(sample_rate, channel)))


def adts(samples: np.ndarray) -> bytes:
    """AAC without a header that holds its length, of (T,) at RATE."""
    written = io.BytesIO()
    with av.open(written, "w", format="adts") as container:
        voice = container.add_stream("aac", rate=RATE, layout="mono")
        for start in range(0, len(samples), 1024):
            block = samples[None, start : start + 1024].astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout="mono")
            frame.rate, frame.pts = RATE, start
            container.mux(voice.encode(frame))
        container.mux(voice.encode(None))
    return written.getvalue()


def damaged(path: Path, fraction: float = 0.5, size: int = 1000) -> Path:
    data = bytearray(path.read_bytes())
    start = round(fraction * len(data))
    data[start : start + size] = np.random.default_rng(2).bytes(size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_a_file_tells_what_it_holds(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path / f"talk.{ending}", noise(1.5, 22_050), 22_050)
    recording = Recording.open(path)
    assert (recording.name, recording.sample_rate, recording.channels) == (str(path), 22_050, 2)
    assert recording.duration == pytest.approx(1.5)
    assert len(whole(recording, 22_050)) == round(1.5 * 22_050)
    assert recording.gaps == ()


def test_an_mp3_is_read_without_a_word_and_as_a_whole(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bursts = np.sin(np.arange(20 * 16_000) / 2_000)[:, None] > 0  # whose frames need those before them
    path = written(tmp_path / "talk.mp3", noise(20, 16_000) * bursts, 16_000)
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    recording = Recording.open(path, separate=True)
    for channel in (0, 1):
        np.testing.assert_allclose(whole(recording, 16_000, channel), expected[:, channel], rtol=0, atol=MP3_ROUNDING)
    assert capfd.readouterr() == ("", "")  # not of the decoder either


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("sample_rate", [16_000, 22_050, 8_000])
def test_a_clip_is_the_one_that_waveform_reads(tmp_path: Path, ending: str, sample_rate: int) -> None:
    path = written(tmp_path / f"talk.{ending}", noise(3, 16_000), 16_000)
    recording = Recording.open(path)
    for start, end in STRETCHES:
        clip = recording.clip(start, end, sample_rate)
        same = AudioClip(path=path, offset=start, duration=end - start, sample_rate=16_000)
        expected = waveform.read_clip(same, sample_rate)
        assert clip.dtype == np.float32
        assert np.array_equal(clip, expected)


def test_a_channel_can_be_read_alone(tmp_path: Path) -> None:
    samples = noise(1, 16_000)
    path = written(tmp_path / "call.wav", samples, subtype="FLOAT")
    recording = Recording.open(path, separate=True)
    for channel in (0, 1):
        assert np.array_equal(whole(recording, 16_000, channel), samples[:, channel])
        assert np.array_equal(recording.clip(0.25, 0.5, 16_000, channel), samples[4000:8000, channel])
    assert np.array_equal(whole(recording, 16_000), samples.mean(axis=1))
    with pytest.raises(ValueError, match="no separate channel 2 of 2"):
        whole(recording, 16_000, 2)
    mixed = Recording.open(path)
    assert np.array_equal(whole(mixed, 16_000), whole(recording, 16_000))
    with pytest.raises(ValueError, match="no separate channel 0"):
        mixed.clip(0, 1, 16_000, 0)


@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
def test_a_stream_is_resampled_as_a_whole_would_be(sample_rate: int) -> None:
    samples = noise(2, 22_050, channels=1)
    streamed = whole(Recording.from_samples(samples, 22_050), sample_rate)
    expected = soxr.resample(samples[:, 0], 22_050, sample_rate)
    assert abs(len(streamed) - len(expected)) <= 1
    both = min(len(streamed), len(expected))
    assert np.abs(streamed[:both] - expected[:both]).max() < 1e-5


def test_an_array_is_a_recording() -> None:
    samples = noise(1, 8_000)
    recording = Recording.from_samples(samples, 8_000, "telephone")
    assert (recording.name, recording.duration, recording.channels) == ("telephone", 1, 2)
    assert np.array_equal(whole(recording, 8_000), samples.mean(axis=1))
    assert np.array_equal(whole(Recording.from_samples(samples[:, 0], 8_000), 8_000), samples[:, 0])
    for kind, middle, scale in ((np.int16, 0, 2**15), (np.int32, 0, 2**31), (np.uint8, 128, 128)):
        whole_numbers = np.round(samples[:, 0] * (scale - 1) + middle).astype(kind)
        assert np.allclose(whole(Recording.from_samples(whole_numbers, 8_000), 8_000), samples[:, 0], atol=1.5 / scale)


@pytest.mark.parametrize(
    ("samples", "sample_rate", "code", "value"),
    [
        (np.zeros((2, 16_000)), 16_000, "audio.bad_array", (2, 16_000)),
        (np.zeros(0), 16_000, "audio.bad_array", (0,)),
        (np.zeros((2, 2, 2)), 16_000, "audio.bad_array", (2, 2, 2)),
        (np.zeros(9, dtype=complex), 16_000, "audio.bad_array", "complex128"),
        (np.zeros(9), 0, "audio.bad_rate", 0),
    ],
)
def test_an_array_that_is_no_sound_is_refused(samples: np.ndarray, sample_rate: int, code: str, value: object) -> None:
    with refuses(code, value):
        Recording.from_samples(samples, sample_rate)


def test_a_clip_beyond_the_end_is_silent_there() -> None:
    recording = Recording.from_samples(np.ones(16_000), 16_000)
    inside, across, beyond = (recording.clip(*times, 16_000) for times in ((0.5, 1), (0.9, 1.1), (3, 4)))
    assert inside.sum() == 8_000
    assert (len(across), across.sum()) == (3_200, 1_600)
    assert (len(beyond), beyond.sum()) == (16_000, 0)


@pytest.mark.parametrize(("start", "end"), [(1, 0), (-1, 1), (0, np.inf), (np.nan, 1)])
def test_a_clip_ends_after_it_starts(start: float, end: float) -> None:
    with pytest.raises(ValueError, match="a clip starts at 0 or later"):
        Recording.from_samples(np.ones(16_000), 16_000).clip(start, end, 16_000)


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> Decoder:
    return Decoder(monkeypatch)


class TestDecodedOnce:
    @pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "mp4"])
    @pytest.mark.parametrize("separate", [False, True])
    def test_however_often_it_is_read(self, tmp_path: Path, decoder: Decoder, ending: str, separate: bool) -> None:
        path = tmp_path / f"talk.{ending}"
        _ = write_film(path, tone(3), seconds=3) if ending == "mp4" else written(path, noise(3, RATE), RATE)
        decoder.opened.clear()
        recording = Recording.open(path, separate=separate)
        for sample_rate in (RATE, 16_000):
            for channel in (None, *range(recording.channels * separate)):
                whole(recording, sample_rate, channel)
                recording.clip(1, 2, sample_rate, channel)
        assert recording.gaps == ()
        assert decoder.opened == [path.name]
        assert decoder.frames == recording.duration * RATE

    def test_and_no_sooner_than_it_is_asked_for(self, tmp_path: Path, decoder: Decoder) -> None:
        path = written(tmp_path / "talk.wav", noise(3, 16_000))
        recording = Recording.open(path)
        assert (recording.sample_rate, recording.channels) == (16_000, 2)
        assert decoder.frames <= module.DECODED_BLOCK
        assert recording.duration == 3

    def test_a_file_without_a_length_in_its_header_too(self, tmp_path: Path, decoder: Decoder) -> None:
        path = tmp_path / "talk.aac"
        path.write_bytes(adts(tone(1)))
        decoder.opened.clear()
        recording = Recording.open(path)
        assert len(whole(recording, RATE)) == recording.duration * RATE == decoder.frames
        assert decoder.opened == ["talk.aac"]


class TestBoundedMemory:
    """Decoded sound beyond IN_MEMORY goes to a temporary file without a name."""

    def test_what_is_read_from_the_file_is_what_is_read_from_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = written(tmp_path / "talk.flac", noise(20, 22_050), 22_050)
        in_memory = Recording.open(path, separate=True)
        expected = whole(in_memory, 16_000), [in_memory.clip(*times, 22_050, 1) for times in STRETCHES]
        monkeypatch.setattr(module, "IN_MEMORY", 10_000)
        monkeypatch.setattr(module, "BLOCK", 1_000)
        in_file = Recording.open(path, separate=True)
        found = whole(in_file, 16_000), [in_file.clip(*times, 22_050, 1) for times in STRETCHES]
        assert in_file._file._rolled  # type: ignore[attr-defined]
        assert not in_memory._file._rolled  # type: ignore[attr-defined]
        assert np.array_equal(found[0], expected[0])
        assert all(map(np.array_equal, found[1], expected[1]))

    @pytest.mark.parametrize("ending", ["wav", "mp4"])
    def test_blocks_are_of_one_size_however_long_the_recording(self, tmp_path: Path, ending: str) -> None:
        for seconds in (1, 8):
            path = tmp_path / f"{seconds}.{ending}"
            samples = tone(seconds)
            _ = written(path, samples, RATE) if ending == "wav" else write_film(path, samples, seconds=seconds)
            blocks = [len(block) for block in Recording.open(path).iter_blocks(16_000)]
            assert sum(blocks) == pytest.approx(seconds * 16_000, abs=2 * 1024)
            assert max(blocks) <= module.BLOCK
            assert max(map(len, Recording.open(path)._blocks)) <= module.DECODED_BLOCK

    def test_the_mean_alone_is_kept_where_channels_are_not_separate(self, tmp_path: Path) -> None:
        path = written(tmp_path / "six.wav", noise(1, 16_000, 6), subtype="FLOAT")
        for separate, columns in ((False, 1), (True, 6)):
            recording = Recording.open(path, separate=separate)
            whole(recording, 16_000)
            assert recording._file.seek(0, os.SEEK_END) == 16_000 * columns * 4

    @pytest.mark.parametrize("end", ["raise KeyboardInterrupt", "os.kill(os.getpid(), 9)", "pass"])
    def test_no_file_is_left_however_the_process_ends(self, tmp_path: Path, end: str) -> None:
        path = written(tmp_path / "talk.wav", noise(20, 16_000))
        (tmp_path / "temporary").mkdir()
        script = (
            "import os, sys, pathlib\nfrom moodline.audio import recording\nrecording.IN_MEMORY = 1000\n"
            "found = recording.Recording.open(pathlib.Path(sys.argv[1]))\n"
            f"assert found.duration == 20 and found._file._rolled\n{end}"
        )
        environment = os.environ | {"TMPDIR": str(tmp_path / "temporary")}
        ended = subprocess.run([sys.executable, "-c", script, path], env=environment, capture_output=True, text=True)
        assert "Error" not in ended.stderr
        assert list((tmp_path / "temporary").iterdir()) == []

    def test_a_full_disk_is_told_in_a_sentence(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = written(tmp_path / "talk.wav", noise(20, 16_000))
        monkeypatch.setattr(module, "IN_MEMORY", 1000)
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        recording = Recording.open(path)
        with room_for(100_000), refuses("audio.no_space", path, tmp_path, "TMPDIR"):
            whole(recording, 16_000)


class TestFilms:
    def test_the_sound_is_the_one_that_clips_have(self, tmp_path: Path) -> None:
        path = write_film(tmp_path / "film.mp4", tone(2), seconds=2)
        recording, expected = Recording.open(path), waveform.read_clip(waveform.inspect_file(path), RATE)
        assert recording.duration == pytest.approx(2, abs=2 * 1024 / RATE)
        assert np.array_equal(whole(recording, RATE), expected)
        assert recording.duration == len(expected) / RATE
        assert np.array_equal(recording.clip(0.5, 1, RATE), expected[RATE // 2 : RATE])

    def test_a_container_under_another_name_is_read_all_the_same(self, tmp_path: Path) -> None:
        film = write_film(tmp_path / "film.mp4", tone(1), seconds=1)
        misnamed = tmp_path / "film.wav"
        misnamed.write_bytes(film.read_bytes())
        assert np.array_equal(whole(Recording.open(misnamed), RATE), whole(Recording.open(film), RATE))

    def test_where_no_header_tells_the_length_it_is_found_out(self, tmp_path: Path) -> None:
        path = tmp_path / "talk.aac"
        path.write_bytes(adts(0.1 * (np.arange(3 * RATE) > RATE)))
        recording = Recording.open(path)
        assert recording.duration == pytest.approx(3, abs=3 * 1024 / RATE)
        assert len(whole(recording, RATE)) == recording.duration * RATE
        assert recording.gaps == ()

    def test_a_jump_in_the_times_is_a_gap_where_no_header_tells_the_length(self, tmp_path: Path) -> None:
        path = tmp_path / "call.webm"
        with av.open(str(path), "w", options={"live": "1"}) as container:
            voice = container.add_stream("libopus", rate=48_000, layout="mono")
            for start in range(0, 48_000 * 4, 960):
                block = 0.1 * np.ones((1, 960), dtype=np.float32)
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                frame.rate, frame.pts = 48_000, start + (48_000 * 3 if start >= 48_000 * 2 else 0)
                container.mux(voice.encode(frame))
            container.mux(voice.encode(None))
        recording = Recording.open(path)
        (gap,) = recording.gaps
        assert (gap.start, gap.end) == pytest.approx((2, 5), abs=0.1)
        assert recording.duration == pytest.approx(7, abs=0.1)

    def test_silent_films_and_letters_are_refused(self, tmp_path: Path) -> None:
        silent = write_film(tmp_path / "silent.mp4", None)
        (tmp_path / "letter.mp4").write_bytes(b"Dear Sir, " * 100)
        for path, code in ((silent, "audio.no_sound"), (tmp_path / "letter.mp4", "audio.unreadable")):
            with refuses(code, path):
                Recording.open(path)

    def test_without_pyav_the_extra_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        film = write_film(tmp_path / "film.mp4", tone())
        monkeypatch.setitem(sys.modules, "av", None)
        with refuses("audio.missing_extra", film, "moodline[video]"):
            Recording.open(film)

    def test_sound_after_damage_is_in_its_place(self, tmp_path: Path) -> None:
        samples = np.concatenate([tone(2, frequency) for frequency in (300, 400, 500, 600)])
        path = write_film(tmp_path / "film.mp4", samples, seconds=0.1)
        before = whole(Recording.open(path), RATE)
        recording = Recording.open(damaged(path, 0.4, size=600))
        after = whole(recording, RATE)
        assert len(after) == len(before)
        assert [gap.reason for gap in recording.gaps] == [UNREADABLE]
        (gap,) = recording.gaps
        assert 0 < gap.end - gap.start < 1
        late = slice(round((gap.end + 0.2) * RATE), None)
        assert np.abs(after[late] - before[late]).max() < 1e-3


class TestDamage:
    def test_flac_is_read_round_it(self, tmp_path: Path) -> None:
        samples = noise(20, 16_000, channels=1)
        recording = Recording.open(damaged(written(tmp_path / "talk.flac", samples, subtype="PCM_16")))
        found = whole(recording, 16_000)
        assert len(found) == len(samples)
        (gap,) = recording.gaps
        assert gap.reason == UNREADABLE
        assert gap.end - gap.start < 1.5
        first, last = round(gap.start * 16_000), round(gap.end * 16_000)
        assert not found[first:last].any()
        for part in (slice(0, first), slice(last, None)):
            assert np.allclose(found[part], samples[part, 0], atol=2**-15)

    @pytest.mark.parametrize("ending", ["wav", "flac", "mp3"])
    def test_a_file_that_breaks_off_is_read_so_far(self, tmp_path: Path, ending: str) -> None:
        path = written(tmp_path / f"talk.{ending}", noise(20, 16_000))
        os.truncate(path, path.stat().st_size // 2)
        recording = Recording.open(path)
        found = whole(recording, 16_000)
        assert recording.duration == len(found) / 16_000
        assert 7 < recording.duration < 13
        (gap,) = recording.gaps
        assert (gap.start, gap.reason) == (recording.duration, TRUNCATED)
        assert gap.end == pytest.approx(20, abs=0.1)

    @pytest.mark.parametrize("fault", [np.nan, np.inf, 1e30])
    def test_what_is_no_number_is_silence(self, tmp_path: Path, fault: float) -> None:
        samples = noise(2, 16_000)
        samples[8_000:8_100, 1] = fault
        recording = Recording.open(written(tmp_path / "talk.wav", samples, subtype="FLOAT"))
        found = whole(recording, 16_000)
        assert recording.gaps == (Gap(0.5, 0.50625, NOT_FINITE),)
        samples[8_000:8_100, 1] = 0
        assert np.array_equal(found, samples.mean(axis=1))

    def test_nothing_readable_is_an_error(self, tmp_path: Path) -> None:
        path = written(tmp_path / "talk.flac", noise(2, 16_000))
        data = path.read_bytes()
        path.write_bytes(data[:200] + bytes(len(data) - 200))
        with refuses("audio.no_samples", path):
            whole(Recording.open(path), 16_000)

    @pytest.mark.parametrize(
        ("name", "code"),
        [("nowhere.wav", "audio.missing_file"), ("empty.wav", "audio.empty_file"), (".", "audio.missing_file")],
    )
    def test_what_is_no_file_is_refused(self, tmp_path: Path, name: str, code: str) -> None:
        (tmp_path / "empty.wav").touch()
        with refuses(code, tmp_path / name):
            Recording.open(tmp_path / name)

    @pytest.mark.parametrize("name", ["letter.wav", "letter.raw", "letter.txt"])
    def test_what_is_no_sound_is_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"Dear Sir, " * 100)
        with refuses("audio.unreadable", tmp_path / name):
            Recording.open(tmp_path / name)

    def test_a_wav_without_samples_is_refused(self, tmp_path: Path) -> None:
        with refuses("audio.no_samples", "none.wav"):
            Recording.open(written(tmp_path / "none.wav", np.zeros(0)))


def test_gaps_that_touch_are_one_of_their_kind() -> None:
    gaps = [Gap(start, end, UNREADABLE) for start, end in ((5, 6), (1, 2), (2.05, 3), (1, 2))]
    found = Recording(iter([(np.zeros((1, 1), np.float32), 1)]), "talk", [*gaps, Gap(1.5, 2, NOT_FINITE)])
    assert found.gaps == (
        Gap(1, 3, UNREADABLE),
        Gap(1.5, 2, NOT_FINITE),
        Gap(5, 6, UNREADABLE),
    )
    assert str(Gap(1, 3, UNREADABLE)) == f"1.000 s to 3.000 s {UNREADABLE}"
