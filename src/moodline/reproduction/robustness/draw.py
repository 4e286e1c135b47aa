"""The curves of a run: which it can have, drawn fold by fold and point by point. It never trains."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.config import AUDIO_UTTERANCE, EMBEDDINGS_OPTIONS, TEXT_UTTERANCE
from moodline.corpora.corpus import Corpus
from moodline.corpora.fold import Fold
from moodline.corpora.protocol import folds_of
from moodline.corpora.recognised import Recognised, hash_of_json, read_recognised, read_recognition
from moodline.embeddings import unique_ids
from moodline.errors import MoodlineError
from moodline.evaluation.description import notes_of
from moodline.evaluation.evaluate import corpus_of, embeddings_of, folds_to_score
from moodline.files import atomic_file, remove_leftovers
from moodline.inference.predictor import GivenEmbeddings
from moodline.reproduction.robustness.altered import AlteredFold
from moodline.reproduction.robustness.fold import TestedFold, read_by
from moodline.reproduction.robustness.kept import FOLDER, Kept, hash_of_model
from moodline.reproduction.robustness.noise import Babble, lack_of_talkers
from moodline.reproduction.robustness.points import ENCODER, Point, points_of_speech, points_of_words
from moodline.reproduction.robustness.rows import Measured, table_of
from moodline.reproduction.robustness.words import FoldWords
from moodline.speech.error_rate import WordErrors
from moodline.training.run import Run, locked, read_run

VERSION = 1  # of how points are made: one that was made otherwise is drawn anew
TABLE_FILE = "robustness.parquet"
REPORT_FILE = "robustness.html"

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


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What there is to draw.

    Attributes:
        recognised: None where no curve of words is drawn
        left_out: a sentence for each curve that the run or its corpus cannot have
    """

    run: Run
    corpus: Corpus
    folds: Sequence[Fold]
    given: GivenEmbeddings
    recognised: Recognised | None
    babble: Babble
    points: Sequence[Point]
    left_out: Sequence[str]

    def key(self, fold: Fold, point: Point, model: object) -> str:
        """A hash of all that a fold's predictions at a point are a function of."""
        run = self.run
        of_words = ENCODER[point.curve] == TEXT_UTTERANCE
        return hash_of_json(
            [
                VERSION,
                [point.curve, str(point.x), run.recipe.seed],
                [run.corpus_hash, fold.hash, model],
                [run.words, run.words_hash, {encoder: given.hash for encoder, given in run.embeddings.items()}],
                self.recognised.recognition.words_hash if self.recognised and of_words else None,
            ]
        )


def draw(folder: Path, progress: Progress, files: Mapping[str, Path] | None = None) -> Curves:
    """Draw the curves of a run's trained folds, and write robustness.parquet; points that are kept are not drawn anew.

    Args:
        progress: told what is drawn, how many points of it are done, of how many, and what is counted
        files: where the run's files of embeddings are now, by encoder, if not where they were

    Raises:
        MoodlineError: as of ``evaluate_run``; an utterance id is in two conversations; another process has the run
    """
    plan = plan_of(read_run(folder), files or {})
    run = plan.run
    with locked(run.folder):
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
        with atomic_file(run.folder / TABLE_FILE) as temporary:
            pq.write_table(table, temporary)
    all_folds = len(folds_of(plan.corpus, run.protocol))
    return Curves(run=run, corpus=plan.corpus, table=table, notes=[*notes_of(plan.folds, all_folds), *plan.left_out])


def plan_of(run: Run, files: Mapping[str, Path]) -> Plan:
    """Which curves a run can have, and a sentence for each that it cannot.

    Raises:
        MoodlineError: there is none, and as of ``draw``
    """
    corpus = corpus_of(run, run.words)
    folds = folds_to_score(run, folds_of(corpus, run.protocol))
    unique_ids(corpus.conversations)
    given = embeddings_of(run, files)
    babble = Babble(corpus.conversations, run.recipe.seed)
    points: list[Point] = []
    left_out = [lack for encoder in (TEXT_UTTERANCE, AUDIO_UTTERANCE) if (lack := lack_of_encoder(run, encoder))]
    recognised = None
    if TEXT_UTTERANCE in run.recipe.stages:
        recognised, lack = words_of(run, corpus)
        points += points_of_words() if recognised else []
        left_out += [lack] if lack else []
    if AUDIO_UTTERANCE in run.recipe.stages:
        lack = lack_of_talkers(
            babble, (turn for fold in folds for one in read_by(run, fold) for turn in one.utterances)
        )
        points += points_of_speech(with_babble=not lack)
        left_out += [lack] if lack else []
    if not points:
        raise MoodlineError(f"no curve can be drawn for {run.folder}: {'; '.join(left_out)}")
    return Plan(
        run=run,
        corpus=corpus,
        folds=folds,
        given=given,
        recognised=recognised,
        babble=babble,
        points=points,
        left_out=left_out,
    )


def lack_of_encoder(run: Run, encoder: str) -> str:
    """Why a run has no curves of what an encoder reads; empty where it has."""
    if encoder in run.recipe.stages:
        return ""
    what = "words" if encoder == TEXT_UTTERANCE else "speech"
    how = f"has --modalities {run.recipe.modalities}"
    if encoder in run.recipe.given:
        how = f"reads embeddings in the place of {encoder} ({EMBEDDINGS_OPTIONS[encoder]})"
    return f"curves of {what} are left out: the run {how}"


def words_of(run: Run, corpus: Corpus) -> tuple[Recognised | None, str]:
    """The corpus's recognised words, or why no curve is drawn with them.

    Raises:
        MoodlineError: they are not what stands beside them, or jiwer is not installed
    """
    folder = run.corpus_folder
    if read_recognition(folder) is None:
        return None, (
            f"curves of words are left out: {folder} has no recognised words, or not all; moodline transcribe {folder} "
            "makes them"
        )
    found = read_recognised(folder, corpus)
    if found.recognition.errors.rate is None:
        return None, f"curves of words are left out: {folder} has no reference words to measure word errors by"
    return found, ""


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
        "recognition": str(plan.recognised.recognition) if plan.recognised else None,
    }
