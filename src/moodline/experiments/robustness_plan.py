"""Curves and points of a robustness test, which of them a run can have, and what is read at each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import torch

from moodline.config import (
    AUDIO_CONTEXT,
    AUDIO_UTTERANCE,
    EMBEDDINGS_OPTIONS,
    ENCODERS,
    FUSION,
    TEXT_CONTEXT,
    TEXT_UTTERANCE,
)
from moodline.conversation import Conversation, Utterance, merge_fingerprints
from moodline.corpora.asr_column import AsrColumn, hash_json, read_asr_column, read_asr_metadata
from moodline.corpora.corpus import Corpus
from moodline.corpora.folds import Fold
from moodline.corpora.protocols import build_folds
from moodline.embeddings import Embeddings, collect_unique_ids, get_vectors
from moodline.errors import MoodlineError
from moodline.evaluation.evaluate import read_run_corpus, read_run_embeddings, refuse_other_fold, select_folds
from moodline.evaluation.predictions import predict_for_scores
from moodline.evaluation.results import collect_notes
from moodline.experiments.corruptions import (
    BabbleNoise,
    WordConfusions,
    WordCorruption,
    count_confusions,
    explain_missing_babble,
)
from moodline.inference.encode import WaveformReader, encode_utterances, read_waveform
from moodline.inference.pipeline import load
from moodline.inference.predictor import PrecomputedEmbeddings, Predictor
from moodline.metrics import build_normalisation
from moodline.modeling.checkpoint import TrainedModel
from moodline.modeling.model import ConversationModel
from moodline.runtime import create_generator
from moodline.training.provenance import note_selection
from moodline.training.run import Run

INTERPOLATED, DRAWN, BABBLE, TELEPHONE = "interpolated", "drawn", "babble", "telephone"
# Whose input a curve alters, the parts of a system that this reaches, and how a reader is told of the curve.
ENCODER_BY_CURVE: Mapping[str, str] = {
    INTERPOLATED: TEXT_UTTERANCE,
    DRAWN: TEXT_UTTERANCE,
    BABBLE: AUDIO_UTTERANCE,
    TELEPHONE: AUDIO_UTTERANCE,
}
PARTS_BY_ENCODER: Mapping[str, tuple[str, ...]] = {
    TEXT_UTTERANCE: (TEXT_CONTEXT, FUSION),
    AUDIO_UTTERANCE: (AUDIO_CONTEXT, FUSION),
}
CURVE_NAMES: Mapping[str, str] = {
    INTERPOLATED: "Recognised words in a share of the utterances",
    DRAWN: "Words with errors drawn from the recogniser's confusions",
    BABBLE: "Speech in babble",
    TELEPHONE: "Speech in babble, through a telephone band",
}
CLEAN_RATIO = math.inf  # dB: no babble
RECOGNISED_SHARES = tuple(tenth / 10 for tenth in range(11))
ERROR_RATES = tuple(tenth / 10 for tenth in range(8))
NOISE_RATIOS = (20.0, 15.0, 10.0, 5.0, 0.0, -5.0)


@dataclass(frozen=True)
class CorruptionPoint:
    """A place on a curve.

    Attributes:
        x: of ``interpolated`` the share of utterances with recognised words, of ``drawn`` the WER that is aimed at, of
            ``babble`` and ``telephone`` the SNR in dB, CLEAN without babble
    """

    curve: str
    x: float

    @property
    def name(self) -> str:
        return f"{self.curve}{self.x:+g}"


def list_word_points() -> list[CorruptionPoint]:
    return [
        *(CorruptionPoint(INTERPOLATED, share) for share in RECOGNISED_SHARES),
        *(CorruptionPoint(DRAWN, rate) for rate in ERROR_RATES),
    ]


def list_speech_points(*, with_babble: bool) -> list[CorruptionPoint]:
    ratios = (CLEAN_RATIO, *NOISE_RATIOS) if with_babble else (CLEAN_RATIO,)
    return [CorruptionPoint(curve, ratio) for curve in (BABBLE, TELEPHONE) for ratio in ratios]


def find_clean_point(curve: str) -> CorruptionPoint:
    """What the points of a curve are compared with: nothing is altered."""
    return (
        CorruptionPoint(BABBLE, CLEAN_RATIO)
        if ENCODER_BY_CURVE[curve] == AUDIO_UTTERANCE
        else CorruptionPoint(curve, 0.0)
    )


WordsById = Mapping[str, str]
"""By utterance id."""
Value = TypeVar("Value")


class FoldWords:
    """Words of a fold's test utterances, right and wrong.

    Args:
        tested: the utterances that the model reads, labelled or not
        others: the corpus's other conversations, of which the recogniser's confusions are learned
        recognised: words of all utterances
    """

    def __init__(
        self, tested: Sequence[Utterance], others: Sequence[Conversation], recognised: WordsById, seed: int
    ) -> None:
        self.reference = {turn.id: turn.said for turn in tested}
        self.recognised = {turn.id: recognised[turn.id] for turn in tested}
        self.pairs = [(turn.said, recognised[turn.id]) for one in others for turn in one.utterances]
        self.seed = seed
        self._drawn: dict[CorruptionPoint, WordsById] = {}

    def at(self, point: CorruptionPoint) -> WordsById:
        """The words that are read at a point."""
        if point.curve == INTERPOLATED:
            return mix_words(self.reference, self.recognised, point.x, self.seed)
        if point.x == 0:
            return self.reference
        if point not in self._drawn:
            self._drawn[point] = WordCorruption(self.reference, self.confusions, self.seed).corrupt_to_rate(point.x)
        return self._drawn[point]

    @cached_property
    def confusions(self) -> WordConfusions:
        return count_confusions(self.pairs)


def draws_recognised(utterance_id: str, share: float, seed: int) -> bool:
    """Whether an utterance is among those that are recognised: with each share those of a smaller one, and more."""
    return float(create_generator(seed, "recognised", utterance_id).random()) < share


def mix_words(
    reference: Mapping[str, Value], recognised: Mapping[str, Value], share: float, seed: int
) -> dict[str, Value]:
    """What is recognised of that share of the utterances, drawn at random, and the reference of the others."""
    return {name: (recognised if draws_recognised(name, share, seed) else reference)[name] for name in reference}


def read_test_set(run: Run, fold: Fold) -> list[Conversation]:
    """A fold's test set as the run's model reads it."""
    return [one.prepare_for_context(run.label_set, run.recipe.context) for one in fold.test]


class CorruptibleFold:
    """The test set of one fold of a run, as its model reads it.

    Args:
        given: what the run reads in the place of its encoders, if it does
        device: of the model, as in ``moodline.load``

    Raises:
        MoodlineError: the model is of another fold
    """

    def __init__(self, run: Run, fold: Fold, given: PrecomputedEmbeddings, device: str | torch.device) -> None:
        self.fold, self.given = fold, given
        self.predictor = load(run.get_model_folder(fold.name), device=device)
        refuse_other_fold(self.predictor, fold)
        self.labels = run.label_set
        self.conversations = read_test_set(run, fold)

    def text(self, words: Mapping[str, str]) -> Embeddings:
        """The text encoder's embeddings of these words, by utterance id."""
        altered = [
            replace(one, utterances=tuple(replace(turn, words=words[turn.id]) for turn in one.utterances))
            for one in self.conversations
        ]
        return self._encode(TEXT_UTTERANCE, altered)

    def audio(self, sound: WaveformReader) -> Embeddings:
        """The speech encoder's embeddings of this sound, by utterance id."""
        return self._encode(AUDIO_UTTERANCE, self.conversations, sound)

    @cached_property
    def clean(self) -> Mapping[str, Embeddings]:
        """What the run itself reads, by encoder."""
        own = {
            encoder: self._encode(encoder, self.conversations)
            for encoder in ENCODERS
            if encoder in self.predictor.model.recipe.stages
        }
        return own | dict(self.given)

    def compute_predictions(self, altered: Mapping[str, Embeddings]) -> pa.Table:
        """What the later parts say with these embeddings in the place of the clean ones, by encoder."""
        return predict_for_scores(
            Predictor(remove_encoders(self.predictor.model), {**self.clean, **altered}),
            self.fold.test,
            self.labels,
            self.fold.name,
            lambda done: None,
            self.fold.test_speaker,
        )

    def _encode(
        self, encoder: str, conversations: list[Conversation], sound: WaveformReader = read_waveform
    ) -> Embeddings:
        """A conversation at a time, as the predictor does: what is not altered comes out the same to the last bit."""
        model = self.predictor.model
        part = model.network.parts[encoder]
        return {
            turn.id: vector
            for one in conversations
            if one.utterances
            for turn, vector in zip(
                one.utterances,
                encode_utterances(encoder, part, one.utterances, model.recipe, model.tokenizer, sound).embeddings,
                strict=True,
            )
        }


