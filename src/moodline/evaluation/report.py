"""Write an evaluation as one self-contained HTML page, for a screen of any width and for paper."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median_low
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment

from moodline import pages
from moodline.audio.io import MAX_SECONDS, encode_data_uri
from moodline.conversation import Conversation
from moodline.evaluation import figures
from moodline.evaluation.results import Estimate
from moodline.evaluation.score_table import format_temperature_range
from moodline.evaluation.scores import KEY_COLUMNS, MAJORITY, STAGES, compute_measures, find_final_stage
from moodline.io import write_text
from moodline.metrics import index_names

LearningCurves = Mapping[str, Mapping[str, figures.EpochHistory]]  # by fold and stage

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
    """Write the page to ``out``, or raise MoodlineError for audio that cannot be read.

    Args:
        results: the content of results.json
        predictions: the table that it was computed from
        conversations: those of the corpus; all that are in ``predictions`` are among them
        with_audio: include the audio of the shown errors
        quote: show the words of the errors and of the conversations
    """
    stages = {stage["stage"]: stage for stage in results["scores"]}
    final = stages[find_final_stage(list(stages))]
    of_system = predictions.filter(pc.field("stage") == final["stage"])
    # The gain over the baseline is much larger and would flatten the others in the figure; the table shows it.
    gains = [gain for gain in results["differences"] if gain["minus"] != MAJORITY]
    groups = {kind: score_groups(kind, of_system, results["label_set"]["classes"]) for kind in ("session", "speaker")}
    histories = {stage: {fold: of[stage] for fold, of in curves.items() if of.get(stage)} for stage in STAGES}
    content = {
        "figures": figures,
        "results": results,
        "names": STAGES,
        "stage_names": [STAGES[stage] for stage in stages],
        "gains": gains,
        "gain_pairs": [(STAGES[gain["stage"]], STAGES[gain["minus"]]) for gain in gains],
        "final": final,
        "majority": stages.get(MAJORITY),
        "spread": {kind: found for kind, found in groups.items() if len(found) > 1},
        "wrong": of_system.filter(pc.field("label") != pc.field("predicted")).num_rows,
        "errors": find_confident_errors(of_system, conversations, MAX_ERRORS),
        "timelines": build_excerpts(of_system, conversations, MAX_TURNS),
        "learning": {stage: folds for stage, folds in histories.items() if folds},
        "longest_clip": MAX_SECONDS,
        "with_audio": with_audio,
        "quote": quote,
    }
    write_text(out, build_environment().get_template("report.html.jinja").render(content))


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
        "mean": np.mean,
        "deviation": lambda values: np.std(values, ddof=1),
        "shorten": figures.shorten_name,
        "largest": lambda groups: select_largest(groups, MAX_GROUPS),
        "data_uri": encode_data_uri,
    }
    return environment


def format_difference(estimate: Mapping[str, Any]) -> str:
    """Format a difference and its interval with signs."""
    value, interval = estimate["value"], estimate["interval"]
    signed = f"{value:+.3f}" if interval is None else f"{value:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]"
    return signed.replace("-", "\N{MINUS SIGN}")


def score_groups(column: str, predictions: pa.Table, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Score one stage's predictions by ``column``, in the order of its values; rows without a value are left out.

    Scores are as in results.json, without intervals; UA is over the classes that occur in the group.
    """
    known = predictions.filter(pc.field(column).is_valid())
    sizes = known.group_by(column).aggregate([([], "count_all"), ("conversation_id", "count_distinct")]).sort_by(column)
    names, *counts = (one.to_pylist() for one in sizes.itercolumns())
    places = index_names(known[column].to_pylist(), names)
    labels, predicted = (index_names(known[name].to_pylist(), classes) for name in ("label", "predicted"))
    confusions = np.zeros((sizes.num_rows, len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusions, (places, labels, predicted), 1)
    wa, ua, _ = ([{"value": value, "interval": None} for value in row] for row in compute_measures(confusions).tolist())
    keys = ("utterances", "conversations", "wa", "ua")
    return {name: dict(zip(keys, row, strict=True)) for name, *row in zip(names, *counts, wa, ua, strict=True)}


def select_largest(groups: Mapping[str, Mapping[str, Any]], most: int) -> dict[str, Mapping[str, Any]]:
    """Select the ``most`` groups with the most utterances, in their given order."""
    chosen = sorted(groups, key=lambda name: -groups[name]["utterances"])[:most]
    return {name: group for name, group in groups.items() if name in chosen}


def find_confident_errors(
    predictions: pa.Table, conversations: Sequence[Conversation], most: int
) -> list[dict[str, Any]]:
    """Find one stage's ``most`` errors of highest probability; ties are broken by id.

    Returns:
        their rows, with ``utterance``, ``probability`` of the predicted class and ``probability_of_label``
    """
    wrong = predictions.filter(pc.field("label") != pc.field("predicted"))
    top = pc.call_function("max_element_wise", [wrong[name] for name in wrong.column_names if name.startswith("p_")])
    order = [("probability", "descending"), *((key, "ascending") for key in KEY_COLUMNS)]
    rows = wrong.append_column("probability", top).sort_by(order).slice(0, most).to_pylist()
    shown = {row["conversation_id"] for row in rows}
    # An utterance id alone may not be unique in a corpus.
    found = {(talk.id, one.id): one for talk in conversations if talk.id in shown for one in talk.utterances}
    for row in rows:
        row["utterance"] = found[row["conversation_id"], row["utterance_id"]]
        row["probability_of_label"] = row[f"p_{row['label']}"]
    return rows


def build_excerpts(
    predictions: pa.Table, conversations: Sequence[Conversation], most: int
) -> list[figures.ConversationExcerpt]:
    """Select the best and the worst conversation by one stage's predictions, each cut to ``most`` turns."""
    scored = Counter(predictions["conversation_id"].to_pylist())
    right = Counter(predictions.filter(pc.field("label") == pc.field("predicted"))["conversation_id"].to_pylist())
    by_id = {conversation.id: conversation for conversation in conversations}
    excerpts = []
    for chosen in find_best_and_worst({name: (right[name], count) for name, count in scored.items()}):
        predicted = {
            row["utterance_id"]: (row["label"], row["predicted"], row[f"p_{row['predicted']}"])
            for row in predictions.filter(pc.field("conversation_id") == chosen).to_pylist()
        }
        turns = [figures.ScoredTurn(one, *predicted.get(one.id, ())) for one in by_id[chosen].utterances[:most]]
        excerpts.append(figures.ConversationExcerpt(by_id[chosen], turns, right[chosen], scored[chosen]))
    return excerpts


def find_best_and_worst(counts: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    """Find the ids of the best and the worst conversation from (right, scored) counts; one id if it is the only one."""
    typical = median_low([scored for _, scored in counts.values()])
    share = {name: right / scored for name, (right, scored) in counts.items() if scored >= typical}
    best = min(share, key=lambda name: (-share[name], -counts[name][1], name))
    others = [name for name in share if name != best]
    return (best, *sorted(others, key=lambda name: (share[name], -counts[name][1], name))[:1])
