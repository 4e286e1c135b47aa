"""A conversation of a corpus as one recording, both speakers in one channel.

    python examples/join_conversation.py CORPUS CONVERSATION RECORDING.wav

Turns that overlap are added.
"""

import sys
from pathlib import Path

import numpy as np
import soundfile

import moodline
from moodline.audio.io import read_clip
from moodline.corpora.corpus import read_corpus

RATE = 16_000


def main(corpus: str, conversation: str, recording: str) -> None:
    turns = read_corpus(corpus).conversation(conversation).utterances
    clips = [(round((turn.start or 0) * RATE), read_clip(turn.audio, RATE)) for turn in turns if turn.audio is not None]
    if not clips:
        raise SystemExit(f"join_conversation.py: {conversation} has no audio: choose another conversation")
    samples = np.zeros(max(start + len(clip) for start, clip in clips), dtype=np.float32)
    for start, clip in clips:
        samples[start : start + len(clip)] += clip
    soundfile.write(Path(recording), samples, RATE)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    try:
        main(*sys.argv[1:])
    except moodline.MoodlineError as error:
        raise SystemExit(f"join_conversation.py: {error}") from None
