"""Predict an emotion with its probabilities for every utterance of a conversation."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from moodline.config import FUSION, Modalities
from moodline.conversation import Conversation, Utterance
from moodline.device import choose_device
from moodline.embeddings import (
    Embeddings,
    refuse_missing_embeddings,
    refuse_other_encoders,
    require_embeddings,
    stack_embeddings,
)
from moodline.errors import MoodlineError
from moodline.inference.encode import (
    WaveformReader,
    drop_full_masks,
    encode_in_windows,
    encode_utterances,
    find_masks,
    read_waveform,
    refuse_unreadable,
)
from moodline.inference.explain import explain_turns
from moodline.modeling.batching import Encoding
from moodline.modeling.checkpoint import TrainedModel
from moodline.modeling.context import subtract_speaker_means
from moodline.modeling.model import ENCODER_BY_STAGE
from moodline.timeline.timeline import UNCERTAIN, ConversationPrediction, ModelFacts, UtterancePrediction

# By the reader of the training corpus.
SYNTHETIC_NOTES = {"demo": "trained on synthetic voices; its predictions on real speech are meaningless"}

PrecomputedEmbeddings = Mapping[str, Embeddings]
"""By the utterance encoder that they replace: audio_utterance, text_utterance."""


class UtteranceEncodings(NamedTuple):
    """Utterances without context, by encoder; NaN in the rows of those that lack what it reads."""

    encodings: Mapping[str, Encoding]  # of the model's own encoders
    embeddings: Mapping[str, Tensor]  # (S, E), with precomputed ones


class ContextEncodings(NamedTuple):
    """A conversation in context, and what the contexts and the fusion read for it."""

    encodings: Mapping[str, Encoding]  # by stage
    inputs: Mapping[str, Tensor]  # (S, E) by encoder, zeros for utterances that lack what it reads
    encoded: Mapping[str, Tensor]  # (S,) by encoder, see ``find_masks``
    present: Mapping[str, Tensor] | None


def describe_model(model: TrainedModel, name: str) -> ModelFacts:
    """Collect a model's name, its training corpus, and the notes that accompany all its predictions."""
    provenance = model.provenance
    synthetic = [note for reader, note in SYNTHETIC_NOTES.items() if reader == provenance.corpus_reader]
    return ModelFacts(
        name=name,
        trained_on=f"{provenance.corpus_reader} ({len(provenance.trained_on)} conversations)",
        licence=provenance.licence_text,
        notes=(*synthetic, *provenance.notes),
    )


