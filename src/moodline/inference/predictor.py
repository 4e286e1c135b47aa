"""A trained model at work: a conversation in, an emotion with its probabilities for every utterance out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from moodline.checkpoint import TrainedModel, load_model
from moodline.config import ENCODERS
from moodline.conversation import Conversation, Utterance
from moodline.embeddings import Embeddings, require, stack
from moodline.encoding import Encoding
from moodline.errors import MoodlineError
from moodline.inference.encode import Sound, encode_utterances
from moodline.inference.given import refuse_other_encoders
from moodline.inference.inputs import context_input, waveform_of
from moodline.inference.reasons import Reasons
from moodline.inference.why import reasons_of
from moodline.inference.windows import encode_in_windows
from moodline.model import ENCODER_OF

if TYPE_CHECKING:
    from moodline.inference.stream import Stream

GivenEmbeddings = Mapping[str, Embeddings]
"""By the utterance encoder whose place they take: audio_utterance, text_utterance."""

UNCERTAIN = "uncertain"
"""The label of an utterance whose most probable class is less probable than what was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UtterancePrediction:
    """What a model says of one utterance.

    Attributes:
        label: the most probable class, or ``UNCERTAIN``
        best: the most probable class, however probable it is
        probabilities: of each class, by the system's last stage; calibrated, where the model is
        by_stage: the same of each stage on the way, the last included
        reasons: why, where it was asked for
    """

    id: str
    speaker: str
    start: float | None
    end: float | None
    words: str
    label: str
    best: str
    probabilities: Mapping[str, float]
    by_stage: Mapping[str, Mapping[str, float]]
    reasons: Reasons | None = None

    @property
    def probability(self) -> float:
        """Of the most probable class."""
        return self.probabilities[self.best]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationPrediction:
    """Predictions of a conversation's utterances, in their order."""

    conversation_id: str
    utterances: tuple[UtterancePrediction, ...]


