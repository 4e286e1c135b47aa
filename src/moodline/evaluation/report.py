"""results.json and the learning curves -> one HTML page that needs nothing beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from moodline.evaluation.figures import best_epoch, gain_figure, learning_figure, stage_figure
from moodline.evaluation.scores import STAGES, Estimate, final_stage
from moodline.files import write_text

Curves = Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]
"""By fold and stage, an entry for each epoch: epoch, train_loss, validation_loss, validation_ua."""


def write_report(results: Mapping[str, Any], curves: Curves, out: Path) -> None:
    """Write the page to ``out``; ``results`` is the content of results.json."""
    stages = {stage["stage"]: stage for stage in results["scores"]}
    # The distance to the baseline is so much larger that it would flatten the others; it stands in the table.
    gains = [gain for gain in results["differences"] if gain["minus"] != "majority"]
    page = (
        _environment()
        .get_template("report.html.jinja")
        .render(
            results=results,
            names=STAGES,
            final=stages[final_stage(list(stages))],
            majority=stages.get("majority"),
            stage_figure=Markup(stage_figure(results["scores"], STAGES)),
            gain_figure=Markup(gain_figure(gains, STAGES)) if gains else None,
            learning=_learning(curves),
        )
    )
    write_text(out, page)


def _learning(curves: Curves) -> list[dict[str, Any]]:
    """Each trained stage's figure and, by fold, the epoch that was kept."""
    by_stage = {
        stage: {fold: stages[stage] for fold, stages in curves.items() if stages.get(stage)} for stage in STAGES
    }
    return [
        {
            "stage": stage,
            "figure": Markup(learning_figure(stage, list(folds.values()))),
            "best": {fold: (best_epoch(epochs), len(epochs)) for fold, epochs in folds.items()},
        }
        for stage, folds in by_stage.items()
        if folds
    ]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("moodline.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "estimate": lambda estimate: str(Estimate(**estimate)),
        "difference": _difference,
        "percent": lambda share: f"{100 * share:.1f}\N{NO-BREAK SPACE}%",
        "score": lambda value: "\N{EN DASH}" if value is None else f"{value:.3f}",
        "count": lambda number: f"{number:,}",
    }
    return environment


def _difference(estimate: Mapping[str, Any]) -> str:
    """As an estimate, with its signs."""
    value, interval = estimate["value"], estimate["interval"]
    signed = f"{value:+.3f}" if interval is None else f"{value:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]"
    return signed.replace("-", "\N{MINUS SIGN}")
