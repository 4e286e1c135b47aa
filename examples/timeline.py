"""A recording to a timeline in Python.

    python examples/timeline.py MODEL RECORDING [TRANSCRIPT]

Prints who felt what when, and writes the timeline as RECORDING.html and RECORDING.json where it is called.
"""

import sys
from pathlib import Path

import moodline


def main(model: str, recording: str, transcript: str | None = None) -> None:
    timeline = moodline.load(model).recognise(recording, transcript=transcript, threshold=0.4)
    for notice in timeline.notices:
        print(f"Note: {notice}")
    for turn in timeline.turns:
        print(f"{turn.start:7.2f}  {turn.speaker}  {turn.label} {turn.probability:.2f}  {turn.words}")
    name = Path(recording).stem
    Path(f"{name}.html").write_text(timeline.to_html(audio=recording), encoding="utf-8")
    Path(f"{name}.json").write_text(timeline.to_json(), encoding="utf-8")


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4:
        raise SystemExit(__doc__)
    try:
        main(*sys.argv[1:])
    except moodline.MoodlineError as error:
        raise SystemExit(f"timeline.py: {error}") from None
