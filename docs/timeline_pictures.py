"""Writes docs/pictures/timeline/, the page of a timeline on a desk and on a telephone, from synthetic voices alone.

    make demo
    .venv/bin/python docs/timeline_pictures.py demo/corpus demo/run/fold-5/model

A dialogue of the demo corpus is mixed into one recording, with its words as SRT, and labelled by the demo's model; the
page is drawn by Chromium, through Playwright.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from playwright.sync_api import sync_playwright

import moodline
from moodline.audio import io
from moodline.conversation import Conversation, Segment
from moodline.corpora.corpus import read_corpus
from moodline.errors import MoodlineError
from moodline.transcripts.formats import write_transcript

PICTURES = Path(__file__).parent / "pictures" / "timeline"
DIALOGUE = "Ses05F_script03_1"
SYNTHETIC = "demo"  # the corpus whose voices and words are nobody's
RATE = 16_000
SHOWN = 6  # the turn, from 0, whose words and reasons are seen
SIZES = {"desk": (1200, 1240), "phone": (390, 1240)}


def main(corpus: Path, model: Path) -> None:
    read = read_corpus(corpus)
    if read.reader != SYNTHETIC:
        raise MoodlineError(f"pictures are made of the demo corpus, whose voices are nobody's, and {corpus} is another")
    conversation = next(one for one in read.conversations if one.id == DIALOGUE)
    with tempfile.TemporaryDirectory() as folder:
        recording, transcript, page = (Path(folder) / f"talk{ending}" for ending in (".wav", ".srt", ".html"))
        soundfile.write(recording, mixed(conversation), RATE)
        write_transcript(transcript, turns_of(conversation))
        timeline = moodline.load(model).recognise(recording, transcript=transcript, reasons=True)
        page.write_text(timeline.to_html(recording), encoding="utf-8")
        draw(page)


def mixed(conversation: Conversation) -> np.ndarray:
    """The turns at their times: (T,) at RATE."""
    samples = np.zeros(round((max(turn.end or 0.0 for turn in conversation.utterances) + 1) * RATE), dtype=np.float32)
    for turn in conversation.utterances:
        assert turn.audio is not None
        clip, first = io.read_clip(turn.audio, RATE), round((turn.start or 0.0) * RATE)
        samples[first : first + len(clip)] += clip
    return samples


def turns_of(conversation: Conversation) -> list[Segment]:
    return [
        Segment(start=turn.start or 0.0, end=turn.end or 0.0, speaker=turn.speaker, words=turn.words)
        for turn in conversation.utterances
    ]


def draw(page: Path) -> None:
    """A picture of each size of screen, with the network cut off."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (width, height) in SIZES.items():
            screen = browser.new_context(viewport={"width": width, "height": height}, offline=True)
            shown = screen.new_page()
            shown.goto(page.as_uri())
            for _ in range(SHOWN):
                shown.keyboard.press("ArrowRight")
            shown.screenshot(path=PICTURES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
