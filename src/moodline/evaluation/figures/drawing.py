"""One style for all figures, and SVG whose text stays text, whose ids are its own and which says what it shows."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from moodline.files import atomic_file, write_text

# Okabe & Ito's colours, told apart by colour-blind readers; markers and dashes differ as well.
BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b6b6b"
INK, LIGHT = "#222222", "#e2e2e2"
_LONGEST_NAME = 20
_DOTS_PER_INCH = 150
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": LIGHT,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
}


@contextmanager
def figure_of(width: float, height: float) -> Iterator[Figure]:
    """A figure of that size in inches, drawn in the report's style."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # The reader's fonts have the letters that the one for measuring lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield Figure(figsize=(width, height), layout="constrained")


def shorten(name: str) -> str:
    """A name as an axis can hold it."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"


def write(figure: Figure, path: Path, name: str, title: str, description: str) -> None:
    """The drawing on white as a file of its own, in the format that the path ends with: .svg (see ``svg``) or .png."""
    if path.suffix == ".png":
        with atomic_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH, metadata={"Title": title, "Software": None})
    else:
        write_text(path, svg(figure, name, title, description, transparent=False) + "\n")


def svg(figure: Figure, name: str, title: str, description: str, *, transparent: bool = True) -> str:
    """The drawing alone, with a title and a description for who hears it; ``name`` keeps its ids apart from others'.

    It has no XML declaration, no metadata, and of matplotlib's ids those that something refers to.
    """
    written = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            written,
            format="svg",
            transparent=transparent,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    drawing = written.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    referred = set(re.findall(r'(?:url\(|href=")#([^")]+)', drawing))
    drawing = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in referred else "", drawing).strip()
    told = (
        f' role="img" aria-labelledby="{name}-title {name}-description">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-description">{escape(description)}</desc>'
    )
    return drawing.replace(">", told, 1)