class Predictor:
    """Predicts conversations with one trained model, or its precomputed embeddings; ``name`` is for its timelines.

    ``moodline.Model`` also reads recordings and texts.
    """

    def __init__(self, model: TrainedModel, embeddings: PrecomputedEmbeddings | None = None, name: str = "") -> None:
        self.model, self.name, self.classes = model, name, model.label_set.classes
        self.embeddings = embeddings or {}
        self.facts = describe_model(model, name)

    @property
    def device(self) -> torch.device:
        """Return the device that the model computes on."""
        return next(self.model.network.parameters()).device

    def to(self, device: str | torch.device) -> Self:
        """Move the model to another device, for everything that shares it; names and errors as in ``load``."""
        self.model.network.to(choose_device(device))
        return self

    def with_embeddings(self, embeddings: PrecomputedEmbeddings) -> Self:
        """Return the same model with precomputed embeddings of its encoders: vectors by utterance id, by encoder."""
        refuse_other_encoders(self.model.recipe, embeddings)
        return type(self)(self.model, embeddings, self.name)

    def predict(
        self,
        conversation: Conversation,
        modalities: Modalities = "both",
        *,
        threshold: float | None = None,
        reasons: bool = False,
    ) -> ConversationPrediction:
        """Predict every utterance of a conversation, from the whole of it, as ``moodline.Model.predict`` does.

        If a model of both modalities reads only one, its fusion predicts if it was trained with modality dropout, else
        the modality's context stage; each utterance's ``stage`` names it. With modality dropout, utterances may lack
        audio or words as long as some have them.
        """
        self.refuse_threshold(threshold)
        utterances, predictions = conversation.utterances, ()
        if utterances:
            encoded = self.encode_present(conversation, modalities)
            predictions = self.predict_encoded(utterances, encoded, modalities, threshold=threshold, reasons=reasons)
        return ConversationPrediction(conversation_id=conversation.id, utterances=predictions, modalities=modalities)

    def predict_modes(self, conversation: Conversation) -> dict[Modalities, ConversationPrediction]:
        """Predict in each mode that the fusion was trained in, else in that of both; encode utterances only once."""
        recipe, utterances = self.model.recipe, conversation.utterances
        modes: tuple[Modalities, ...] = recipe.fusion.supported_modalities if FUSION in recipe.stages else ("both",)
        encoded = self.encode_present(conversation) if utterances else None
        return {
            mode: ConversationPrediction(
                conversation_id=conversation.id,
                utterances=self.predict_encoded(utterances, encoded, mode) if encoded else (),
                modalities=mode,
            )
            for mode in (modes if "both" in modes else ("both",))
        }

    def predict_all(
        self, conversations: Sequence[Conversation], modalities: Modalities = "both", **options: Any
    ) -> Iterator[ConversationPrediction]:
        """Predict many conversations, each when its prediction is due."""
        self.refuse_threshold(options.get("threshold"))
        return (self.predict(one, modalities, **options) for one in conversations)

    def encode(self, conversation: Conversation, modalities: Modalities = "both") -> Mapping[str, Encoding]:
        """Encode a conversation by each stage: embeddings (S, D) and logits (S, classes), NaN without its input."""
        encoded = self.encode_present(conversation, modalities)
        return self.encode_in_context(conversation.utterances, encoded, modalities).encodings

    def encode_present(self, conversation: Conversation, modalities: Modalities = "both") -> UtteranceEncodings:
        """Encode a conversation's utterances without context; refuse one that has nothing to read."""
        refuse_unreadable(conversation.utterances, conversation.id, self.model.recipe, modalities)
        return self.encode_utterances(conversation.utterances, modalities)

    def encode_utterances(
        self, utterances: Sequence[Utterance], modalities: Modalities = "both", read: WaveformReader = read_waveform
    ) -> UtteranceEncodings:
        """Encode utterances without context; raises the errors of ``predict``."""
        model, ids = self.model, [utterance.id for utterance in utterances]
        encodings: dict[str, Encoding] = {}
        embeddings: dict[str, Tensor] = {}
        for encoder, mask in find_masks(utterances, model.recipe, modalities)[0].items():
            config = getattr(model.recipe, encoder)
            if config.given:
                refuse_missing_embeddings({encoder: config.embedding}, self.embeddings)
                require_embeddings(self.embeddings[encoder], ids, config.embedding, f"embeddings[{encoder!r}]")
                embeddings[encoder] = stack_embeddings(self.embeddings[encoder], ids)
                continue
            sizes = config.embedding, len(self.classes)
            encodings[encoder] = Encoding(*(torch.full((len(ids), size), math.nan) for size in sizes))
            embeddings[encoder] = encodings[encoder].embeddings
            if mask.any():
                part, chosen = model.network.parts[encoder], list(compress(utterances, mask.tolist()))
                found = encode_utterances(encoder, part, chosen, model.recipe, model.tokenizer, read)
                for values, rows in zip(encodings[encoder], found, strict=True):
                    values[mask] = rows
        return UtteranceEncodings(encodings, embeddings)

    def encode_in_context(
        self, utterances: Sequence[Utterance], encoded: UtteranceEncodings, modalities: Modalities = "both"
    ) -> ContextEncodings:
        """Encode a conversation by all stages of a mode, from its utterances' encodings."""
        recipe = self.model.recipe
        masks, present = find_masks(utterances, recipe, modalities)
        inputs: dict[str, Tensor] = {}
        for stage, encoder in ENCODER_BY_STAGE.items():
            if encoder not in masks:
                continue
            mask = masks[encoder]
            inputs[encoder] = values = encoded.embeddings[encoder].masked_fill(~mask[:, None], 0.0)  # a copy (S, E)
            if getattr(recipe, stage).speaker_relative:
                speakers = [utterance.speaker for utterance in compress(utterances, mask.tolist())]
                values[mask] = subtract_speaker_means(values[mask], speakers)
        in_context = encode_in_windows(self.model.network, inputs, encoded=masks, present=present)
        encodings = {**encoded.encodings, **in_context}
        by_stage = {stage: encodings[stage] for stage in recipe.select_stages(modalities)}
        return ContextEncodings(by_stage, inputs, masks, present)

    def predict_encoded(
        self,
        utterances: Sequence[Utterance],
        encoded: UtteranceEncodings,
        modalities: Modalities = "both",
        *,
        threshold: float | None = None,
        reasons: bool = False,
    ) -> tuple[UtterancePrediction, ...]:
        """Predict a conversation from its utterances' encodings."""
        in_context = self.encode_in_context(utterances, encoded, modalities)
        predictions = self.build_predictions(utterances, in_context.encodings, threshold)
        if not reasons:
            return predictions
        if drop_full_masks(in_context.encoded) is not None:
            silent = sum(utterance.audio is None for utterance in utterances)
            raise MoodlineError(
                f"explanations need audio, and {silent} of {len(utterances)} utterances have none: leave out --explain "
                "(in Python reasons)",
                code="model.no_reasons",
            )
        model = self.model
        found = explain_turns(model.network, in_context.inputs, model.get_temperature(FUSION), in_context.present)
        return tuple(replace(one, reasons=its) for one, its in zip(predictions, found, strict=True))

    def build_predictions(
        self, utterances: Sequence[Utterance], encodings: Mapping[str, Encoding], threshold: float | None = None
    ) -> tuple[UtterancePrediction, ...]:
        """Build the predictions of S utterances from encodings (S, ...) by stage; NaN rows give none."""
        rows: dict[str, list[list[float]]] = {}
        for stage, encoding in encodings.items():
            # In double precision, different logits have different probabilities at any temperature.
            logits = encoding.logits.double() / self.model.get_temperature(stage)
            rows[stage] = logits.softmax(dim=-1).tolist()
        predictions: list[UtterancePrediction] = []
        for row, utterance in enumerate(utterances):
            by_stage = {
                stage: dict(zip(self.classes, values[row], strict=True))
                for stage, values in rows.items()
                if not math.isnan(values[row][0])
            }
            last = next(reversed(by_stage.values()))
            best = max(last, key=lambda name: last[name])
            predictions.append(
                UtterancePrediction(
                    id=utterance.id,
                    speaker=utterance.speaker,
                    start=utterance.start,
                    end=utterance.end,
                    words=utterance.words,
                    label=best if last[best] >= (threshold or 0.0) else UNCERTAIN,
                    best=best,
                    probabilities=last,
                    by_stage=by_stage,
                )
            )
        return tuple(predictions)

    def refuse_threshold(self, threshold: float | None) -> None:
        """Refuse a threshold outside 0 to 1, and any threshold for a model with a class named ``UNCERTAIN``."""
        is_number = isinstance(threshold, int | float)
        if threshold is not None and not (is_number and 0 <= threshold <= 1):
            raise MoodlineError(
                f"a threshold is a probability, from 0 to 1, not {threshold!r}", code="option.out_of_range"
            )
        if threshold is not None and UNCERTAIN in self.classes:
            raise MoodlineError(
                f"the label {UNCERTAIN!r} is also a class of {self.model.label_set.name}: leave out the threshold",
                code="option.unfit_threshold",
            )
