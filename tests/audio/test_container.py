"""The sound of videos, against the sound that was put into them."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import numpy as np
import pytest

from moodline.audio import io
from moodline.conversation import AudioClip
from tests.films import RATE, tone, write_film
from tests.refusals import refuses


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("films") / "dia0_utt0.mp4", tone())


def test_the_sound_is_the_one_of_the_film(film: Path) -> None:
    clip = io.inspect_file(film)
    assert clip.sample_rate == RATE
    assert clip.duration == pytest.approx(0.5, abs=2 * 1024 / RATE)  # AAC pads to whole frames
    samples, expected = io.read_clip(clip, RATE), tone()
    middle = slice(4096, len(expected) - 4096)
    correlations = [np.corrcoef(samples[middle], np.roll(expected, shift)[middle])[0, 1] for shift in (0, 12)]
    assert correlations[0] > 0.99 > correlations[1]


def test_a_stretch_of_a_film_is_that_stretch(film: Path) -> None:
    whole = io.read_clip(io.inspect_file(film), RATE)
    part = io.read_clip(AudioClip(path=film, offset=0.1, duration=0.2, sample_rate=RATE), RATE)
    assert np.array_equal(part, whole[round(0.1 * RATE) : round(0.3 * RATE)])


def test_what_is_no_film_is_refused_in_a_sentence(tmp_path: Path, film: Path) -> None:
    silent = write_film(tmp_path / "silent.mp4", None)
    (tmp_path / "letter.mp4").write_bytes(b"Dear Sir, " * 100)
    (tmp_path / "half.mp4").write_bytes(film.read_bytes()[:2000])
    (tmp_path / "empty.mp4").write_bytes(b"")
    codes = {"letter": "audio.unreadable", "half": "audio.unreadable", "empty": "audio.empty_file"}
    for path, code in ((silent, "audio.no_sound"), *((tmp_path / f"{name}.mp4", code) for name, code in codes.items())):
        with refuses(code, path):
            io.inspect_file(path)


def test_a_film_without_pyav_names_the_extra(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with refuses("audio.missing_extra", film, "moodline[video]"):
        io.inspect_file(film)


class Server(BaseHTTPRequestHandler):
    """Counts who asks."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)


def test_a_file_opens_nothing_that_it_names(film: Path, tmp_path: Path) -> None:
    """FFmpeg knows playlists by their content, whatever the file's name, and would fetch what they list."""
    server = HTTPServer(("127.0.0.1", 0), Server)
    Thread(target=server.serve_forever, daemon=True).start()
    segment = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
    (tmp_path / film.name).write_bytes(film.read_bytes())
    lists = {
        "network": segment.format(f"http://127.0.0.1:{server.server_port}/secret.ts"),
        "local": segment.format(film),
        "concat": f"ffconcat version 1.0\nfile {film.name}\n",
    }
    try:
        for name, content in lists.items():
            (tmp_path / f"{name}.mp4").write_text(content)
            with refuses("audio.unreadable", f"{name}.mp4"):
                io.inspect_file(tmp_path / f"{name}.mp4")
    finally:
        server.shutdown()
        server.server_close()
    assert Server.asked == []


@pytest.mark.parametrize("name", ["concat:a|b.mp4", "a:b.mp4", "file:c.mp4"])
def test_a_files_name_is_no_protocol(film: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(film.read_bytes())
    assert io.inspect_file(Path(name)).duration == io.inspect_file(film).duration


@pytest.mark.parametrize("ending", sorted({".avi", ".flv", ".m4a", ".mkv", ".mov", ".mp4", ".mpg", ".ogv", ".wmv"}))
def test_each_container_is_among_the_demuxers(tmp_path: Path, ending: str) -> None:
    import av

    path = tmp_path / f"sound{ending}"
    codec = {".ogv": "flac", ".mpg": "mp2", ".wmv": "wmav2", ".avi": "mp2"}.get(ending, "aac")
    with av.open(str(path), "w") as film:
        stream = film.add_stream(codec, rate=44_100, layout="mono")
        stream.bit_rate = 128_000  # WMA's encoder has no default
        for start in range(0, 44_100, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = 44_100, start
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    assert io.inspect_file(path).sample_rate == 44_100
