"""Predictions at each point to the numbers of its curve: robustness.parquet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from moodline.evaluation.results import Estimate, StageScores
from moodline.evaluation.scores import score
from moodline.reproduction.comparisons import Comparison, answers_of, compare
from moodline.reproduction.robustness.points import ENCODER, PARTS, Point, clean_point
from moodline.speech.error_rate import WordErrors

MEASURES = ("wa", "ua", "weighted_f1")
SCHEMA = pa.schema(
    [
        ("curve", pa.string()),
        ("part", pa.string()),
        ("protocol", pa.string()),
        ("x", pa.float64()),  # a share, a WER aimed at, or an SNR in dB, infinite without babble: see points.py
        ("wer", pa.float64()),  # measured; none for speech
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),  # of the 95 % interval over conversations; none over one conversation
        ("high", pa.float64()),
        ("difference", pa.float64()),  # from the same part where nothing is altered, on the same conversations
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("utterances", pa.int64()),
        ("conversations", pa.int64()),
        ("folds", pa.int64()),
        ("seed", pa.int64()),
        ("words", pa.string()),  # those that trained the run
        ("corpus_hash", pa.string()),
        ("recognition", pa.string()),  # whose words the recognised ones are; none for speech
        ("notes", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a model says at a point, in all folds, and how wrong the words are there; None for speech."""

    point: Point
    predictions: pa.Table
    errors: WordErrors | None


def table_of(measured: Sequence[Measured], classes: Sequence[str], facts: Mapping[str, Any]) -> pa.Table:
    """All curves' numbers.

    Args:
        facts: the columns that all rows have in common, ``recognition`` among them
    """
    at = {one.point: one.predictions for one in measured}
    rows = [row for one in measured for row in rows_of(one, at[clean_point(one.point.curve)], classes, facts)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def rows_of(
    one: Measured, clean: pa.Table, classes: Sequence[str], facts: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """A row a part and measure."""
    parts = PARTS[ENCODER[one.point.curve]]
    for stage in score(one.predictions.filter(pc.field("stage").isin(parts)), classes).scores:
        altered, unaltered = (answers_of(table, stage.stage, classes) for table in (one.predictions, clean))
        compared = compare([altered], [unaltered])
        yield from numbers(one, stage, compared, facts)


def numbers(
    one: Measured, stage: StageScores, compared: Comparison, facts: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    common = {
        **facts,
        "curve": one.point.curve,
        "part": stage.stage,
        "x": one.point.x,
        "wer": one.errors.rate if one.errors else None,
        "recognition": facts["recognition"] if one.errors else None,
        "utterances": stage.pooled.utterances,
        "conversations": stage.pooled.conversations,
    }
    for metric in MEASURES:
        found: Estimate = getattr(stage.pooled, metric)
        difference: Estimate = getattr(compared, metric)
        low, high = found.interval or (None, None)
        difference_low, difference_high = difference.interval or (None, None)
        yield {
            **common,
            "metric": metric,
            "value": found.value,
            "low": low,
            "high": high,
            "difference": difference.value,
            "difference_low": difference_low,
            "difference_high": difference_high,
        }
