"""A fold's model reading its test set with some of it altered; what is not altered is encoded once."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import pyarrow as pa

from moodline.checkpoint import TrainedModel
from moodline.config import AUDIO_UTTERANCE, ENCODERS, TEXT_UTTERANCE
from moodline.conversation import Conversation
from moodline.corpora.fold import Fold
from moodline.embeddings import Embeddings
from moodline.evaluation.evaluate import refuse_other_fold
from moodline.evaluation.predictions import predict_for_scores
from moodline.inference.encode import Sound, encode_utterances
from moodline.inference.inputs import waveform_of
from moodline.inference.loaded import load
from moodline.inference.predictor import GivenEmbeddings, Predictor
from moodline.model import ConversationModel
from moodline.training.run import Run


def read_by(run: Run, fold: Fold) -> list[Conversation]:
    """A fold's test set as the run's model reads it."""
    return [one.in_context(run.label_set, run.recipe.context) for one in fold.test]


class TestedFold:
    """The test set of one fold of a run, as its model reads it.

    Args:
        given: what the run reads in the place of its encoders, if it does

    Raises:
        MoodlineError: the model is of another fold
    """

    def __init__(self, run: Run, fold: Fold, given: GivenEmbeddings) -> None:
        self.fold, self.given = fold, given
        self.predictor = load(run.model_folder(fold.name))
        refuse_other_fold(self.predictor, fold)
        self.labels = run.label_set
        self.conversations = read_by(run, fold)

    def text(self, words: Mapping[str, str]) -> Embeddings:
        """The text encoder's embeddings of these words, by utterance id."""
        altered = [
            replace(one, utterances=tuple(replace(turn, words=words[turn.id]) for turn in one.utterances))
            for one in self.conversations
        ]
        return self._encoded(TEXT_UTTERANCE, altered)

    def audio(self, sound: Sound) -> Embeddings:
        """The speech encoder's embeddings of this sound, by utterance id."""
        return self._encoded(AUDIO_UTTERANCE, self.conversations, sound)

    @cached_property
    def clean(self) -> Mapping[str, Embeddings]:
        """What the run itself reads, by encoder."""
        own = {
            encoder: self._encoded(encoder, self.conversations)
            for encoder in ENCODERS
            if encoder in self.predictor.model.recipe.stages
        }
        return own | dict(self.given)

    def predictions(self, altered: Mapping[str, Embeddings]) -> pa.Table:
        """What the later parts say with these embeddings in the place of the clean ones, by encoder."""
        return predict_for_scores(
            Predictor(without_encoders(self.predictor.model), {**self.clean, **altered}),
            self.fold.test,
            self.labels,
            self.fold.name,
            lambda done: None,
            self.fold.test_speaker,
        )

    def _encoded(self, encoder: str, conversations: list[Conversation], sound: Sound = waveform_of) -> Embeddings:
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


def without_encoders(model: TrainedModel) -> TrainedModel:
    """The same model, which reads embeddings in the place of its utterance encoders."""
    sizes = {
        encoder: getattr(model.recipe, encoder).embedding for encoder in ENCODERS if encoder in model.recipe.stages
    }
    later = {stage: part for stage, part in model.network.parts.items() if stage not in sizes}
    return replace(model, recipe=model.recipe.with_given(sizes), network=ConversationModel(later).eval())
