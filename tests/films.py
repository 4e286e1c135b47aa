"""Short films with sound, as MELD's clips are, written with PyAV."""

from pathlib import Path

import av
import numpy as np

RATE = 48_000


def write_film(path: Path, sound: np.ndarray | None, *, seconds: float = 0.5, rate: int = RATE) -> Path:
    """A film of black pictures, with a sound (T,) or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        voice = container.add_stream("aac", rate=rate, layout="mono") if sound is not None else None
        for index in range(round(25 * seconds)):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), dtype=np.uint8), format="rgb24")
            frame.pts = index
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        if voice is not None and sound is not None:
            for start in range(0, len(sound), 1024):
                block = sound[None, start : start + 1024].astype(np.float32)  # (1, frames)
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout="mono")
                frame.rate, frame.pts = rate, start
                container.mux(voice.encode(frame))
            container.mux(voice.encode(None))
    return path


def tone(seconds: float = 0.5, frequency: float = 440.0, rate: int = RATE) -> np.ndarray:
    """(T,) samples."""
    return 0.4 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)
