"""A trained model and conversations: an emotion with its probabilities for every utterance."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from moodline.config import ENCODERS, FUSION, Modalities
from moodline.conversation import Conversation, Utterance
from moodline.device import choose_device, device_of
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
    build_context_input,
    drop_full_masks,
    encode_utterances,
    find_encoded,
    find_fused,
    read_waveform,
    refuse_unreadable,
    scatter_rows,
    select_utterances,
)
from moodline.inference.explain import explain_turns
from moodline.inference.windows import encode_in_windows
from moodline.modeling.batching import Encoding
from moodline.modeling.checkpoint import TrainedModel
from moodline.modeling.model import ENCODER_BY_STAGE
from moodline.timeline.timeline import UNCERTAIN, ConversationPrediction, UtterancePrediction

PrecomputedEmbeddings = Mapping[str, Embeddings]
"""By the utterance encoder whose place they take: audio_utterance, text_utterance."""


class UtteranceEncodings(NamedTuple):
    """Utterances, each by itself.

    ``encodings`` are those of the model's own encoders; ``embeddings`` (S, E) by encoder are what its contexts read,
    those from files included. The rows of utterances that lack what an encoder reads are NaN.
    """

    encodings: Mapping[str, Encoding]
    embeddings: Mapping[str, Tensor]


class Predictor:
    """Predicts with one trained model. What ``moodline.load`` gives also reads recordings: ``loaded.Model``.

    Args:
        model: a model folder's content
        embeddings: what a model that was trained on embeddings from files reads in the place of its encoders
        name: by which its timelines name the model
    """

    def __init__(self, model: TrainedModel, embeddings: PrecomputedEmbeddings | None = None, name: str = "") -> None:
        self.model = model
        self.name = name
        self.embeddings = embeddings or {}

    @property
    def classes(self) -> tuple[str, ...]:
        return self.model.label_set.classes

    @property
    def device(self) -> torch.device:
        """The device that the model computes on."""
        return device_of(self.model.network)

    def to(self, device: str | torch.device) -> Self:
        """Move the model to another device, for everything that shares it; names and errors are those of ``load``."""
        self.model.network.to(choose_device(device))
        return self

    def with_embeddings(self, embeddings: PrecomputedEmbeddings) -> Self:
        """The same model with these embeddings to read: vectors by utterance id, by encoder.

        Raises:
            MoodlineError: the model does not read embeddings in the place of these encoders, or of others too
        """
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
        """Label every utterance of a conversation, from the whole of it; with ``reasons`` it says why.

        A conversation longer than a window is read in windows that overlap (``moodline.inference.windows``). Where one
        of the model's two modalities is read alone, its fusion answers if it was trained with modality dropout, else
        the modality's context stage; each utterance's ``stage`` names it. With modality dropout turns may lack audio,
        or words, as long as some have it.

        Args:
            modalities: both, or audio or text alone
            threshold: from 0 to 1; below it the label is ``UNCERTAIN``, and the probabilities are as they are

        Raises:
            MoodlineError: an utterance lacks audio or embeddings that the model needs, or they cannot be read; the
                model does not read this modality, or nothing in the conversation has it; or the threshold is no
                probability, or a class has the name of what it answers; or a path or samples stand in its place
        """
        if not isinstance(conversation, Conversation):
            raise MoodlineError(
                f"predict labels a moodline.Conversation, not a {type(conversation).__name__}: a recording's file or "
                "samples, or a table of words, are labelled by recognise"
            )
        self.refuse_threshold(threshold)
        utterances = conversation.utterances
        if not utterances:
            return ConversationPrediction(conversation_id=conversation.id, utterances=(), modalities=modalities)
        alone = self.encode_present(conversation, modalities)
        predictions = self.predict_encoded(utterances, alone, modalities, threshold=threshold, reasons=reasons)
        return ConversationPrediction(conversation_id=conversation.id, utterances=predictions, modalities=modalities)

    def predict_modes(self, conversation: Conversation) -> dict[Modalities, ConversationPrediction]:
        """What ``predict`` says in each mode that the fusion was trained in, or else in that of both.

        Utterances are encoded once for all of them.
        """
        fusion, utterances = self.model.recipe.fusion, conversation.utterances
        modes = (
            fusion.supported_modalities
            if FUSION in self.model.recipe.stages and "both" in fusion.supported_modalities
            else ("both",)
        )
        if not utterances:
            return {mode: self.predict(conversation) for mode in modes}
        alone = self.encode_present(conversation, "both")
        return {
            mode: ConversationPrediction(
                conversation_id=conversation.id,
                utterances=self.predict_encoded(utterances, alone, mode),
                modalities=mode,
            )
            for mode in modes
        }

    def predict_encoded(
        self,
        utterances: Sequence[Utterance],
        alone: UtteranceEncodings,
        modalities: Modalities = "both",
        *,
        threshold: float | None = None,
        reasons: bool = False,
    ) -> tuple[UtterancePrediction, ...]:
        """The same of utterances that are encoded already, each by itself.

        Raises:
            MoodlineError: reasons are asked for, and an utterance lacks audio that the others have
        """
        predictions = self.build_predictions(
            utterances, self.encode_in_context(utterances, alone, modalities), threshold
        )
        if not reasons:
            return predictions
        reads, present = self._build_masks(utterances, modalities)
        if reads is not None:
            raise MoodlineError(
                "reasons are told where every turn has the audio that is read, and some have none: leave out --explain "
                "(in Python reasons), or label from the words alone"
            )
        read = self._build_context_inputs(utterances, alone, modalities)
        why = explain_turns(self.model.network, read, self.probabilities, present)
        return tuple(replace(one, reasons=its) for one, its in zip(predictions, why, strict=True))

    def build_predictions(
        self, utterances: Sequence[Utterance], encodings: Mapping[str, Encoding], threshold: float | None = None
    ) -> tuple[UtterancePrediction, ...]:
        """What encodings (S, ...) by each of the stages say of S utterances; nothing where their rows are NaN."""
        probabilities = self.probabilities(encodings)
        rows = zip(*(values.tolist() for values in probabilities.values()), strict=True)
        return tuple(
            self._build_prediction(utterance, dict(zip(probabilities, row, strict=True)), threshold or 0.0)
            for utterance, row in zip(utterances, rows, strict=True)
        )

    def probabilities(self, encodings: Mapping[str, Encoding]) -> dict[str, Tensor]:
        """Of each class by some of the stages: (..., classes)."""
        return {
            # In double precision, where what differs in the logits differs here at any temperature.
            stage: (encoding.logits.double() / self.model.get_temperature(stage)).softmax(dim=-1)
            for stage, encoding in encodings.items()
        }

    def predict_all(
        self,
        conversations: Sequence[Conversation],
        modalities: Modalities = "both",
        *,
        threshold: float | None = None,
        reasons: bool = False,
    ) -> Iterator[ConversationPrediction]:
        """Predictions of many conversations, each as soon as it is ready."""
        self.refuse_threshold(threshold)
        return (self.predict(one, modalities, threshold=threshold, reasons=reasons) for one in conversations)

    def encode(self, conversation: Conversation, modalities: Modalities = "both") -> dict[str, Encoding]:
        """Each stage's embeddings (S, D) and logits (S, classes), in the order of the stages; errors as of predict.

        Rows of utterances that lack what a stage reads are NaN.
        """
        alone = self.encode_present(conversation, modalities)
        return self.encode_in_context(conversation.utterances, alone, modalities)

    def encode_present(self, conversation: Conversation, modalities: Modalities = "both") -> UtteranceEncodings:
        """A conversation's utterances, each by itself, as far as they have what is read; errors as of predict."""
        recipe, utterances = self.model.recipe, conversation.utterances
        refuse_unreadable(utterances, conversation.id, recipe, modalities)
        return self.encode_utterances(utterances, modalities=modalities, masks=find_encoded(utterances, recipe))

    def encode_utterances(
        self,
        utterances: Sequence[Utterance],
        sound: WaveformReader = read_waveform,
        modalities: Modalities = "both",
        masks: Mapping[str, Tensor] | None = None,
    ) -> UtteranceEncodings:
        """Each utterance by itself.

        Args:
            sound: what an encoder of speech hears of an utterance
            modalities: whose encoders read it
            masks: by encoder, (S,), the utterances that it reads; all if left out

        Raises:
            MoodlineError: as of predict
        """
        recipe = self.model.recipe
        encodings: dict[str, Encoding] = {}
        for stage in ENCODERS:
            if stage in recipe.select_stages(modalities):
                mask = torch.ones(len(utterances), dtype=torch.bool) if masks is None else masks[stage]
                found = self._encode(stage, select_utterances(utterances, mask), sound)
                encodings[stage] = Encoding(*(scatter_rows(rows, mask, math.nan) for rows in found))
        given = self._stack_precomputed([utterance.id for utterance in utterances], modalities)
        return UtteranceEncodings(
            encodings, given | {stage: encoding.embeddings for stage, encoding in encodings.items()}
        )

    def _encode(self, stage: str, utterances: Sequence[Utterance], sound: WaveformReader) -> Encoding:
        recipe = self.model.recipe
        if not utterances:
            return Encoding(torch.empty(0, getattr(recipe, stage).embedding), torch.empty(0, len(self.classes)))
        part, tokenizer = self.model.network.parts[stage], self.model.tokenizer
        return encode_utterances(stage, part, utterances, recipe, tokenizer, sound)

    def encode_in_context(
        self, utterances: Sequence[Utterance], alone: UtteranceEncodings, modalities: Modalities = "both"
    ) -> dict[str, Encoding]:
        """A conversation's utterances by all stages of a mode, from what each gives by itself."""
        reads, present = self._build_masks(utterances, modalities)
        read = self._build_context_inputs(utterances, alone, modalities)
        in_context = encode_in_windows(self.model.network, read, encoded=reads, present=present)
        encodings = {**alone.encodings, **in_context}
        return {stage: encodings[stage] for stage in self.model.recipe.select_stages(modalities)}

    def _build_context_inputs(
        self, utterances: Sequence[Utterance], alone: UtteranceEncodings, modalities: Modalities
    ) -> dict[str, Tensor]:
        """What the contexts read of a conversation: (S, E) by encoder, zeros of utterances that lack it."""
        recipe, masks = self.model.recipe, find_encoded(utterances, self.model.recipe)
        read: dict[str, Tensor] = {}
        for stage, encoder in ENCODER_BY_STAGE.items():
            if stage in recipe.select_stages(modalities):
                mask = masks[encoder]
                rows = build_context_input(
                    stage, recipe, alone.embeddings[encoder][mask], select_utterances(utterances, mask)
                )
                read[encoder] = scatter_rows(rows, mask, 0.0)
        return read

    def _build_masks(
        self, utterances: Sequence[Utterance], modalities: Modalities
    ) -> tuple[dict[str, Tensor] | None, dict[str, Tensor] | None]:
        """Which utterances the contexts and the fusion read, each (S,) by encoder, or None where that is all."""
        recipe = self.model.recipe
        stages = recipe.select_stages(modalities)
        masks = find_encoded(utterances, recipe)
        read = {encoder: masks[encoder] for stage, encoder in ENCODER_BY_STAGE.items() if stage in stages}
        return drop_full_masks(read), drop_full_masks(
            find_fused(utterances, recipe, modalities) if FUSION in stages else None
        )

    def _stack_precomputed(self, ids: Sequence[str], modalities: Modalities) -> dict[str, Tensor]:
        """The embeddings from files that a mode reads: (S, E) by encoder."""
        given = self.model.recipe.restrict_to(modalities).given
        refuse_missing_embeddings(given, self.embeddings)
        for encoder, size in given.items():
            require_embeddings(self.embeddings[encoder], ids, size, f"embeddings[{encoder!r}]")
        return {encoder: stack_embeddings(self.embeddings[encoder], ids) for encoder in given}

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

    def _build_prediction(
        self, utterance: Utterance, by_stage: Mapping[str, Sequence[float]], threshold: float
    ) -> UtterancePrediction:
        known = {stage: row for stage, row in by_stage.items() if not math.isnan(row[0])}
        named = {stage: dict(zip(self.classes, row, strict=True)) for stage, row in known.items()}
        last = next(reversed(named.values()))
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
