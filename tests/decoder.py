"""Counting what is decoded of audio files."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from moodline.audio import recording


class Decoder:
    """Counts how often files are opened to be decoded, and how many frames that gives."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[str] = []
        self.frames = 0
        open_film, decode_film = av.open, recording.iter_frames
        open_sound, decode_sound = soundfile.SoundFile.__init__, soundfile.SoundFile.read

        def begin(file: soundfile.SoundFile, name: object, mode: str = "r", *given: object, **named: object) -> None:
            self.opened += [Path(name).name] if mode == "r" and isinstance(name, str | Path) else []
            open_sound(file, name, mode, *given, **named)  # type: ignore[arg-type]

        def read(file: soundfile.SoundFile, *given: object, **named: object) -> np.ndarray:
            samples = decode_sound(file, *given, **named)  # type: ignore[arg-type]
            self.frames += len(samples)
            return samples

        def begin_film(name: object, *given: object, **named: object) -> object:
            self.opened += [Path(name).name] if isinstance(name, str) else []
            return open_film(name, *given, **named)  # type: ignore[arg-type]

        def frames(film: object) -> Iterator[tuple[np.ndarray | None, int | None]]:
            for samples, position in decode_film(film):
                self.frames += 0 if samples is None else len(samples)
                yield samples, position

        monkeypatch.setattr(soundfile.SoundFile, "__init__", begin)
        monkeypatch.setattr(soundfile.SoundFile, "read", read)
        monkeypatch.setattr(av, "open", begin_film)
        monkeypatch.setattr(recording, "iter_frames", frames)
