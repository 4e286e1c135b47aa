"""The curves of a run: which it can have, drawn fold by fold and point by point. It never trains."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.corpora.corpus import Corpus
from moodline.corpora.fold import Fold
from moodline.evaluation.scores import rough_intervals, score
from moodline.files import atomic_file, remove_leftovers
from moodline.reproduction.robustness.altered import AlteredFold
from moodline.reproduction.robustness.fold import TestedFold, read_by
from moodline.reproduction.robustness.kept import FOLDER, Kept, hash_of_model
from moodline.reproduction.robustness.plan import Plan, plan_of
from moodline.reproduction.robustness.points import Point
from moodline.reproduction.robustness.rows import Measured, table_of
from moodline.reproduction.robustness.words import FoldWords
from moodline.speech.error_rate import WordErrors
from moodline.training.lock import locked
from moodline.training.run import Run, read_run
from moodline.training.score_files import CURVES_FILE

Progress = Callable[[str, int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What was drawn.

    Attributes:
        table: see ``rows``
        notes: what a reader must know, and what was left out and why: a sentence each
    """

    run: Run
    corpus: Corpus
    table: pa.Table
    notes: Sequence[str]


def draw(folder: Path, progress: Progress, files: Mapping[str, Path] | None = None) -> Curves:
    """Draw the curves of a run's trained folds, and write robustness.parquet; points that are kept are not drawn anew.

    Args:
        progress: told what is drawn, how many points of it are done, of how many, and what is counted
        files: where the run's files of embeddings are now, by encoder, if not where they were

    Raises:
        MoodlineError: as of ``evaluate_run``; an utterance id is in two conversations; another process has the run
    """
    read_run(folder)  # before a lock is put where no run is
    with locked(folder):
        plan = plan_of(read_run(folder), files or {})
        run = plan.run
        remove_leftovers(run.folder / FOLDER)
        by_fold = [points_in(plan, fold, progress) for fold in plan.folds]
        measured = [
            Measured(
                point=point,
                predictions=pa.concat_tables([drawn[point][0] for drawn in by_fold]),
                errors=summed(drawn[point][1] for drawn in by_fold),
            )
            for point in plan.points
        ]
        table = table_of(measured, run.label_set.classes, facts_of(plan))
        with atomic_file(run.folder / CURVES_FILE) as temporary:
            pq.write_table(table, temporary)
    few = rough_intervals(score(measured[0].predictions, run.label_set.classes).scores)
    return Curves(run=run, corpus=plan.corpus, table=table, notes=[*plan.notes, *few])


def points_in(plan: Plan, fold: Fold, progress: Progress) -> dict[Point, tuple[pa.Table, WordErrors | None]]:
    """A fold's predictions and word errors at each point."""
    run = plan.run
    altered = AlteredFold(
        lambda: TestedFold(run, fold, plan.given),
        fold_words(plan, fold) if plan.recognised else None,
        plan.babble,
    )
    folder, model = run.folder / FOLDER / f"fold-{fold.name}", hash_of_model(run.model_folder(fold.name))
    drawn = {}
    for done, point in enumerate(plan.points, start=1):
        kept = Kept(folder / f"{point.name}.parquet", plan.key(fold, point, model))
        drawn[point] = kept.predictions(lambda point=point: altered.predictions(point)), altered.errors(point)
        progress(f"fold {fold.name}", done, len(plan.points), "points")
    return drawn


def fold_words(plan: Plan, fold: Fold) -> FoldWords:
    """The words of a fold's test set; the recogniser's confusions are those of all other conversations."""
    assert plan.recognised is not None
    ids = {one.id for one in fold.test}
    return FoldWords(
        [turn for one in read_by(plan.run, fold) for turn in one.utterances],
        [one for one in plan.corpus.conversations if one.id not in ids],
        plan.recognised.words,
        plan.run.recipe.seed,
    )


def summed(errors: Iterable[WordErrors | None]) -> WordErrors | None:
    """Word errors over all folds; None for speech."""
    counts = [asdict(one) for one in errors if one is not None]
    return WordErrors(**{name: sum(one[name] for one in counts) for name in counts[0]}) if counts else None


def facts_of(plan: Plan) -> dict[str, Any]:
    """The columns that all rows have in common."""
    run = plan.run
    return {
        "protocol": run.protocol,
        "folds": len(plan.folds),
        "seed": run.recipe.seed,
        "words": run.words,
        "corpus_hash": run.corpus_hash,
        "notes": list(plan.notes),
        "recognition": str(plan.recognised.recognition) if plan.recognised else None,
    }
