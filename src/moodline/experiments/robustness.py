"""Measure the robustness of a run: score its models, without training, on corrupted test sets."""

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
from moodline.evaluation.scores import note_few_conversations, score_predictions
from moodline.experiments.comparisons import MEASURES, build_number, collect_predictions, compare_parts
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
    build_robustness_plan,
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
    """The cache file of a point's predictions, and the hash of their inputs."""

    path: Path
    key: str

    def read_or_compute(self, compute: Callable[[], pa.Table]) -> pa.Table:
        """Read the cached predictions, after computing and caching them if they are missing or outdated."""
        if self.is_valid():
            return pq.read_table(self.path)
        table = compute()
        metadata = {**(table.schema.metadata or {}), METADATA_KEY: self.key.encode()}
        with open_atomic_file(self.path) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary)
        return table

    def is_valid(self) -> bool:
        """Return whether the file is complete and has this hash."""
        try:
            return (pq.read_schema(self.path).metadata or {}).get(METADATA_KEY) == self.key.encode()
        except (OSError, pa.ArrowException):
            return False


def hash_model(folder: Path) -> list[tuple[str, str]]:
    """Hash the files that determine a model's predictions: weights, description and BERT's configuration."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".json"))
    return [(path.relative_to(folder).as_posix(), hash_file(path)) for path in files]


CURVES_SCHEMA = pa.schema(
    [
        ("curve", pa.string()),
        ("part", pa.string()),
        ("protocol", pa.string()),
        ("x", pa.float64()),  # see CorruptionPoint
        ("wer", pa.float64()),  # measured; null for curves of speech
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),  # of the 95 % interval over conversations; null for one conversation
        ("high", pa.float64()),
        ("difference", pa.float64()),  # from the same part without corruption, on the same conversations
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("utterances", pa.int64()),
        ("conversations", pa.int64()),
        ("folds", pa.int64()),
        ("seed", pa.int64()),
        ("words", pa.string()),  # kind of words that the run was trained on
        ("corpus_hash", pa.string()),
        ("recognition", pa.string()),  # source of the recognised words; null for curves of speech
        ("notes", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, kw_only=True)
class PointResult:
    """Predictions of all folds at a point, and the errors of its words; None for curves of speech."""

    point: CorruptionPoint
    predictions: pa.Table
    errors: WordErrors | None


def build_curves_table(measured: Sequence[PointResult], classes: Sequence[str], facts: Mapping[str, Any]) -> pa.Table:
    """Build the table of all curves.

    Args:
        facts: the columns that all rows share, ``recognition`` included
    """
    at = {one.point: one.predictions for one in measured}
    rows = [
        row for one in measured for row in iter_curve_rows(one, at[find_clean_point(one.point.curve)], classes, facts)
    ]
    return pa.Table.from_pylist(rows, schema=CURVES_SCHEMA)


def iter_curve_rows(
    one: PointResult, clean: pa.Table, classes: Sequence[str], facts: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield a row for each part and measure of a point."""
    facts = {
        **facts,
        "curve": one.point.curve,
        "x": one.point.x,
        "wer": one.errors.rate if one.errors else None,
        "recognition": facts["recognition"] if one.errors else None,
    }
    parts = PARTS_BY_ENCODER[ENCODER_BY_CURVE[one.point.curve]]
    for part in score_predictions(one.predictions.filter(pc.field("stage").isin(parts)), classes).scores:
        compared = compare_parts(
            *([collect_predictions(table, part.stage, classes)] for table in (one.predictions, clean))
        )
        size = {"utterances": part.pooled.utterances, "conversations": part.pooled.conversations}
        for metric in MEASURES:
            difference = build_number(metric, getattr(compared, metric))
            yield {
                **facts,
                **size,
                "part": part.stage,
                **build_number(metric, getattr(part.pooled, metric)),
                "difference": difference["value"],
                "difference_low": difference["low"],
                "difference_high": difference["high"],
            }


class CorruptedFold:
    """A fold's test set at every point; the model is loaded only when a point is not cached.

    Args:
        load: loads the fold with its model
        words: words of the curves of words; None without them
        babble: babble of the curves of speech
    """

    def __init__(self, load: Callable[[], CorruptibleFold], words: FoldWords | None, babble: BabbleNoise) -> None:
        self.load, self.words, self.babble = load, words, babble

    @cached_property
    def test_fold(self) -> CorruptibleFold:
        return self.load()

    def compute_predictions(self, point: CorruptionPoint) -> pa.Table:
        encoder = ENCODER_BY_CURVE[point.curve]
        corrupted = self._embed_words(point) if encoder == TEXT_UTTERANCE else self._embed_audio(point)
        return self.test_fold.compute_predictions({encoder: corrupted})

    def count_errors(self, point: CorruptionPoint) -> WordErrors | None:
        """Count the word errors at a point; None for curves of speech."""
        if ENCODER_BY_CURVE[point.curve] != TEXT_UTTERANCE or self.words is None:
            return None
        words = self.words.build_words(point)
        return count_word_errors(list(self.words.reference.values()), [words[name] for name in self.words.reference])

    def _embed_words(self, point: CorruptionPoint) -> Embeddings:
        assert self.words is not None, "a plan without words has no points of words"
        if point.curve == INTERPOLATED:
            return mix_words(*self._clean_and_recognised, point.x, self.words.seed)
        return self.test_fold.embed_words(self.words.build_words(point)) if point.x else self._clean_and_recognised[0]

    @cached_property
    def _clean_and_recognised(self) -> tuple[Embeddings, Embeddings]:
        """Embeddings of the reference words and of the recognised ones."""
        assert self.words is not None, "a plan without words has no points of words"
        return self.test_fold.embed_words(self.words.reference), self.test_fold.embed_words(self.words.recognised)

    def _embed_audio(self, point: CorruptionPoint) -> Embeddings:
        if point == find_clean_point(point.curve):
            return self.test_fold.clean[AUDIO_UTTERANCE]
        return self.test_fold.embed_audio(create_corrupted_reader(point, self.babble))