def remove_encoders(model: TrainedModel) -> TrainedModel:
    """The same model, which reads embeddings in the place of its utterance encoders."""
    sizes = {
        encoder: getattr(model.recipe, encoder).embedding for encoder in ENCODERS if encoder in model.recipe.stages
    }
    later = {stage: part for stage, part in model.network.parts.items() if stage not in sizes}
    return replace(model, recipe=model.recipe.with_precomputed(sizes), network=ConversationModel(later).eval())


VERSION = 1  # of how points are made: one that was made otherwise is drawn anew


@dataclass(frozen=True, kw_only=True)
class RobustnessPlan:
    """What there is to draw.

    Attributes:
        recognised: None where no curve of words is drawn
        notes: what a reader must know of the folds, and a sentence for each curve that the run or its corpus cannot
            have
    """

    run: Run
    corpus: Corpus
    folds: Sequence[Fold]
    given: PrecomputedEmbeddings
    recognised: AsrColumn | None
    babble: BabbleNoise
    points: Sequence[CorruptionPoint]
    notes: Sequence[str]

    def key(self, fold: Fold, point: CorruptionPoint, model: object) -> str:
        """A hash of all that a fold's predictions at a point are a function of."""
        run = self.run
        of_words = ENCODER_BY_CURVE[point.curve] == TEXT_UTTERANCE
        return hash_json(
            [
                VERSION,
                [point.curve, str(point.x), run.recipe.seed],
                [run.corpus_hash, fold.hash, model],
                [run.words, run.words_hash, {encoder: given.hash for encoder, given in run.embeddings.items()}],
                self.recognised.recognition.words_hash if self.recognised and of_words else None,
            ]
        )