class Alone(NamedTuple):
    """Utterances, each by itself.

    ``encodings`` are those of the model's own encoders; ``embeddings`` (S, E) by encoder are what its contexts read,
    those from files included.
    """

    encodings: Mapping[str, Encoding]
    embeddings: Mapping[str, Tensor]


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

    def predict(
        self, conversation: Conversation, *, threshold: float | None = None, reasons: bool = False
    ) -> ConversationPrediction:
        """Label every utterance of a conversation, from the whole of it; with ``reasons`` it says why.

        A conversation longer than a window is read in windows that overlap (``moodline.inference.windows``).

        Args:
            threshold: from 0 to 1; below it the label is ``UNCERTAIN``, and the probabilities are as they are

        Raises:
            MoodlineError: an utterance lacks audio or embeddings that the model needs, or they cannot be read; or the
                threshold is no probability, or a class has the name of what it answers
        """
        self.refuse_threshold(threshold)
        utterances = conversation.utterances
        if not utterances:
            return ConversationPrediction(conversation_id=conversation.id, utterances=())
        alone = self.encode_alone(utterances)
        predictions = self.predict_encoded(utterances, alone, threshold=threshold, reasons=reasons)
        return ConversationPrediction(conversation_id=conversation.id, utterances=predictions)

    def predict_encoded(
        self, utterances: Sequence[Utterance], alone: Alone, *, threshold: float | None = None, reasons: bool = False
    ) -> tuple[UtterancePrediction, ...]:
        """The same of utterances that are encoded already, each by itself."""
        predictions = self.labelled(utterances, self.encode_in_context(utterances, alone), threshold)
        if not reasons:
            return predictions
        why = reasons_of(self.model.network, self._read(utterances, alone), self.probabilities)
        return tuple(replace(one, reasons=its) for one, its in zip(predictions, why, strict=True))

    def labelled(
        self, utterances: Sequence[Utterance], encodings: Mapping[str, Encoding], threshold: float | None = None
    ) -> tuple[UtterancePrediction, ...]:
        """What encodings (S, ...) by each of the stages say of S utterances."""
        probabilities = self.probabilities(encodings)
        rows = zip(*(values.tolist() for values in probabilities.values()), strict=True)
        return tuple(
            self._prediction(utterance, dict(zip(probabilities, row, strict=True)), threshold or 0.0)
            for utterance, row in zip(utterances, rows, strict=True)
        )

    def probabilities(self, encodings: Mapping[str, Encoding]) -> dict[str, Tensor]:
        """Of each class by some of the stages: (..., classes)."""
        return {
            # In double precision, where what differs in the logits differs here at any temperature.
            stage: (encoding.logits.double() / self.model.temperature(stage)).softmax(dim=-1)
            for stage, encoding in encodings.items()
        }

    def predict_all(
        self, conversations: Sequence[Conversation], *, threshold: float | None = None, reasons: bool = False
    ) -> Iterator[ConversationPrediction]:
        """Predictions of many conversations, each as soon as it is ready."""
        self.refuse_threshold(threshold)
        return (self.predict(conversation, threshold=threshold, reasons=reasons) for conversation in conversations)

    def stream(self) -> "Stream":
        """A conversation that goes on, to be labelled turn by turn."""
        from moodline.inference.stream import Stream  # which reads this module

        return Stream(self)

    def encode(self, conversation: Conversation) -> dict[str, Encoding]:
        """Each stage's embeddings (S, D) and logits (S, classes), in the order of the stages; errors as of predict."""
        return self.encode_in_context(conversation.utterances, self.encode_alone(conversation.utterances))

    def encode_alone(self, utterances: Sequence[Utterance], sound: Sound = waveform_of) -> Alone:
        """Each utterance by itself; ``sound`` is what an encoder of speech hears of it. Errors as of predict."""
        network, recipe = self.model.network, self.model.recipe
        given = self._given([utterance.id for utterance in utterances])
        encodings = {
            stage: encode_utterances(stage, network.parts[stage], utterances, recipe, self.model.tokenizer, sound)
            for stage in ENCODERS
            if stage in network.parts
        }
        return Alone(encodings, given | {stage: encoding.embeddings for stage, encoding in encodings.items()})

    def encode_in_context(self, utterances: Sequence[Utterance], alone: Alone) -> dict[str, Encoding]:
        """A conversation's utterances by all stages, from what each gives by itself."""
        in_context = encode_in_windows(self.model.network, self._read(utterances, alone))
        encodings = {**alone.encodings, **in_context}
        return {stage: encodings[stage] for stage in self.model.recipe.stages}

    def _read(self, utterances: Sequence[Utterance], alone: Alone) -> dict[str, Tensor]:
        """What the contexts read of a conversation: (S, E) by encoder."""
        return {
            encoder: context_input(stage, self.model.recipe, alone.embeddings[encoder], utterances)
            for stage, encoder in ENCODER_OF.items()
            if encoder in alone.embeddings
        }

    def _given(self, ids: Sequence[str]) -> dict[str, Tensor]:
        """The embeddings from files that the model reads: (S, E) by encoder."""
        recipe = self.model.recipe
        refuse_other_encoders(recipe, self.embeddings)
        for encoder, size in recipe.given.items():
            require(self.embeddings[encoder], ids, size, f"embeddings[{encoder!r}]")
        return {encoder: stack(self.embeddings[encoder], ids) for encoder in recipe.given}

    def refuse_threshold(self, threshold: float | None) -> None:
        """Refuse what is no probability.

        Raises:
            MoodlineError: so; or a class has the name of what is answered below it
        """
        if threshold is None:
            return
        if not 0 <= threshold <= 1:
            raise MoodlineError(f"a threshold is a probability, from 0 to 1, not {threshold}")
        if UNCERTAIN in self.classes:
            raise MoodlineError(
                f"below a threshold the label is {UNCERTAIN!r}, which is also a class of {self.model.label_set.name}: "
                "predict without a threshold, and read the probabilities"
            )

    def _prediction(
        self, utterance: Utterance, by_stage: Mapping[str, Sequence[float]], threshold: float
    ) -> UtterancePrediction:
        named = {stage: dict(zip(self.classes, row, strict=True)) for stage, row in by_stage.items()}
        last = named[self.model.recipe.stages[-1]]
        best = max(last, key=lambda name: last[name])
        return UtterancePrediction(
            id=utterance.id,
            speaker=utterance.speaker,
            start=utterance.start,
            end=utterance.end,
            words=utterance.words,
            label=best if last[best] >= threshold else UNCERTAIN,
            best=best,
            probabilities=last,
            by_stage=named,
        )


def load(folder: str | Path) -> Predictor:
    """Load a model folder; it needs no corpus, no recipe and no network.

    Raises:
        MoodlineError: the folder is no model, or of a newer schema
    """
    return Predictor(load_model(Path(folder)))
