"""Measure the robustness of a run: score its models, without training, on corrupted test sets."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from moodline.config import AUDIO_UTTERANCE, EMBEDDINGS_OPTIONS, ENCODERS, FUSION, TEXT_UTTERANCE
from moodline.conversation import Conversation, merge_fingerprints
from moodline.corpora.asr_column import AsrColumn, read_asr_column, read_asr_metadata
from moodline.corpora.corpus import Corpus
from moodline.corpora.protocols import Fold, build_folds
from moodline.device import Execution
from moodline.embeddings import Embeddings, collect_unique_ids, get_vectors
from moodline.errors import MoodlineError
from moodline.evaluation.predictions import (
    load_fold,
    predict_for_scores,
    read_run_corpus,
    read_run_embeddings,
    select_folds,
)
from moodline.evaluation.results import collect_notes
from moodline.evaluation.scores import note_few_conversations, score_predictions
from moodline.experiments.comparisons import build_number, build_schema, collect_predictions, compare_parts
from moodline.experiments.corruptions import INTERPOLATED, BabbleNoise, CorruptionPoint, FoldWords, mix_words
from moodline.inference.encode import MODALITY_BY_ENCODER, WaveformReader, read_waveform
from moodline.inference.predictor import PrecomputedEmbeddings, Predictor
from moodline.io import hash_file, hash_json, open_atomic_file, remove_leftovers
from moodline.metrics import WordErrors, build_normalisation, count_word_errors
from moodline.modeling.checkpoint import TrainedModel
from moodline.modeling.model import ENCODER_BY_STAGE, ConversationModel
from moodline.training.provenance import note_selection
from moodline.training.run import CURVES_FILE, Run, lock_folder, read_run

VERSION = 1  # of the corruptions: cached points of another version are computed again
CACHE_FOLDER = "robustness"
METADATA_KEY = b"moodline_robustness"
# The parts of a system that an encoder's input affects.
PARTS_BY_ENCODER = {encoder: (context, FUSION) for context, encoder in ENCODER_BY_STAGE.items()}
CURVES_SCHEMA = build_schema(
    ("curve part protocol", pa.string()),
    ("x wer", pa.float64()),  # see Curve; measured, null for curves of speech
    ("metric", pa.string()),
    ("value low high", pa.float64()),  # with the bounds of the 95 % interval; null for one conversation
    # From the same part without corruption, on the same conversations.
    ("difference difference_low difference_high", pa.float64()),
    ("utterances conversations folds seed", pa.int64()),
    ("words", pa.string()),  # kind of words that the run was trained on
    ("corpus_hash recognition", pa.string()),  # source of the recognised words; null for curves of speech
    ("notes", pa.list_(pa.string())),
)


PointResult = tuple[pa.Table, WordErrors | None]
"""Predictions at a point, and the errors of its words; None for curves of speech."""
PointProgressCallback = Callable[[str, int, int, str], None]
"""Receives the fold, the number of finished points, their total number, and their name."""


class RobustnessPlan(NamedTuple):
    """The points that a run and its corpus allow."""

    run: Run
    corpus: Corpus
    folds: Sequence[Fold]
    precomputed: PrecomputedEmbeddings  # embeddings that the run reads instead of its encoders'
    recognised: AsrColumn | None  # None without curves of words
    babble: BabbleNoise
    points: Sequence[CorruptionPoint]
    notes: Sequence[str]  # caveats on the folds, and a sentence for each group of curves that is left out


def build_robustness_plan(run: Run, files: Mapping[str, Path]) -> RobustnessPlan:
    """Plan the curves of a run; for arguments and errors see ``draw_curves``."""
    corpus = read_run_corpus(run, run.words)
    all_folds = build_folds(corpus, run.protocol)
    folds = select_folds(run, all_folds)
    collect_unique_ids(corpus.conversations)
    precomputed = read_run_embeddings(run, files)
    babble = BabbleNoise(corpus.conversations, run.recipe.seed)
    recognised, no_words = read_recognised_words(run, corpus)
    no_audio, no_babble = explain_missing_encoder(run, AUDIO_UTTERANCE), ""
    points = CorruptionPoint.list_all(TEXT_UTTERANCE) if recognised else []
    if not no_audio:
        tested = [turn for fold in folds for one in read_test_set(run, fold) for turn in one.utterances]
        no_babble = babble.explain_missing(tested)
        points += CorruptionPoint.list_all(AUDIO_UTTERANCE, with_babble=not no_babble)
    left_out = [reason for reason in (no_words, no_audio, no_babble) if reason]
    if not points:
        raise MoodlineError(f"no robustness curve fits {run.folder}: {'; '.join(left_out)}", code="experiment.no_curve")
    seen = merge_fingerprints(file.training_record.notes for file in precomputed.values())
    notes = [*collect_notes(folds, len(all_folds)), *note_selection(run.recipe), *seen, *left_out]
    return RobustnessPlan(run, corpus, folds, get_vectors(precomputed), recognised, babble, points, notes)


def read_test_set(run: Run, fold: Fold) -> list[Conversation]:
    """Read a fold's test set as the run's model does."""
    return [one.prepare_for_context(run.label_set, run.recipe.context) for one in fold.test]


def explain_missing_encoder(run: Run, encoder: str) -> str:
    """Explain why a run has no curves of an encoder's input; empty if it has them."""
    if encoder in run.recipe.stages:
        return ""
    what = "words" if encoder == TEXT_UTTERANCE else "speech"
    reason = f"has --modalities {run.recipe.modalities}"
    if encoder in run.recipe.given:
        reason = f"reads precomputed embeddings instead of {encoder} ({EMBEDDINGS_OPTIONS[encoder]})"
    return f"curves of {what} are left out: the run {reason}"


