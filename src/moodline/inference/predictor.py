"""Predict an emotion with its probabilities for every utterance of a conversation."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import chain, compress
from typing import NamedTuple, Self

import torch
from torch import Tensor

from moodline.config import AUDIO_UTTERANCE, FUSION, Modalities
from moodline.conversation import Conversation, Utterance
from moodline.device import choose_device, get_precision, refuse_precision
from moodline.embeddings import (
    Embeddings,
    refuse_missing_embeddings,
    refuse_other_encoders,
    require_embeddings,
    stack_embeddings,
)
from moodline.errors import MoodlineError
from moodline.inference.encode import (
    UtteranceEncoder,
    WaveformReader,
    drop_full_masks,
    find_masks,
    group_conversations,
    list_turns,
    read_waveform,
    refuse_unreadable,
)
from moodline.inference.explain import explain_turns
from moodline.inference.feature_store import FeatureFolder, is_cacheable
from moodline.inference.windows import encode_in_windows
from moodline.modeling.batching import Encoding
from moodline.modeling.checkpoint import TrainedModel
from moodline.modeling.context import number_speakers
from moodline.modeling.model import ENCODER_BY_STAGE, relate_to_speakers
from moodline.timeline.timeline import UNCERTAIN, ConversationPrediction, ModelFacts, UtterancePrediction

# By the reader of the training corpus.
SYNTHETIC_NOTES = {"demo": "trained on synthetic voices; its predictions on real speech are meaningless"}

PrecomputedEmbeddings = Mapping[str, Embeddings]
"""By the utterance encoder that they replace: audio_utterance, text_utterance."""


class UtteranceEncodings(NamedTuple):
    """Utterances without context, by encoder; NaN in the rows of those that lack what it reads."""

    encodings: Mapping[str, Encoding]  # of the model's own encoders
    embeddings: Mapping[str, Tensor]  # (S, E), with precomputed ones

    def select(self, rows: slice) -> "UtteranceEncodings":
        """Select the encodings of some utterances, such as one conversation's."""
        encodings = {name: Encoding(*(one[rows] for one in values)) for name, values in self.encodings.items()}
        return UtteranceEncodings(encodings, {name: values[rows] for name, values in self.embeddings.items()})