def create_corrupted_reader(point: CorruptionPoint, babble: BabbleNoise) -> WaveformReader:
    """Create a reader of utterances' waveforms (T,) corrupted as at a point of a curve of speech."""

    def read(utterance: Utterance, sample_rate: int) -> Tensor:
        samples = read_waveform(utterance, sample_rate).numpy()
        if point.x != CLEAN_RATIO:
            samples = mix_at_ratio(samples, babble.generate_babble(utterance, len(samples), sample_rate), point.x)
        if point.curve == TELEPHONE:
            samples = apply_telephone_band(samples, sample_rate)
        return torch.from_numpy(samples)

    return read


PointProgressCallback = Callable[[str, int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class RobustnessCurves:
    """The curves of a run.

    Attributes:
        table: the scores, with the columns of CURVES_SCHEMA
        notes: a sentence for each caveat and each group of curves that is left out
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
    """Compute the curves of a run's trained folds, reusing cached points, and write robustness.parquet.

    Args:
        progress: called with the fold, the number of finished points, their total number and their name
        files: current paths of the run's precomputed embeddings, by encoder, if they moved
        device: the models' device, as in ``moodline.load``

    Raises:
        MoodlineError: as ``evaluate_run``; two conversations share an utterance id; another process holds the run
    """
    read_run(folder)  # before the lock, which creates the folder
    with lock_folder(folder):
        plan = build_robustness_plan(read_run(folder), files or {})
        run = plan.run
        remove_leftovers(run.folder / CACHE_FOLDER)
        by_fold = [predict_points(plan, fold, progress, device) for fold in plan.folds]
        measured = [
            PointResult(
                point=point,
                predictions=pa.concat_tables([fold[point][0] for fold in by_fold]),
                errors=sum_errors(fold[point][1] for fold in by_fold),
            )
            for point in plan.points
        ]
        table = build_curves_table(measured, run.label_set.classes, build_common_columns(plan))
        with open_atomic_file(run.folder / CURVES_FILE) as temporary:
            pq.write_table(table, temporary)
    few = note_few_conversations(score_predictions(measured[0].predictions, run.label_set.classes).scores)
    return RobustnessCurves(run=run, corpus=plan.corpus, table=table, notes=[*plan.notes, *few])


def predict_points(
    plan: RobustnessPlan, fold: Fold, progress: PointProgressCallback, device: str | torch.device
) -> dict[CorruptionPoint, tuple[pa.Table, WordErrors | None]]:
    """Compute a fold's predictions and word errors at each point."""
    run = plan.run
    corrupted = CorruptedFold(
        lambda: CorruptibleFold(run, fold, plan.given, device),
        build_fold_words(plan, fold) if plan.recognised else None,
        plan.babble,
    )
    folder, model = run.folder / CACHE_FOLDER / f"fold-{fold.name}", hash_model(run.get_model_folder(fold.name))
    results = {}
    for done, point in enumerate(plan.points, start=1):
        cache = CachedPredictions(folder / f"{point.name}.parquet", plan.hash_inputs(fold, point, model))
        predictions = cache.read_or_compute(lambda point=point: corrupted.compute_predictions(point))
        results[point] = (predictions, corrupted.count_errors(point))
        progress(f"fold {fold.name}", done, len(plan.points), "points")
    return results


def build_fold_words(plan: RobustnessPlan, fold: Fold) -> FoldWords:
    """Build the words of a fold's test set, with the recogniser's confusions from all other conversations."""
    assert plan.recognised is not None
    ids = {one.id for one in fold.test}
    return FoldWords(
        [turn for one in read_test_set(plan.run, fold) for turn in one.utterances],
        [one for one in plan.corpus.conversations if one.id not in ids],
        plan.recognised.words,
        plan.run.recipe.seed,
    )


def sum_errors(errors: Iterable[WordErrors | None]) -> WordErrors | None:
    """Sum word errors over all folds; None for curves of speech."""
    counts = [asdict(one) for one in errors if one is not None]
    return WordErrors(**{name: sum(one[name] for one in counts) for name in counts[0]}) if counts else None


def build_common_columns(plan: RobustnessPlan) -> dict[str, Any]:
    """Build the columns that all rows share."""
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