def read_recognised_words(run: Run, corpus: Corpus) -> tuple[AsrColumn | None, str]:
    """Read the corpus's recognised words, or explain why there are no curves of words."""
    if reason := explain_missing_encoder(run, TEXT_UTTERANCE):
        return None, reason
    left_out = f"curves of words are left out: the corpus {run.corpus_folder.name} has no"
    if read_asr_metadata(run.corpus_folder) is None:
        return None, f"{left_out} complete recognised words; moodline transcribe adds them"
    build_normalisation()  # reports a missing package before any point is computed
    found = read_asr_column(run.corpus_folder, corpus)
    if found.recognition.errors.rate is None:
        return None, f"{left_out} reference words, against which word errors are counted"
    return found, ""


class CorruptedFold:
    """A fold's test set at every point; the model is loaded only when a point is not cached."""

    def __init__(self, plan: RobustnessPlan, fold: Fold, device: str | torch.device) -> None:
        self.plan, self.fold, self.device = plan, fold, device
        self.conversations, self.words = read_test_set(plan.run, fold), None
        if plan.recognised:
            ids = {one.id for one in fold.test}
            tested = [turn for one in self.conversations for turn in one.utterances]
            others = [one for one in plan.corpus.conversations if one.id not in ids]
            self.words = FoldWords(tested, others, plan.recognised.words, plan.run.recipe.seed)

    @cached_property
    def predictor(self) -> Predictor:
        return load_fold(self.plan.run, self.fold, Execution(self.device))

    @cached_property
    def clean(self) -> Mapping[str, Embeddings]:
        """The embeddings without corruption, by encoder."""
        stages = self.predictor.model.recipe.stages
        own = {encoder: self._embed(encoder) for encoder in ENCODERS if encoder in stages}
        return own | dict(self.plan.precomputed)

    @cached_property
    def clean_and_recognised(self) -> tuple[Embeddings, Embeddings]:
        """Embeddings of the reference words and of the recognised ones."""
        assert self.words is not None, "a plan without words has no points of words"
        reference, recognised = self.words.reference, self.words.recognised
        return self._embed(TEXT_UTTERANCE, words=reference), self._embed(TEXT_UTTERANCE, words=recognised)

    def compute_points(self, progress: PointProgressCallback) -> dict[CorruptionPoint, PointResult]:
        """Compute the predictions and the word errors at each point, reusing cached predictions."""
        run, points, recognised, results = self.plan.run, self.plan.points, self.plan.recognised, {}
        folder = run.folder / CACHE_FOLDER / f"fold-{self.fold.name}"
        data = [run.corpus_hash, self.fold.hash, hash_model(run.get_model_folder(self.fold.name))]
        read = [run.words, run.words_hash, {encoder: file.hash for encoder, file in run.embeddings.items()}]
        for done, point in enumerate(points, start=1):
            words_hash = recognised.recognition.words_hash if recognised and point.encoder == TEXT_UTTERANCE else None
            key = hash_json([VERSION, [point.curve, str(point.x), run.recipe.seed], data, read, words_hash])
            path, compute = folder / f"{point.name}.parquet", lambda point=point: self.compute_predictions(point)
            results[point] = (read_or_compute(path, key, compute), self.count_errors(point))
            progress(f"fold {self.fold.name}", done, len(points), "points")
        return results

    def compute_predictions(self, point: CorruptionPoint) -> pa.Table:
        """Compute the later parts' predictions with the embeddings of the corrupted input."""
        model = remove_encoders(self.predictor.model)
        predictor = Predictor(model, {**self.clean, point.encoder: self._embed_point(point)})
        labels, fold = self.plan.run.label_set, self.fold
        return predict_for_scores(predictor, fold.test, labels, fold.name, lambda done: None, fold.test_speaker)

    def count_errors(self, point: CorruptionPoint) -> WordErrors | None:
        if point.encoder != TEXT_UTTERANCE or self.words is None:
            return None
        words = self.words.build_words(point)
        return count_word_errors(list(self.words.reference.values()), [words[name] for name in self.words.reference])

    def _embed_point(self, point: CorruptionPoint) -> Embeddings:
        if point.encoder == AUDIO_UTTERANCE:
            reader = partial(self.plan.babble.read_corrupted, point)
            return self.clean[AUDIO_UTTERANCE] if point == point.clean else self._embed(AUDIO_UTTERANCE, reader)
        assert self.words is not None, "a plan without words has no points of words"
        if point.curve == INTERPOLATED:
            return mix_words(*self.clean_and_recognised, point.x, self.words.seed)
        if point == point.clean:
            return self.clean_and_recognised[0]
        return self._embed(TEXT_UTTERANCE, words=self.words.build_words(point))

    def _embed(
        self, encoder: str, read: WaveformReader = read_waveform, words: Mapping[str, str] | None = None
    ) -> Embeddings:
        """Embed a conversation at a time, as the predictor does, for bit-identical embeddings of clean input."""
        found: dict[str, Tensor] = {}
        for one in self.conversations:
            turns = [replace(turn, words=words[turn.id]) for turn in one.utterances] if words else one.utterances
            encoded = self.predictor.encode_utterances(turns, MODALITY_BY_ENCODER[encoder], read)
            found |= zip((turn.id for turn in turns), encoded.embeddings[encoder], strict=True)
        return found


