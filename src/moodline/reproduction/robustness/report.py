"""The curves -> one HTML page that needs nothing beside it, for a screen of any width and for paper."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from moodline.config import STAGE_NAMES
from moodline.evaluation.report import difference, environment
from moodline.evaluation.results import Estimate
from moodline.files import write_text
from moodline.reproduction.robustness.draw import Curves
from moodline.reproduction.robustness.figures import MEASURES, Row, curve_figure, said
from moodline.reproduction.robustness.points import DRAWN, INTERPOLATED, NAMES


def write_page(curves: Curves, out: Path) -> None:
    """Write the page to ``out``."""
    rows = curves.table.to_pylist()
    drawn = [curve for curve in NAMES if any(row["curve"] == curve for row in rows)]
    page = (
        environment("moodline.reproduction.robustness")
        .get_template("robustness.html.jinja")
        .render(
            run=curves.run,
            corpus=curves.corpus,
            notes=curves.notes,
            first=rows[0],
            recognition=next((row["recognition"] for row in rows if row["recognition"]), None),
            curves=[section_of(curve, rows, 1 / len(curves.run.label_set.classes)) for curve in drawn],
            classes=curves.run.label_set.classes,
        )
    )
    write_text(out, page)


def section_of(curve: str, rows: Sequence[Row], chance: float) -> dict[str, Any]:
    """A curve's figures and the lines of its table; ``chance`` is the UA of a guess."""
    own = [row for row in rows if row["curve"] == curve]
    is_of_words = curve in (INTERPOLATED, DRAWN)
    real = [row for row in rows if is_of_words and (row["curve"], row["x"]) == (INTERPOLATED, 1)]
    return {
        "key": curve,
        "title": NAMES[curve],
        "figures": [Markup(curve_figure(curve, metric, own, real, chance)) for metric in MEASURES],
        "lines": lines_of(own),
    }


def lines_of(rows: Sequence[Row]) -> list[dict[str, str]]:
    """What a table says of each part at each point of a curve."""
    by_place: dict[tuple[float, str], dict[str, Row]] = {}
    for row in rows:
        by_place.setdefault((row["x"], row["part"]), {})[row["metric"]] = row
    return [
        {
            "x": f"{x:g}" if found["ua"]["wer"] is not None else "",
            "place": said(found["ua"]),
            "part": STAGE_NAMES[part],
            "wa": str(estimate(found["wa"])),
            "ua": str(estimate(found["ua"])),
            "difference": change(found["ua"], with_interval=True),
            "change": change(found["ua"], with_interval=False),
        }
        for (x, part), found in by_place.items()
    ]


def estimate(row: Row) -> Estimate:
    return Estimate(row["value"], None if row["low"] is None else (row["low"], row["high"]))


def change(row: Row, *, with_interval: bool) -> str:
    """The difference from where nothing is altered."""
    interval = (row["difference_low"], row["difference_high"])
    if not with_interval or None in interval:
        return difference({"value": row["difference"], "interval": None})
    return difference({"value": row["difference"], "interval": interval})
