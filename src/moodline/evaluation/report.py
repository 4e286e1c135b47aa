"""Write an evaluation as one self-contained HTML page, for a screen of any width and for paper."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment
from markupsafe import Markup

from moodline import pages
from moodline.audio.io import MAX_SECONDS, encode_data_uri
from moodline.conversation import AudioClip, Conversation
from moodline.evaluation.examples import build_excerpts, find_confident_errors, score_groups, select_largest
from moodline.evaluation.figures import draw_learning_curves, draw_timeline, find_best_epoch
from moodline.evaluation.score_figures import (
    draw_coverage,
    draw_folds,
    draw_gains,
    draw_groups,
    draw_parts,
    draw_reliability,
    draw_stages,
)
from moodline.evaluation.score_table import format_temperature_range
from moodline.evaluation.scores import STAGES, Estimate, find_final_stage
from moodline.io import write_text

LearningCurves = Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]
"""By fold and stage, an entry for each epoch: epoch, train_loss, validation_loss, validation_ua."""

# Limits of the page's tables and figures, for a corpus of any size; the page states them.
MAX_GROUPS = 24
MAX_ERRORS = 10
MAX_TURNS = 40


def write_report(
    results: Mapping[str, Any],
    curves: LearningCurves,
    predictions: pa.Table,
    conversations: Sequence[Conversation],
    out: Path,
    *,
    with_audio: bool = False,
    quote: bool = True,
) -> None:
    """Write the page to ``out``.

    Args:
        results: the content of results.json, with ``calibration`` and ``coverage``
        predictions: the table that it was computed from
        conversations: those of the corpus; all that are in ``predictions`` are among them
        with_audio: include the audio of the shown errors
        quote: show the words of the errors and of the conversations

    Raises:
        MoodlineError: audio cannot be read
    """
    stages = {stage["stage"]: stage for stage in results["scores"]}
    final = stages[find_final_stage(list(stages))]
    classes = results["label_set"]["classes"]
    of_system = predictions.filter(pc.field("stage") == final["stage"])
    page = (
        build_environment()
        .get_template("report.html.jinja")
        .render(
            results=results,
            names=STAGES,
            final=final,
            majority=stages.get("majority"),
            **_draw_figures(results, final),
            spread=_summarise_groups(of_system, classes),
            errors=_collect_errors(of_system, conversations, with_audio),
            timelines=_build_excerpts(of_system, conversations, classes),
            most_turns=MAX_TURNS,
            longest_clip=MAX_SECONDS,
            learning=_build_learning_figures(curves),
            quote=quote,
        )
    )
    write_text(out, page)


def _draw_figures(results: Mapping[str, Any], final: Mapping[str, Any]) -> dict[str, Markup | None]:
    # The gain over the baseline is much larger and would flatten the others; the table shows it.
    gains = [gain for gain in results["differences"] if gain["minus"] != "majority"]
    return {
        "stage_figure": Markup(draw_stages(results["scores"], STAGES)),
        "gain_figure": Markup(draw_gains(gains, STAGES)) if gains else None,
        "part_figure": Markup(draw_parts(final["parts"])) if final["parts"] else None,
        "fold_figure": Markup(draw_folds(results["scores"], STAGES)) if len(final["folds"]) > 1 else None,
        "reliability_figure": Markup(draw_reliability(final["calibration"])),
        "coverage_figure": Markup(draw_coverage(results["coverage"])) if results["coverage"] else None,
    }


def _summarise_groups(predictions: pa.Table, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Score speakers and sessions, each if there are several to compare."""
    kinds = {kind: score_groups(kind, predictions, classes) for kind in ("session", "speaker")}
    return [
        {
            "kind": kind,
            "all": groups,
            "shown": (shown := select_largest(groups, MAX_GROUPS)),
            "figure": Markup(draw_groups(kind, shown)),
            "over_all": {
                measure: (np.mean(values), np.std(values, ddof=1), min(values), max(values))
                for measure in ("wa", "ua")
                if (values := [getattr(group, measure) for group in groups])
            },
        }
        for kind, groups in kinds.items()
        if len(groups) > 1
    ]


def _collect_errors(predictions: pa.Table, conversations: Sequence[Conversation], with_audio: bool) -> dict[str, Any]:
    def sound(clip: AudioClip | None) -> Markup | None:
        return Markup(encode_data_uri(clip)) if with_audio and clip is not None else None

    shown = find_confident_errors(predictions, conversations, MAX_ERRORS)
    return {
        "total": len(predictions.filter(pc.field("label") != pc.field("predicted"))),
        "shown": [(error, sound(error.utterance.audio)) for error in shown],
        "with_audio": with_audio,
    }


def _build_excerpts(
    predictions: pa.Table, conversations: Sequence[Conversation], classes: Sequence[str]
) -> list[dict[str, Any]]:
    found = build_excerpts(predictions, conversations, MAX_TURNS)
    titles = ("Where the system does well", "Where it does badly") if len(found) > 1 else ("The only conversation",)
    return [
        {"title": title, "of": one, "figure": Markup(draw_timeline(str(number), one, classes))}
        for number, (title, one) in enumerate(zip(titles, found, strict=True), start=1)
    ]


def _build_learning_figures(curves: LearningCurves) -> list[dict[str, Any]]:
    """Draw each trained stage's curves, and find the selected epoch by fold."""
    by_stage = {
        stage: {fold: stages[stage] for fold, stages in curves.items() if stages.get(stage)} for stage in STAGES
    }
    return [
        {
            "stage": stage,
            "figure": Markup(draw_learning_curves(stage, STAGES[stage], list(folds.values()))),
            "best": {fold: (find_best_epoch(epochs), len(epochs)) for fold, epochs in folds.items()},
        }
        for stage, folds in by_stage.items()
        if folds
    ]


def build_environment(*packages: str) -> Environment:
    """Build the templates' environment: those of these packages, then the report's own."""
    environment = pages.build_environment(*packages, "moodline.evaluation")
    environment.filters |= {
        "estimate": lambda estimate: str(Estimate(**estimate)),
        "difference": format_difference,
        "temperatures": format_temperature_range,
        "percent": lambda share: f"{100 * share:.1f}\N{NO-BREAK SPACE}%",
        "score": lambda value: "\N{EN DASH}" if value is None else f"{value:.3f}",
        "signed": lambda value: f"{value:+.3f}".replace("-", "\N{MINUS SIGN}"),
    }
    return environment


def format_difference(estimate: Mapping[str, Any]) -> str:
    """Format a difference and its interval with signs."""
    value, interval = estimate["value"], estimate["interval"]
    signed = f"{value:+.3f}" if interval is None else f"{value:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]"
    return signed.replace("-", "\N{MINUS SIGN}")