def remove_encoders(model: TrainedModel) -> TrainedModel:
    """Copy the model without its utterance encoders, whose embeddings it reads instead."""
    sizes = {
        encoder: getattr(model.recipe, encoder).embedding for encoder in ENCODERS if encoder in model.recipe.stages
    }
    later = {stage: part for stage, part in model.network.parts.items() if stage not in sizes}
    return replace(model, recipe=model.recipe.with_precomputed(sizes), network=ConversationModel(later).eval())


def read_or_compute(path: Path, key: str, compute: Callable[[], pa.Table]) -> pa.Table:
    """Read cached predictions, after computing and caching them if they are missing or their inputs' hash differs."""
    with suppress(OSError, pa.ArrowException):
        if (pq.read_schema(path).metadata or {}).get(METADATA_KEY) == key.encode():
            return pq.read_table(path)
    table = compute()
    metadata = {**(table.schema.metadata or {}), METADATA_KEY: key.encode()}
    with open_atomic_file(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary)
    return table


def hash_model(folder: Path) -> list[tuple[str, str]]:
    """Hash the files that determine a model's predictions: weights, description and BERT's configuration."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".json"))
    return [(path.relative_to(folder).as_posix(), hash_file(path)) for path in files]


class RobustnessCurves(NamedTuple):
    """The curves of a run: their scores, with the columns of CURVES_SCHEMA, and notes on all of them."""

    run: Run
    corpus: Corpus
    table: pa.Table
    notes: Sequence[str]


def draw_curves(
    folder: Path, progress: PointProgressCallback, files: Mapping[str, Path], device: str | torch.device
) -> RobustnessCurves:
    """Compute the curves of a run's trained folds, reusing cached points, and write robustness.parquet.

    For arguments and errors see ``evaluate_run``; a run that no curve fits is refused too.
    """
    read_run(folder)  # before the lock, which creates the folder
    with lock_folder(folder):
        run = read_run(folder)
        plan = build_robustness_plan(run, files)
        remove_leftovers(folder / CACHE_FOLDER)
        by_fold = [CorruptedFold(plan, fold, device).compute_points(progress) for fold in plan.folds]
        measured: dict[CorruptionPoint, PointResult] = {}
        for point in plan.points:
            tables, errors = zip(*(results[point] for results in by_fold), strict=True)
            measured[point] = (pa.concat_tables(tables), sum_errors(errors))
        facts = {
            "protocol": run.protocol,
            "folds": len(plan.folds),
            "seed": run.recipe.seed,
            "words": run.words,
            "corpus_hash": run.corpus_hash,
            "notes": list(plan.notes),
            "recognition": str(plan.recognised.recognition) if plan.recognised else None,
        }
        table = build_curves_table(measured, run.label_set.classes, facts)
        with open_atomic_file(folder / CURVES_FILE) as temporary:
            pq.write_table(table, temporary)
    first, _ = measured[plan.points[0]]
    few = note_few_conversations(score_predictions(first, run.label_set.classes).scores)
    return RobustnessCurves(run, plan.corpus, table, [*plan.notes, *few])


def sum_errors(errors: Sequence[WordErrors | None]) -> WordErrors | None:
    """Sum the word errors of all folds; None for curves of speech."""
    counts = [asdict(one) for one in errors if one is not None]
    return WordErrors(**{name: sum(one[name] for one in counts) for name in counts[0]}) if counts else None


def build_curves_table(
    measured: Mapping[CorruptionPoint, PointResult], classes: Sequence[str], facts: Mapping[str, Any]
) -> pa.Table:
    """Build the table of all curves; the facts are the columns that all rows share, ``recognition`` included."""
    rows: list[dict[str, Any]] = []
    for point, (predictions, errors) in measured.items():
        of_point = {**facts, "curve": point.curve, "x": point.x, "wer": errors.rate if errors else None}
        if errors is None:
            of_point["recognition"] = None
        own = predictions.filter(pc.field("stage").isin(PARTS_BY_ENCODER[point.encoder]))
        for part in score_predictions(own, classes).scores:
            tables = (predictions, measured[point.clean][0])
            found, clean = (collect_predictions(table, part.stage, classes) for table in tables)
            size = {"utterances": part.pooled.utterances, "conversations": part.pooled.conversations}
            for metric, difference in compare_parts([found], [clean]).measures.items():
                low, high = difference.interval or (None, None)
                own_score = build_number(metric, getattr(part.pooled, metric))
                change = {"difference": difference.value, "difference_low": low, "difference_high": high}
                rows.append({**of_point, "part": part.stage, **size, **own_score, **change})
    return pa.Table.from_pylist(rows, schema=CURVES_SCHEMA)
