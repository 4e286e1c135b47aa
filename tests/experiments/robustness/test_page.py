"""The page of curves: whole whatever there is to show, and as a browser lays it out."""

import html
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from moodline.config import Recipe
from moodline.conversation import IEMOCAP4
from moodline.corpora.corpus import Corpus
from moodline.experiments import robustness_page
from moodline.experiments.corruptions import CorruptionPoint
from moodline.experiments.robustness import RobustnessCurves, build_curves_table
from moodline.experiments.robustness_page import MEASURE_NAMES, compute_limits, draw_curve, write_page
from moodline.metrics import WordErrors
from moodline.training.run import Run
from tests.evaluation.test_report import Page
from tests.evaluation.test_report_in_browser import DESK, LOOKING, PHONE, chromium  # noqa: F401

STAGES = ("audio_context", "text_context", "fusion")
FACTS = {
    "protocol": "session5",
    "folds": 1,
    "seed": 0,
    "words": "reference",
    "corpus_hash": "0",
    "recognition": "words recognised by <unknown> (1), in the recordings: WER 0.500",
}


def made_up(points: Sequence[CorruptionPoint], stages: Sequence[str] = STAGES, talks: int = 8) -> pa.Table:
    """Numbers of predictions drawn at random, the worse the further a point is."""
    generator, measured = np.random.default_rng(0), {}
    for point in points:
        bad = point.x if point.encoder == "text_utterance" else (30 - min(point.x, 30)) / 40
        table = []
        for stage in stages:
            for talk in range(talks):
                for turn in range(12):
                    label = IEMOCAP4.classes[turn % 4]
                    said = IEMOCAP4.classes[generator.integers(4)] if generator.random() < 0.3 + 0.7 * bad else label
                    row = {"utterance_id": f"{talk}-{turn}", "conversation_id": str(talk), "fold": "5", "part": None}
                    table.append({**row, "stage": stage, "label": label, "predicted": said})
        errors = None
        if point.encoder == "text_utterance":
            errors = WordErrors(substitutions=round(1000 * point.x), deletions=0, insertions=0, words=1000)
        measured[point] = (pa.Table.from_pylist(table), errors)
    return build_curves_table(measured, IEMOCAP4.classes, FACTS)


def curves_of(table: pa.Table, corpus: Corpus, *notes: str) -> RobustnessCurves:
    run = Run(
        folder=Path("run"),
        recipe_name="<own>",
        recipe=Recipe(),
        protocol="session5",
        corpus_folder=Path("corpus"),
        corpus_hash="0",
        label_set=IEMOCAP4,
    )
    return RobustnessCurves(run=run, corpus=corpus, table=table, notes=notes)


@pytest.fixture(scope="module")
def pages(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All curves; the least there can be: one conversation, speech alone, nobody to talk over it."""
    place = tmp_path_factory.mktemp("pages")
    full = made_up([*CorruptionPoint.list_all("text_utterance"), *CorruptionPoint.list_all("audio_utterance")])
    least = made_up(CorruptionPoint.list_all("audio_utterance", with_babble=False), ("audio_context",), talks=1)
    write_page(curves_of(full, corpus, "a note"), place / "full.html")
    write_page(curves_of(least, corpus), place / "least.html")
    return {"full": place / "full.html", "least": place / "least.html"}


def test_a_page_is_whole(pages: dict[str, Path]) -> None:
    full, least = (Page(pages[name].read_text(encoding="utf-8")) for name in ("full", "least"))
    assert (full.tags["svg"], full.tags["table"], full.tags["section"]) == (8, 4, 4)
    assert (least.tags["svg"], least.tags["table"], least.tags["section"]) == (4, 2, 2)
    assert "A note." in full.text
    assert "by <unknown>" in full.text
    assert "no interval" in least.text
    assert "no babble" in least.text
    assert full.text.count("[") > full.text.count("no babble")


def test_a_figure_tells_every_point_to_who_cannot_see_it() -> None:
    rows = made_up(CorruptionPoint.list_all("audio_utterance")).to_pylist()
    for metric, name in MEASURE_NAMES.items():
        own = [row for row in rows if row["curve"] == "babble"]
        drawn = draw_curve("babble", metric, own, [], 0.25)
        (told,) = re.findall(r"<desc[^>]*>(.*?)</desc>", drawn)
        assert f">{name}: Speech in babble</title>" in drawn
        for row in own:
            if row["metric"] == metric and row["part"] in ("audio_context", "fusion"):
                where = "no babble" if math.isinf(row["x"]) else f"{row['x']:g} dB"
                assert f"{row['value']:.3f} at {where}" in html.unescape(told)


def test_one_scale_holds_chance_and_every_interval() -> None:
    rows = [{"value": 0.6, "low": 0.5, "high": 0.7}, {"value": 0.55, "low": None, "high": None}]
    low, high = compute_limits(rows, 0.25)
    assert low < 0.25
    assert high > 0.7
    assert compute_limits(rows, 0.9)[1] > 0.9


@pytest.mark.browser
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("name", ["full", "least"])
def test_fits_the_screen_and_loads_nothing(chromium, pages, tmp_path, name, width) -> None:  # noqa: F811
    looking = LOOKING.format(width=width, report=html.escape(pages[name].read_text(encoding="utf-8")))
    (tmp_path / "looking.html").write_text(looking, encoding="utf-8")
    done = chromium(tmp_path / "looking.html", "--dump-dom", "--virtual-time-budget=5000", "--window-size=1400,900")
    (body,) = re.findall(r"<body[^>]*>(.*)</body>", done.stdout, re.DOTALL)
    found = json.loads(html.unescape(body))
    assert (found["seen"], found["wide"], found["hidden"], found["loaded"]) == (width, [], 0, [])
    assert found["needed"] <= width
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []


def test_the_scale_is_of_the_measures_that_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    def watched(rows: Sequence[robustness_page.CurveRow], chance: float) -> tuple[float, float]:
        found.extend(row["metric"] for row in rows)
        return compute_limits(rows, chance)

    monkeypatch.setattr(robustness_page, "compute_limits", watched)
    row = {"curve": "babble", "part": "fusion", "x": 0.0, "wer": None, "value": 0.5, "low": None, "high": None}
    draw_curve("babble", "ua", [{**row, "metric": metric} for metric in ("wa", "ua", "weighted_f1")], [], 0.25)
    assert sorted(found) == ["ua", "wa"]
