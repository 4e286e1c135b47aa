"""Speech to stand inside a page: a data URI of FLAC, which every browser plays and which loses nothing."""

import base64
import io
from dataclasses import replace

import soundfile

from moodline.audio import waveform
from moodline.conversation import AudioClip

SAMPLE_RATE = 16_000
LONGEST = 12.0  # seconds; a page with a few clips stays under some megabytes


def data_uri(clip: AudioClip) -> str:
    """A clip's first ``LONGEST`` seconds, mono at ``SAMPLE_RATE``.

    Raises:
        MoodlineError: the audio file is missing or cannot be read
    """
    samples = waveform.read(replace(clip, duration=min(clip.duration, LONGEST)), SAMPLE_RATE)
    written = io.BytesIO()
    soundfile.write(written, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return f"data:audio/flac;base64,{base64.b64encode(written.getvalue()).decode('ascii')}"