def build_plan(run: Run, files: Mapping[str, Path]) -> RobustnessPlan:
    """What of a run can be drawn.

    Args:
        files: of the run's embeddings, by encoder, if they are not where they were

    Raises:
        MoodlineError: nothing; or as of ``draw``
    """
    corpus = read_run_corpus(run, run.words)
    all_folds = build_folds(corpus, run.protocol)
    folds = select_folds(run, all_folds)
    collect_unique_ids(corpus.conversations)
    given = read_run_embeddings(run, files)
    babble = BabbleNoise(corpus.conversations, run.recipe.seed)
    recognised, no_words = read_recognised_words(run, corpus)
    no_speech, no_babble = explain_missing_encoder(run, AUDIO_UTTERANCE), ""
    points = list_word_points() if recognised else []
    if not no_speech:
        tested = (turn for fold in folds for one in read_test_set(run, fold) for turn in one.utterances)
        no_babble = explain_missing_babble(babble, tested)
        points += list_speech_points(with_babble=not no_babble)
    left_out = [lack for lack in (no_words, no_speech, no_babble) if lack]
    if not points:
        raise MoodlineError(f"no curve can be drawn for {run.folder}: {'; '.join(left_out)}")
    return RobustnessPlan(
        run=run,
        corpus=corpus,
        folds=folds,
        given=get_vectors(given),
        recognised=recognised,
        babble=babble,
        points=points,
        notes=[
            *collect_notes(folds, len(all_folds)),
            *note_selection(run.recipe),
            *merge_fingerprints(file.training_record.notes for file in given.values()),
            *left_out,
        ],
    )


def explain_missing_encoder(run: Run, encoder: str) -> str:
    """Why a run has no curves of what an encoder reads; empty where it has."""
    if encoder in run.recipe.stages:
        return ""
    what = "words" if encoder == TEXT_UTTERANCE else "speech"
    how = f"has --modalities {run.recipe.modalities}"
    if encoder in run.recipe.given:
        how = f"reads embeddings in the place of {encoder} ({EMBEDDINGS_OPTIONS[encoder]})"
    return f"curves of {what} are left out: the run {how}"


def read_recognised_words(run: Run, corpus: Corpus) -> tuple[AsrColumn | None, str]:
    """The corpus's recognised words, or why no curve is drawn with them.

    Raises:
        MoodlineError: they are not what stands beside them, or jiwer is not installed
    """
    if lack := explain_missing_encoder(run, TEXT_UTTERANCE):
        return None, lack
    folder = run.corpus_folder
    if read_asr_metadata(folder) is None:
        return None, (
            f"curves of words are left out: the corpus {folder.name} has no recognised words, or not all; "
            "moodline transcribe makes them"
        )
    build_normalisation()
    found = read_asr_column(folder, corpus)
    if found.recognition.errors.rate is None:
        return (
            None,
            f"curves of words are left out: the corpus {folder.name} has no reference words to measure word errors by",
        )
    return found, ""
