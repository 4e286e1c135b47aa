"""The grid of a robustness test: curves, points, which of them fit a run, and the input at each."""

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
# The encoder whose input a curve corrupts, the parts of a system that this affects, and the curve's title.
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
    DRAWN: "Words with errors sampled from the recogniser's confusions",
    BABBLE: "Speech in babble",
    TELEPHONE: "Speech in babble, through a telephone band",
}
CLEAN_RATIO = math.inf  # dB: no babble
RECOGNISED_SHARES = tuple(tenth / 10 for tenth in range(11))
ERROR_RATES = tuple(tenth / 10 for tenth in range(8))
NOISE_RATIOS = (20.0, 15.0, 10.0, 5.0, 0.0, -5.0)


@dataclass(frozen=True)
class CorruptionPoint:
    """A point of a curve.

    Attributes:
        x: for ``interpolated`` the share of utterances with recognised words, for ``drawn`` the target WER, for
            ``babble`` and ``telephone`` the SNR in dB, CLEAN_RATIO without babble
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
    """Find the uncorrupted point with which the points of a curve are compared."""
    is_speech = ENCODER_BY_CURVE[curve] == AUDIO_UTTERANCE
    return CorruptionPoint(BABBLE, CLEAN_RATIO) if is_speech else CorruptionPoint(curve, 0.0)


WordsById = Mapping[str, str]
Value = TypeVar("Value")


class FoldWords:
    """Reference, recognised and corrupted words of a fold's test utterances, by utterance id.

    Args:
        tested: utterances that the model reads, labelled or not
        others: the corpus's other conversations, from which the recogniser's confusions are estimated
        recognised: recognised words of all utterances
    """

    def __init__(
        self, tested: Sequence[Utterance], others: Sequence[Conversation], recognised: WordsById, seed: int
    ) -> None:
        self.reference = {turn.id: turn.said for turn in tested}
        self.recognised = {turn.id: recognised[turn.id] for turn in tested}
        self.pairs = [(turn.said, recognised[turn.id]) for one in others for turn in one.utterances]
        self.seed = seed
        self._corrupted: dict[CorruptionPoint, WordsById] = {}

    def build_words(self, point: CorruptionPoint) -> WordsById:
        """Build the words at a point."""
        if point.curve == INTERPOLATED:
            return mix_words(self.reference, self.recognised, point.x, self.seed)
        if point.x == 0:
            return self.reference
        if point not in self._corrupted:
            self._corrupted[point] = WordCorruption(self.reference, self.confusions, self.seed).corrupt_to_rate(point.x)
        return self._corrupted[point]

    @cached_property
    def confusions(self) -> WordConfusions:
        return count_confusions(self.pairs)


def mix_words(
    reference: Mapping[str, Value], recognised: Mapping[str, Value], share: float, seed: int
) -> dict[str, Value]:
    """Take a random share of the utterances from the recognised side, a larger share including each smaller one."""

    def is_recognised(name: str) -> bool:
        return float(create_generator(seed, "recognised", name).random()) < share

    return {name: (recognised if is_recognised(name) else reference)[name] for name in reference}


def read_test_set(run: Run, fold: Fold) -> list[Conversation]:
    """Read a fold's test set as the run's model does."""
    return [one.prepare_for_context(run.label_set, run.recipe.context) for one in fold.test]


class CorruptibleFold:
    """The test set and the model of one fold of a run.

    Args:
        given: precomputed embeddings that the run reads instead of its encoders'
        device: the model's device, as in ``moodline.load``

    Raises:
        MoodlineError: the model was trained on another fold
    """

    def __init__(self, run: Run, fold: Fold, given: PrecomputedEmbeddings, device: str | torch.device) -> None:
        self.fold, self.given = fold, given
        self.predictor = load(run.get_model_folder(fold.name), device=device)
        refuse_other_fold(self.predictor, fold)
        self.labels = run.label_set
        self.conversations = read_test_set(run, fold)

    def embed_words(self, words: WordsById) -> Embeddings:
        """Compute the text encoder's embeddings of these words, by utterance id."""
        conversations = [
            replace(one, utterances=tuple(replace(turn, words=words[turn.id]) for turn in one.utterances))
            for one in self.conversations
        ]
        return self._encode(TEXT_UTTERANCE, conversations)

    def embed_audio(self, read: WaveformReader) -> Embeddings:
        """Compute the audio encoder's embeddings of these waveforms, by utterance id."""
        return self._encode(AUDIO_UTTERANCE, self.conversations, read)

    @cached_property
    def clean(self) -> Mapping[str, Embeddings]:
        """The embeddings without corruption, by encoder."""
        own = {
            encoder: self._encode(encoder, self.conversations)
            for encoder in ENCODERS
            if encoder in self.predictor.model.recipe.stages
        }
        return own | dict(self.given)

    def compute_predictions(self, corrupted: Mapping[str, Embeddings]) -> pa.Table:
        """Compute the later parts' predictions with these encoders' embeddings replaced."""
        return predict_for_scores(
            Predictor(remove_encoders(self.predictor.model), {**self.clean, **corrupted}),
            self.fold.test,
            self.labels,
            self.fold.name,
            lambda done: None,
            self.fold.test_speaker,
        )

    def _encode(
        self, encoder: str, conversations: list[Conversation], read: WaveformReader = read_waveform
    ) -> Embeddings:
        """Encode a conversation at a time, as the predictor does, for bit-identical embeddings of clean input."""
        model = self.predictor.model
        part = model.network.parts[encoder]
        return {
            turn.id: vector
            for one in conversations
            if one.utterances
            for turn, vector in zip(
                one.utterances,
                encode_utterances(encoder, part, one.utterances, model.recipe, model.tokenizer, read).embeddings,
                strict=True,
            )
        }


