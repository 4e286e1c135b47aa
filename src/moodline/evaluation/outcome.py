"""What an evaluation found, written: predictions, results and report."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.corpora.corpus import Corpus
from moodline.evaluation.calibration import with_calibration
from moodline.evaluation.coverage import with_coverage
from moodline.evaluation.report import write_report
from moodline.evaluation.results import Evaluation
from moodline.evaluation.scores import rough_intervals, score
from moodline.files import atomic_file, write_json
from moodline.training.score_files import PREDICTIONS_FILE, REPORT_FILE, RESULTS_FILE, file_of

ROWS_WRITTEN = 2**16  # together: what writes the file holds so many in memory

Curves = Mapping[str, Mapping[str, list[dict[str, float]]]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an evaluation found, and where it is written."""

    results: Mapping[str, Any]
    evaluation: Evaluation
    report: Path


def write_outcome(
    predictions: pa.Table,
    results: dict[str, Any],
    curves: Curves,
    corpus: Corpus,
    out: Path,
    with_audio: bool,
    usual_words: str,
) -> Outcome:
    """Write what an evaluation found; that of other words than the usual ones under names that tell them."""
    evaluation = score(predictions, results["label_set"]["classes"])
    notes = [*results["notes"], *rough_intervals(evaluation.scores)]
    results = with_calibration({**results, "notes": notes, **dataclasses.asdict(evaluation)}, predictions)
    results = with_coverage(results, predictions)
    predictions_file, results_file, report = (
        file_of(name, out, corpus.words, usual_words) for name in (PREDICTIONS_FILE, RESULTS_FILE, REPORT_FILE)
    )
    with atomic_file(predictions_file) as temporary:
        pq.write_table(predictions, temporary, row_group_size=ROWS_WRITTEN)
    write_json(results_file, results)
    write_report(results, curves, predictions, corpus.conversations, report, with_audio=with_audio)
    return Outcome(results=results, evaluation=evaluation, report=report)