class ContextEncodings(NamedTuple):
    """A conversation in context, and what the contexts and the fusion read for it."""

    encodings: Mapping[str, Encoding]  # by stage
    inputs: Mapping[str, Tensor]  # (S, E or 2E) by encoder, zeros for utterances that lack what it reads
    encoded: Mapping[str, Tensor]  # (S,) by encoder, see ``find_masks``
    present: Mapping[str, Tensor] | None
    speakers: Tensor  # (S,), see ``ConversationModel``


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

    def __init__(
        self,
        model: TrainedModel,
        embeddings: PrecomputedEmbeddings | None = None,
        name: str = "",
        batch_seconds: float | None = None,
    ) -> None:
        self.model, self.name, self.classes = model, name, model.label_set.classes
        self.embeddings, self.batch_seconds = embeddings or {}, batch_seconds
        self.features: FeatureFolder | None = None
        self.facts = describe_model(model, name)

    @property
    def device(self) -> torch.device:
        """Return the device that the model computes on."""
        return next(self.model.network.parameters()).device

    def to(self, device: str | torch.device) -> Self:
        """Move the model to another device, for everything that shares it; names and errors as in ``load``."""
        chosen = choose_device(device)
        refuse_precision(get_precision(self.model.network), chosen)
        self.model.network.to(chosen)
        return self

    def with_features(self, folder: FeatureFolder, conversations: Iterable[Conversation]) -> Self:
        """Return the same model, which reads what its frozen encoders compute of conversations from a folder.

        What the folder lacks is computed first and kept there.
        """
        found = copy(self)
        found.features = folder
        turns = [turn for one in conversations for turn in list_turns(one.utterances, self.model.recipe)]
        for stage, part in self.model.network.parts.items():
            if is_cacheable(part):
                read = [turn for turn in turns if turn.utterance.audio is not None or stage != AUDIO_UTTERANCE]
                self.get_encoder(stage).store_features(read, folder.open(part, self.model.tokenizer))
        return found

    def get_encoder(self, stage: str, read: WaveformReader = read_waveform) -> UtteranceEncoder:
        """Return one of the model's utterance encoders."""
        model = self.model
        return UtteranceEncoder(
            stage, model.network.parts[stage], model.recipe, model.tokenizer, read, self.batch_seconds
        )

    def with_embeddings(self, embeddings: PrecomputedEmbeddings) -> Self:
        """Return the same model with precomputed embeddings of its encoders: vectors by utterance id, by encoder."""
        refuse_other_encoders(self.model.recipe, embeddings)
        found = copy(self)
        found.embeddings = embeddings
        return found

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
        (prediction,) = self.predict_all([conversation], modalities, threshold=threshold, reasons=reasons)
        return prediction

    def predict_all(
        self,
        conversations: Iterable[Conversation],
        modalities: Modalities = "both",
        *,
        threshold: float | None = None,
        reasons: bool = False,
    ) -> Iterator[ConversationPrediction]:
        """Predict many conversations, each when its prediction is due; with ``batch_seconds`` they share batches."""
        threshold = self.choose_threshold(threshold)
        return (
            ConversationPrediction(
                conversation_id=one.id,
                utterances=self.predict_encoded(
                    one.utterances, encoded, modalities, threshold=threshold, reasons=reasons
                )
                if one.utterances
                else (),
                modalities=modalities,
            )
            for one, encoded in self.encode_each(conversations, modalities)
        )

    def predict_modes(self, conversation: Conversation) -> dict[Modalities, ConversationPrediction]:
        """Predict in each mode that the fusion was trained in, else in that of both; encode utterances only once."""
        return next(self.predict_all_modes([conversation]))

    def predict_all_modes(
        self, conversations: Iterable[Conversation]
    ) -> Iterator[dict[Modalities, ConversationPrediction]]:
        """Predict many conversations as ``predict_modes`` does."""
        recipe = self.model.recipe
        modes: tuple[Modalities, ...] = recipe.fusion.supported_modalities if FUSION in recipe.stages else ("both",)
        for one, encoded in self.encode_each(conversations):
            yield {
                mode: ConversationPrediction(
                    conversation_id=one.id,
                    utterances=self.predict_encoded(one.utterances, encoded, mode) if one.utterances else (),
                    modalities=mode,
                )
                for mode in (modes if "both" in modes else ("both",))
            }

    def encode(self, conversation: Conversation, modalities: Modalities = "both") -> Mapping[str, Encoding]:
        """Encode a conversation by each stage: embeddings (S, D) and logits (S, classes), NaN without its input."""
        encoded = self.encode_present(conversation, modalities)
        return self.encode_in_context(conversation.utterances, encoded, modalities).encodings

    def encode_present(self, conversation: Conversation, modalities: Modalities = "both") -> UtteranceEncodings:
        """Encode a conversation's utterances without context; refuse one that has nothing to read."""
        refuse_unreadable(conversation.utterances, conversation.id, self.model.recipe, modalities)
        return self.encode_utterances(conversation.utterances, modalities)

    def encode_each(
        self, conversations: Iterable[Conversation], modalities: Modalities = "both"
    ) -> Iterator[tuple[Conversation, UtteranceEncodings]]:
        """Encode each conversation as ``encode_present`` does, several together with ``batch_seconds``."""
        for group in group_conversations(conversations, self.batch_seconds):
            for one in (one for one in group if one.utterances):
                refuse_unreadable(one.utterances, one.id, self.model.recipe, modalities)
            encoded = self.encode_together([one.utterances for one in group if one.utterances], modalities)
            first = 0
            for one in group:
                rows = slice(first, first := first + len(one.utterances))
                yield one, encoded.select(rows)

    def encode_utterances(
        self,
        utterances: Sequence[Utterance],
        modalities: Modalities = "both",
        read: WaveformReader = read_waveform,
        before: Iterable[Utterance] = (),
    ) -> UtteranceEncodings:
        """Encode a conversation's utterances by the utterance encoders; raises the errors of ``predict``.

        Args:
            before: the turns before the first one, which an encoder with ``context_words`` reads
        """
        return self.encode_together([utterances], modalities, read, before)

    def encode_together(
        self,
        conversations: Sequence[Sequence[Utterance]],
        modalities: Modalities = "both",
        read: WaveformReader = read_waveform,
        before: Iterable[Utterance] = (),
    ) -> UtteranceEncodings:
        """Encode the utterances of several conversations, one conversation after the other, in shared batches."""
        utterances = list(chain.from_iterable(conversations))
        model, ids = self.model, [utterance.id for utterance in utterances]
        turns = [turn for one in conversations for turn in list_turns(one, model.recipe, before)]
        encodings: dict[str, Encoding] = {}
        embeddings: dict[str, Tensor] = {}
        if not utterances:
            return UtteranceEncodings(encodings, embeddings)
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
                chosen = list(compress(turns, mask.tolist()))
                found = self.get_encoder(encoder, read).encode(chosen, self.features)
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
            config, values = getattr(recipe, stage), encoded.embeddings[encoder]  # (S, E)
            inputs[encoder] = values.new_zeros(len(values), config.count_inputs(values.shape[1]))
            if mask.any():
                own = [utterance.speaker for utterance in compress(utterances, mask.tolist())]
                inputs[encoder][mask] = relate_to_speakers(values[mask], own, config)
        speakers = number_speakers([utterance.speaker for utterance in utterances])
        in_context = encode_in_windows(self.model.network, inputs, encoded=masks, present=present, speakers=speakers)
        encodings = {**encoded.encodings, **in_context}
        by_stage = {stage: encodings[stage] for stage in recipe.select_stages(modalities)}
        return ContextEncodings(by_stage, inputs, masks, present, speakers)

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
        temperature = model.get_temperature(FUSION)
        found = explain_turns(model.network, in_context.inputs, temperature, in_context.present, in_context.speakers)
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

    def choose_threshold(self, threshold: float | None) -> float | None:
        """Return a threshold, or the model's own in place of None.

        Raises:
            MoodlineError: it is outside 0 to 1, or the model has a class named ``UNCERTAIN``
        """
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
        return self.model.threshold if threshold is None else threshold
