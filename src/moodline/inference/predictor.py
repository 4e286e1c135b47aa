"""A trained model at work: a conversation in, an emotion with its probabilities for every utterance out."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from moodline.checkpoint import TrainedModel, load_model
from moodline.config import ENCODERS, FUSION, Modalities
from moodline.conversation import Conversation, Utterance
from moodline.embeddings import Embeddings, require, stack
from moodline.encoding import Encoding
from moodline.inference.encode import encode_utterances
from moodline.inference.given import refuse_missing, refuse_other_encoders
from moodline.inference.inputs import context_input
from moodline.inference.presence import chosen, encoded, fused, refuse_unreadable, spread
from moodline.model import ENCODER_OF

GivenEmbeddings = Mapping[str, Embeddings]
"""By the utterance encoder whose place they take: audio_utterance, text_utterance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UtterancePrediction:
    """What a model says of one utterance.

    Attributes:
        label: the most probable class
        probabilities: of each class, by the system's last stage
        by_stage: the same of each stage on the way, the last included; not of one that reads what the utterance lacks
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

    @property
    def stage(self) -> str:
        """The stage whose answer this is."""
        return list(self.by_stage)[-1]


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

    def predict(self, conversation: Conversation, modalities: Modalities = "both") -> ConversationPrediction:
        """Label every utterance of a conversation, from the whole of it.

        Where one of the model's two modalities is read alone, its fusion answers if it was trained with modality
        dropout, else the modality's context stage; each utterance's ``stage`` names it. With modality dropout turns may
        lack audio, or words, as long as some have it.

        Args:
            modalities: both, or audio or text alone

        Raises:
            MoodlineError: an utterance lacks audio or embeddings that the model needs, or they cannot be read; or the
                model does not read this modality, or nothing in the conversation has it
        """
        if not conversation.utterances:
            return ConversationPrediction(conversation_id=conversation.id, utterances=())
        return self._prediction_of(conversation, self.encode(conversation, modalities))

    def predict_modes(self, conversation: Conversation) -> dict[Modalities, ConversationPrediction]:
        """What ``predict`` says in each mode that the fusion was trained in, or else in that of both.

        Utterances are encoded once for all of them.
        """
        fusion = self.model.recipe.fusion
        modes = fusion.serves if FUSION in self.model.recipe.stages and "both" in fusion.serves else ("both",)
        if not conversation.utterances:
            return {mode: self.predict(conversation) for mode in modes}
        alone = self._encode_alone(conversation, "both")
        return {mode: self._prediction_of(conversation, self._in_context(conversation, alone, mode)) for mode in modes}

    def _prediction_of(self, conversation: Conversation, encodings: Mapping[str, Encoding]) -> ConversationPrediction:
        probabilities = {stage: encoding.logits.softmax(dim=-1) for stage, encoding in encodings.items()}
        rows = zip(*(values.tolist() for values in probabilities.values()), strict=True)
        return ConversationPrediction(
            conversation_id=conversation.id,
            utterances=tuple(
                self._prediction(utterance, dict(zip(probabilities, row, strict=True)))
                for utterance, row in zip(conversation.utterances, rows, strict=True)
            ),
        )

    def predict_all(
        self, conversations: Sequence[Conversation], modalities: Modalities = "both"
    ) -> Iterator[ConversationPrediction]:
        """Predictions of many conversations, each as soon as it is ready."""
        return (self.predict(conversation, modalities) for conversation in conversations)

    @torch.inference_mode()
    def encode(self, conversation: Conversation, modalities: Modalities = "both") -> dict[str, Encoding]:
        """Each stage's embeddings (S, D) and logits (S, classes), in the order of the stages; errors as of predict.

        Rows of utterances that lack what a stage reads are NaN.
        """
        return self._in_context(conversation, self._encode_alone(conversation, modalities), modalities)

    @torch.inference_mode()
    def _encode_alone(self, conversation: Conversation, modalities: Modalities) -> dict[str, Encoding]:
        """What the encoders say of utterances, each by itself: (S, E) and (S, classes), NaN where there is nothing.

        Of embeddings from a file there are no logits: (S, 0).
        """
        recipe, utterances = self.model.recipe, conversation.utterances
        refuse_unreadable(conversation, recipe, modalities)
        encodings: dict[str, Encoding] = {}
        for stage in ENCODERS:
            if stage in recipe.stages_in(modalities):
                mask = encoded(utterances, recipe)[stage]
                part, tokenizer = self.model.network.parts[stage], self.model.tokenizer
                found = encode_utterances(stage, part, chosen(utterances, mask), recipe, tokenizer)
                encodings[stage] = Encoding(*(spread(rows, mask, math.nan) for rows in found))
        for encoder, embeddings in self._given([utterance.id for utterance in utterances], modalities).items():
            encodings[encoder] = Encoding(embeddings, embeddings.new_empty(len(utterances), 0))
        return encodings

    @torch.inference_mode()
    def _in_context(
        self, conversation: Conversation, alone: Mapping[str, Encoding], modalities: Modalities
    ) -> dict[str, Encoding]:
        """The encodings of a mode's stages, from those of the utterances by themselves."""
        recipe, utterances = self.model.recipe, conversation.utterances
        stages, masks = recipe.stages_in(modalities), encoded(utterances, recipe)
        read: dict[str, Tensor] = {}
        for stage, encoder in ENCODER_OF.items():
            if stage in stages:
                mask = masks[encoder]
                rows = context_input(stage, recipe, alone[encoder].embeddings[mask], chosen(utterances, mask))
                read[encoder] = spread(rows, mask, 0.0)[None]  # (S, E) -> (1, S, E)
        present = fused(utterances, recipe, modalities) if FUSION in stages else None
        in_context = self.model.network(
            read,
            torch.tensor([len(utterances)]),
            {encoder: mask[None] for encoder, mask in masks.items()},
            present and {encoder: mask[None] for encoder, mask in present.items()},
        )
        encodings = {
            **alone,
            **{stage: Encoding(one.embeddings[0], one.logits[0]) for stage, one in in_context.items()},
        }
        return {stage: encodings[stage] for stage in stages}

    def _given(self, ids: Sequence[str], modalities: Modalities) -> dict[str, Tensor]:
        """The embeddings from files that a mode reads: (S, E) by encoder."""
        given = self.model.recipe.reading(modalities).given
        refuse_missing(given, self.embeddings)
        for encoder, size in given.items():
            require(self.embeddings[encoder], ids, size, f"embeddings[{encoder!r}]")
        return {encoder: stack(self.embeddings[encoder], ids) for encoder in given}

    def _prediction(self, utterance: Utterance, by_stage: Mapping[str, Sequence[float]]) -> UtterancePrediction:
        known = {stage: row for stage, row in by_stage.items() if not math.isnan(row[0])}
        named = {stage: dict(zip(self.classes, row, strict=True)) for stage, row in known.items()}
        last = next(reversed(named.values()))
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
