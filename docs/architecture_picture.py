"""Writes docs/pictures/architecture.svg, the layers of the package, from import-linter's contract in pyproject.toml.

.venv/bin/python docs/architecture_picture.py
"""

import tomllib
from html import escape
from pathlib import Path

from moodline.io import write_text

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "pictures" / "architecture.svg"
PURPOSES = {
    "cli": "commands and their options",
    "api": "moodline.train and moodline.evaluate",
    "experiments": "the paper's tables, baselines, robustness",
    "evaluation": "scores, intervals, reports",
    "training": "trains the five stages of each fold",
    "inference": "conversations and recordings to labels",
    "recipe": "recipe files and their former keys",
    "corpora": "corpora on disk, folds, demo corpus",
    "timeline": "labelled turns and their file formats",
    "transcripts": "SRT, TextGrid, RTTM, ... to turns",
    "speech": "words and speakers from speech",
    "modeling": "the paper's boxes, the model, its folder",
    "audio": "decoding, recordings, voice activity",
    "embeddings": "files of embeddings",
    "hub": "models on the Hugging Face hub",
    "config": "recipes: every size and rate",
    "conversation": "utterances, label sets",
    "metrics": "WA, UA, F1, calibration",
    "tabular": "tables",
    "io": "atomic writes",
    "pages": "HTML pages",
    "device": "CPU or GPU",
    "errors": "MoodlineError",
    "console": "what a terminal shows",
    "runtime": "seeds, threads, memory",
}
WIDTH, ROW, GAP, MARGIN, ARROW = 760, 44, 8, 16, 48
STYLE = """\
text { font-family: sans-serif; fill: #1f2933; text-anchor: middle }
.name { font-size: 14px; font-weight: 600 } .purpose { font-size: 11px; fill: #52606d }
.card { fill: #f8fafc; stroke: #cbd2d9 } .box { fill: #e0ecf8; stroke: #7b9cc0 }
.arrow { stroke: #52606d; stroke-width: 2; fill: none }"""


def main() -> None:
    write_text(PICTURE, draw(read_layers()))


def read_layers() -> list[list[str]]:
    """Read the names of each layer, the highest layer first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers")
    return [[name.strip().removeprefix("moodline.") for name in layer.split("|")] for layer in layers]


def draw(layers: list[list[str]]) -> str:
    height = 2 * MARGIN + len(layers) * (ROW + GAP) - GAP
    parts = [box for row, names in enumerate(layers) for box in draw_layer(names, MARGIN + row * (ROW + GAP))]
    tip = height - MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            "<title>The layers of moodline: each imports only those below it</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="card" x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="8"/>',
            f'<path class="arrow" d="M24 {MARGIN} V{tip} m-6 -9 l6 9 l6 -9"/>',
            f'<text class="purpose" transform="translate(42 {height // 2}) rotate(-90)">imports</text>',
            *parts,
            "</svg>\n",
        ]
    )


def draw_layer(names: list[str], top: int) -> list[str]:
    left = ARROW + MARGIN
    width = (WIDTH - left - MARGIN - GAP * (len(names) - 1)) / len(names)
    boxes = []
    for column, name in enumerate(names):
        x = left + column * (width + GAP)
        middle = x + width / 2
        boxes += [
            f'<rect class="box" x="{x:.0f}" y="{top}" width="{width:.0f}" height="{ROW}" rx="4"/>',
            f'<text class="name" x="{middle:.0f}" y="{top + 18}">{escape(name)}</text>',
            f'<text class="purpose" x="{middle:.0f}" y="{top + 35}">{escape(PURPOSES.get(name, ""))}</text>',
        ]
    return boxes


if __name__ == "__main__":
    main()
