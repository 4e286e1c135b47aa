"""Which curves a run can have, with all that they are drawn from, and why it lacks the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moodline.config import AUDIO_UTTERANCE, EMBEDDINGS_OPTIONS, TEXT_UTTERANCE
from moodline.corpora.corpus import Corpus
from moodline.corpora.fold import Fold
from moodline.corpora.protocol import folds_of
from moodline.corpora.recognised import Recognised, hash_of_json, read_recognised, read_recognition
from moodline.embeddings import unique_ids
from moodline.errors import MoodlineError
from moodline.evaluation.description import notes_of
from moodline.evaluation.evaluate import corpus_of, embeddings_of, folds_to_score
from moodline.inference.given import vectors_of
from moodline.inference.predictor import GivenEmbeddings
from moodline.reproduction.robustness.fold import read_by
from moodline.reproduction.robustness.noise import Babble, lack_of_talkers
from moodline.reproduction.robustness.points import ENCODER, Point, points_of_speech, points_of_words
from moodline.seen import joined
from moodline.speech.error_rate import normalisation
from moodline.training.provenance import notes_on_selection
from moodline.training.run import Run

VERSION = 1  # of how points are made: one that was made otherwise is drawn anew


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What there is to draw.

    Attributes:
        recognised: None where no curve of words is drawn
        notes: what a reader must know of the folds, and a sentence for each curve that the run or its corpus cannot
            have
    """

    run: Run
    corpus: Corpus
    folds: Sequence[Fold]
    given: GivenEmbeddings
    recognised: Recognised | None
    babble: Babble
    points: Sequence[Point]
    notes: Sequence[str]

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


def plan_of(run: Run, files: Mapping[str, Path]) -> Plan:
    """What of a run can be drawn.

    Args:
        files: of the run's embeddings, by encoder, if they are not where they were

    Raises:
        MoodlineError: nothing; or as of ``draw``
    """
    corpus = corpus_of(run, run.words)
    all_folds = folds_of(corpus, run.protocol)
    folds = folds_to_score(run, all_folds)
    unique_ids(corpus.conversations)
    given = embeddings_of(run, files)
    babble = Babble(corpus.conversations, run.recipe.seed)
    recognised, no_words = words_of(run, corpus)
    no_speech, no_babble = lack_of_encoder(run, AUDIO_UTTERANCE), ""
    points = points_of_words() if recognised else []
    if not no_speech:
        tested = (turn for fold in folds for one in read_by(run, fold) for turn in one.utterances)
        no_babble = lack_of_talkers(babble, tested)
        points += points_of_speech(with_babble=not no_babble)
    left_out = [lack for lack in (no_words, no_speech, no_babble) if lack]
    if not points:
        raise MoodlineError(f"no curve can be drawn for {run.folder}: {'; '.join(left_out)}")
    return Plan(
        run=run,
        corpus=corpus,
        folds=folds,
        given=vectors_of(given),
        recognised=recognised,
        babble=babble,
        points=points,
        notes=[
            *notes_of(folds, len(all_folds)),
            *notes_on_selection(run.recipe),
            *joined(file.seen.notes for file in given.values()),
            *left_out,
        ],
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
    if lack := lack_of_encoder(run, TEXT_UTTERANCE):
        return None, lack
    folder = run.corpus_folder
    if read_recognition(folder) is None:
        return None, (
            f"curves of words are left out: the corpus {folder.name} has no recognised words, or not all; "
            "moodline transcribe makes them"
        )
    normalisation()
    found = read_recognised(folder, corpus)
    if found.recognition.errors.rate is None:
        return (
            None,
            f"curves of words are left out: the corpus {folder.name} has no reference words to measure word errors by",
        )
    return found, ""
