"""A trained model at work: a conversation in, an emotion with its probabilities for every utterance out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from moodline.checkpoint import TrainedModel, load_model
from moodline.config import ENCODERS
from moodline.conversation import Conversation, Utterance
from moodline.embeddings import Embeddings, require, stack
from moodline.encoding import Encoding
from moodline.inference.encode import encode_utterances
from moodline.inference.given import refuse_other_encoders
from moodline.inference.inputs import context_input
from moodline.model import ENCODER_OF

GivenEmbeddings = Mapping[str, Embeddings]
"""By the utterance encoder whose place they take: audio_utterance, text_utterance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UtterancePrediction:
    """What a model says of one utterance.

    Attributes:
        label: the most probable class
        probabilities: of each class, by the system's last stage
        by_stage: the same of each stage on the way, the last included
    """

    id: str
    speaker: str
    start: float | None
    end: float | None
    words: str
    label: str
    probabilities: Mapping[str, float]
    by_stage: Mapping[str, Mapping[str, float]]

    @property
    def probability(self) -> float:
        return self.probabilities[self.label]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationPrediction:
    """Predictions of a conversation's utterances, in their order."""

    conversation_id: str
    utterances: tuple[UtterancePrediction, ...]


class Predictor:
    """Predicts with one trained model; see ``moodline.load``.

    Args:
        model: a model folder's content
        embeddings: what a model that was trained on embeddings from files reads in the place of its encoders
    """

    def __init__(self, model: TrainedModel, embeddings: GivenEmbeddings | None = None) -> None:
        self.model = model
        self.embeddings = embeddings or {}

    @property
    def classes(self) -> tuple[str, ...]:
        return self.model.label_set.classes

    def with_embeddings(self, embeddings: GivenEmbeddings) -> "Predictor":
        """The same model with these embeddings to read: vectors by utterance id, by encoder.

        Raises:
            MoodlineError: the model does not read embeddings in the place of these encoders, or of others too
        """
        refuse_other_encoders(self.model.recipe, embeddings)
        return Predictor(self.model, embeddings)

    def predict(self, conversation: Conversation) -> ConversationPrediction:
        """Label every utterance of a conversation, from the whole of it.

        Raises:
            MoodlineError: an utterance lacks audio or embeddings that the model needs, or they cannot be read
        """
        if not conversation.utterances:
            return ConversationPrediction(conversation_id=conversation.id, utterances=())
        encodings = self.encode(conversation)
        probabilities = {stage: encoding.logits.softmax(dim=-1) for stage, encoding in encodings.items()}
        rows = zip(*(values.tolist() for values in probabilities.values()), strict=True)
        return ConversationPrediction(
            conversation_id=conversation.id,
            utterances=tuple(
                self._prediction(utterance, dict(zip(probabilities, row, strict=True)))
                for utterance, row in zip(conversation.utterances, rows, strict=True)
            ),
        )

    def predict_all(self, conversations: Sequence[Conversation]) -> Iterator[ConversationPrediction]:
        """Predictions of many conversations, each as soon as it is ready."""
        return (self.predict(conversation) for conversation in conversations)

    @torch.inference_mode()
    def encode(self, conversation: Conversation) -> dict[str, Encoding]:
        """Each stage's embeddings (S, D) and logits (S, classes), in the order of the stages; errors as of predict."""
        network, recipe, utterances = self.model.network, self.model.recipe, conversation.utterances
        given = self._given([utterance.id for utterance in utterances])
        encodings = {
            stage: encode_utterances(stage, network.parts[stage], utterances, recipe, self.model.tokenizer)
            for stage in ENCODERS
            if stage in network.parts
        }
        alone = given | {stage: encoding.embeddings for stage, encoding in encodings.items()}
        read = {
            encoder: context_input(stage, recipe, alone[encoder], utterances)[None]  # (S, E) -> (1, S, E)
            for stage, encoder in ENCODER_OF.items()
            if encoder in alone
        }
        in_context = network(read, torch.tensor([len(utterances)]))
        encodings |= {stage: Encoding(one.embeddings[0], one.logits[0]) for stage, one in in_context.items()}
        return {stage: encodings[stage] for stage in recipe.stages}

    def _given(self, ids: Sequence[str]) -> dict[str, Tensor]:
        """The embeddings from files that the model reads: (S, E) by encoder."""
        recipe = self.model.recipe
        refuse_other_encoders(recipe, self.embeddings)
        for encoder, size in recipe.given.items():
            require(self.embeddings[encoder], ids, size, f"embeddings[{encoder!r}]")
        return {encoder: stack(self.embeddings[encoder], ids) for encoder in recipe.given}

    def _prediction(self, utterance: Utterance, by_stage: Mapping[str, Sequence[float]]) -> UtterancePrediction:
        named = {stage: dict(zip(self.classes, row, strict=True)) for stage, row in by_stage.items()}
        last = named[self.model.recipe.stages[-1]]
        return UtterancePrediction(
            id=utterance.id,
            speaker=utterance.speaker,
            start=utterance.start,
            end=utterance.end,
            words=utterance.words,
            label=max(last, key=lambda name: last[name]),
            probabilities=last,
            by_stage=named,
        )


def load(folder: str | Path) -> Predictor:
    """Load a model folder; it needs no corpus, no recipe and no network.

    Raises:
        MoodlineError: the folder is no model, or of a newer schema
    """
    return Predictor(load_model(Path(folder)))
