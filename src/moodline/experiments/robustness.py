"""Robustness of a run: predictions for corrupted test sets, fold by fold and point by point. It never trains."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE
from moodline.conversation import Utterance
from moodline.corpora.corpus import Corpus
from moodline.corpora.folds import Fold
from moodline.device import AUTO
from moodline.embeddings import Embeddings
from moodline.evaluation.results import Estimate, StageScores
from moodline.evaluation.scores import note_few_conversations, score_predictions
from moodline.experiments.comparisons import Comparison, collect_predictions, compare_parts
from moodline.experiments.corruptions import BabbleNoise, apply_telephone_band, mix_at_ratio
from moodline.experiments.robustness_plan import (
    CLEAN_RATIO,
    ENCODER_BY_CURVE,
    INTERPOLATED,
    PARTS_BY_ENCODER,
    TELEPHONE,
    CorruptibleFold,
    CorruptionPoint,
    FoldWords,
    RobustnessPlan,
    build_plan,
    find_clean_point,
    mix_words,
    read_test_set,
)
from moodline.inference.encode import WaveformReader, read_waveform
from moodline.io import hash_file, open_atomic_file, remove_leftovers
from moodline.metrics import WordErrors, count_word_errors
from moodline.training.run import CURVES_FILE, Run, lock_folder, read_run

CACHE_FOLDER = "robustness"
METADATA_KEY = b"moodline_robustness"


class CachedPredictions(NamedTuple):
    """Where a point's predictions are kept, and the hash that they must have."""

    path: Path
    key: str

    def read_or_compute(self, compute: Callable[[], pa.Table]) -> pa.Table:
        """Those kept; computed first where there are none, or others."""
        if self.is_valid():
            return pq.read_table(self.path)
        table = compute()
        metadata = {**(table.schema.metadata or {}), METADATA_KEY: self.key.encode()}
        with open_atomic_file(self.path) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary)
        return table

    def is_valid(self) -> bool:
        """Whether a whole file of this hash is there; what cannot be read is no such file."""
        try:
            return (pq.read_schema(self.path).metadata or {}).get(METADATA_KEY) == self.key.encode()
        except (OSError, pa.ArrowException):
            return False