def remove_encoders(model: TrainedModel) -> TrainedModel:
    """Copy the model without its utterance encoders, whose embeddings it reads instead."""
    sizes = {
        encoder: getattr(model.recipe, encoder).embedding for encoder in ENCODERS if encoder in model.recipe.stages
    }
    later = {stage: part for stage, part in model.network.parts.items() if stage not in sizes}
    return replace(model, recipe=model.recipe.with_precomputed(sizes), network=ConversationModel(later).eval())


VERSION = 1  # of the corruptions: cached points of another version are computed again


@dataclass(frozen=True, kw_only=True)
class RobustnessPlan:
    """The points that a run and its corpus allow.

    Attributes:
        recognised: recognised words; None without curves of words
        notes: caveats on the folds, and a sentence for each group of curves that is left out
    """

    run: Run
    corpus: Corpus
    folds: Sequence[Fold]
    given: PrecomputedEmbeddings
    recognised: AsrColumn | None
    babble: BabbleNoise
    points: Sequence[CorruptionPoint]
    notes: Sequence[str]

    def hash_inputs(self, fold: Fold, point: CorruptionPoint, model: object) -> str:
        """Hash everything on which a fold's predictions at a point depend."""
        run = self.run
        reads_words = ENCODER_BY_CURVE[point.curve] == TEXT_UTTERANCE
        return hash_json(
            [
                VERSION,
                [point.curve, str(point.x), run.recipe.seed],
                [run.corpus_hash, fold.hash, model],
                [run.words, run.words_hash, {encoder: given.hash for encoder, given in run.embeddings.items()}],
                self.recognised.recognition.words_hash if self.recognised and reads_words else None,
            ]
        )


def build_robustness_plan(run: Run, files: Mapping[str, Path]) -> RobustnessPlan:
    """Plan the curves of a run.

    Args:
        files: current paths of the run's precomputed embeddings, by encoder, if they moved

    Raises:
        MoodlineError: no curve fits the run; or as ``draw_curves``
    """
    corpus = read_run_corpus(run, run.words)
    all_folds = build_folds(corpus, run.protocol)
    folds = select_folds(run, all_folds)
    collect_unique_ids(corpus.conversations)
    given = read_run_embeddings(run, files)
    babble = BabbleNoise(corpus.conversations, run.recipe.seed)
    recognised, no_words = read_recognised_words(run, corpus)
    no_audio, no_babble = explain_missing_encoder(run, AUDIO_UTTERANCE), ""
    points = list_word_points() if recognised else []
    if not no_audio:
        tested = (turn for fold in folds for one in read_test_set(run, fold) for turn in one.utterances)
        no_babble = explain_missing_babble(babble, tested)
        points += list_speech_points(with_babble=not no_babble)
    left_out = [reason for reason in (no_words, no_audio, no_babble) if reason]
    if not points:
        raise MoodlineError(f"no robustness curve fits {run.folder}: {'; '.join(left_out)}", code="experiment.no_curve")
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
    """Explain why a run has no curves of an encoder's input; empty if it has them."""
    if encoder in run.recipe.stages:
        return ""
    what = "words" if encoder == TEXT_UTTERANCE else "speech"
    reason = f"has --modalities {run.recipe.modalities}"
    if encoder in run.recipe.given:
        reason = f"reads precomputed embeddings instead of {encoder} ({EMBEDDINGS_OPTIONS[encoder]})"
    return f"curves of {what} are left out: the run {reason}"


def read_recognised_words(run: Run, corpus: Corpus) -> tuple[AsrColumn | None, str]:
    """Read the corpus's recognised words, or explain why there are no curves of words.

    Raises:
        MoodlineError: the words do not match their description, or jiwer is not installed
    """
    if reason := explain_missing_encoder(run, TEXT_UTTERANCE):
        return None, reason
    folder = run.corpus_folder
    left_out = f"curves of words are left out: the corpus {folder.name} has no"
    if read_asr_metadata(folder) is None:
        return None, f"{left_out} complete recognised words; moodline transcribe adds them"
    build_normalisation()  # reports a missing package before any point is computed
    found = read_asr_column(folder, corpus)
    if found.recognition.errors.rate is None:
        return None, f"{left_out} reference words, against which word errors are counted"
    return found, ""