def hash_model(folder: Path) -> list[tuple[str, str]]:
    """Of all that a model predicts with: its weights, its description, and what its BERT is."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".json"))
    return [(path.relative_to(folder).as_posix(), hash_file(path)) for path in files]


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
class PointResult:
    """What a model says at a point, in all folds, and how wrong the words are there; None for speech."""

    point: CorruptionPoint
    predictions: pa.Table
    errors: WordErrors | None


def build_table(measured: Sequence[PointResult], classes: Sequence[str], facts: Mapping[str, Any]) -> pa.Table:
    """All curves' numbers.

    Args:
        facts: the columns that all rows have in common, ``recognition`` among them
    """
    at = {one.point: one.predictions for one in measured}
    rows = [row for one in measured for row in iter_rows(one, at[find_clean_point(one.point.curve)], classes, facts)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def iter_rows(
    one: PointResult, clean: pa.Table, classes: Sequence[str], facts: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """A row a part and measure."""
    parts = PARTS_BY_ENCODER[ENCODER_BY_CURVE[one.point.curve]]
    for stage in score_predictions(one.predictions.filter(pc.field("stage").isin(parts)), classes).scores:
        altered, unaltered = (collect_predictions(table, stage.stage, classes) for table in (one.predictions, clean))
        compared = compare_parts([altered], [unaltered])
        yield from iter_measures(one, stage, compared, facts)


def iter_measures(
    one: PointResult, stage: StageScores, compared: Comparison, facts: Mapping[str, Any]
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


class CorruptedFold:
    """A fold's test set at every point; its model is loaded when the first of them is asked for.

    Args:
        load: the fold with its model
        words: for the curves of words; None where there are none
        babble: for the curves of speech
    """

    def __init__(self, load: Callable[[], CorruptibleFold], words: FoldWords | None, babble: BabbleNoise) -> None:
        self.load, self.words, self.babble = load, words, babble

    @cached_property
    def test_fold(self) -> CorruptibleFold:
        return self.load()

    def read_predictions(self, point: CorruptionPoint) -> pa.Table:
        encoder = ENCODER_BY_CURVE[point.curve]
        altered = self._embed_words_at(point) if encoder == TEXT_UTTERANCE else self._embed_sound_at(point)
        return self.test_fold.compute_predictions({encoder: altered})

    def count_errors(self, point: CorruptionPoint) -> WordErrors | None:
        """Of the words that are read at a point of a curve of words."""
        if ENCODER_BY_CURVE[point.curve] != TEXT_UTTERANCE or self.words is None:
            return None
        read = self.words.at(point)
        return count_word_errors(list(self.words.reference.values()), [read[name] for name in self.words.reference])

    def _embed_words_at(self, point: CorruptionPoint) -> Embeddings:
        assert self.words is not None, "points of words are asked for where there are words"
        if point.curve == INTERPOLATED:
            return mix_words(*self._clean_and_recognised, point.x, self.words.seed)
        return self.test_fold.text(self.words.at(point)) if point.x else self._clean_and_recognised[0]

    @cached_property
    def _clean_and_recognised(self) -> tuple[Embeddings, Embeddings]:
        """Of the reference words and of the recognised ones."""
        assert self.words is not None, "points of words are asked for where there are words"
        return self.test_fold.text(self.words.reference), self.test_fold.text(self.words.recognised)

    def _embed_sound_at(self, point: CorruptionPoint) -> Embeddings:
        if point == find_clean_point(point.curve):
            return self.test_fold.clean[AUDIO_UTTERANCE]
        return self.test_fold.audio(corrupt_sound(point, self.babble))


def corrupt_sound(point: CorruptionPoint, babble: BabbleNoise) -> WaveformReader:
    """How an utterance sounds at a point of a curve of speech."""

    def sound(utterance: Utterance, sample_rate: int) -> Tensor:
        samples = read_waveform(utterance, sample_rate).numpy()
        if point.x != CLEAN_RATIO:
            samples = mix_at_ratio(samples, babble.generate_babble(utterance, len(samples), sample_rate), point.x)
        if point.curve == TELEPHONE:
            samples = apply_telephone_band(samples, sample_rate)
        return torch.from_numpy(samples)

    return sound


PointProgressCallback = Callable[[str, int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class RobustnessCurves:
    """What was drawn.

    Attributes:
        table: see ``rows``
        notes: what a reader must know, and what was left out and why: a sentence each
    """

    run: Run
    corpus: Corpus
    table: pa.Table
    notes: Sequence[str]


def draw_curves(
    folder: Path,
    progress: PointProgressCallback,
    files: Mapping[str, Path] | None = None,
    *,
    device: str | torch.device = AUTO,
) -> RobustnessCurves:
    """Draw the curves of a run's trained folds, and write robustness.parquet; points that are kept are not drawn anew.

    Args:
        progress: told what is drawn, how many points of it are done, of how many, and what is counted
        files: where the run's files of embeddings are now, by encoder, if not where they were
        device: of the models, as in ``moodline.load``

    Raises:
        MoodlineError: as of ``evaluate_run``; an utterance id is in two conversations; another process has the run
    """
    read_run(folder)  # before a lock is put where no run is
    with lock_folder(folder):
        plan = build_plan(read_run(folder), files or {})
        run = plan.run
        remove_leftovers(run.folder / CACHE_FOLDER)
        by_fold = [predict_points(plan, fold, progress, device) for fold in plan.folds]
        measured = [
            PointResult(
                point=point,
                predictions=pa.concat_tables([drawn[point][0] for drawn in by_fold]),
                errors=sum_errors(drawn[point][1] for drawn in by_fold),
            )
            for point in plan.points
        ]
        table = build_table(measured, run.label_set.classes, get_facts(plan))
        with open_atomic_file(run.folder / CURVES_FILE) as temporary:
            pq.write_table(table, temporary)
    few = note_few_conversations(score_predictions(measured[0].predictions, run.label_set.classes).scores)
    return RobustnessCurves(run=run, corpus=plan.corpus, table=table, notes=[*plan.notes, *few])


def predict_points(
    plan: RobustnessPlan, fold: Fold, progress: PointProgressCallback, device: str | torch.device
) -> dict[CorruptionPoint, tuple[pa.Table, WordErrors | None]]:
    """A fold's predictions and word errors at each point."""
    run = plan.run
    altered = CorruptedFold(
        lambda: CorruptibleFold(run, fold, plan.given, device),
        build_fold_words(plan, fold) if plan.recognised else None,
        plan.babble,
    )
    folder, model = run.folder / CACHE_FOLDER / f"fold-{fold.name}", hash_model(run.get_model_folder(fold.name))
    drawn = {}
    for done, point in enumerate(plan.points, start=1):
        kept = CachedPredictions(folder / f"{point.name}.parquet", plan.key(fold, point, model))
        drawn[point] = (
            kept.read_or_compute(lambda point=point: altered.read_predictions(point)),
            altered.count_errors(point),
        )
        progress(f"fold {fold.name}", done, len(plan.points), "points")
    return drawn


def build_fold_words(plan: RobustnessPlan, fold: Fold) -> FoldWords:
    """The words of a fold's test set; the recogniser's confusions are those of all other conversations."""
    assert plan.recognised is not None
    ids = {one.id for one in fold.test}
    return FoldWords(
        [turn for one in read_test_set(plan.run, fold) for turn in one.utterances],
        [one for one in plan.corpus.conversations if one.id not in ids],
        plan.recognised.words,
        plan.run.recipe.seed,
    )


def sum_errors(errors: Iterable[WordErrors | None]) -> WordErrors | None:
    """Word errors over all folds; None for speech."""
    counts = [asdict(one) for one in errors if one is not None]
    return WordErrors(**{name: sum(one[name] for one in counts) for name in counts[0]}) if counts else None


def get_facts(plan: RobustnessPlan) -> dict[str, Any]:
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
