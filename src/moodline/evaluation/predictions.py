"""Predict the utterances that a model is scored on: the table that every score is computed from.

Columns: utterance_id, conversation_id, session, speaker, part, fold, stage, label, predicted, temperature and
p_<class>; one row per scored utterance and stage. Probabilities are softmax(logits / temperature); a baseline, or a
model of an older moodline, has no temperature and is not calibrated.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from moodline.config import FUSION, SINGLE_MODALITY_FUSION, Modalities, Recipe
from moodline.conversation import Conversation, LabelSet, Utterance, find_training_overlap
from moodline.errors import MoodlineError
from moodline.evaluation.scores import MAJORITY
from moodline.inference.predictor import Predictor
from moodline.modeling.checkpoint import Provenance
from moodline.timeline.timeline import UtterancePrediction

ROWS_PER_BATCH = 2**12

ProgressCallback = Callable[[str, int, int], None]
"""Receives a name, the number of finished conversations, and their total."""


def refuse_training_overlap(
    provenance: Provenance, conversations: Sequence[Conversation], speaker: str | None = None
) -> None:
    """Refuse to score a model on conversations that trained or selected it.

    Args:
        speaker: the only speaker who is scored; None scores all

    Raises:
        MoodlineError: the model has seen a conversation
    """
    for conversation, use in find_training_overlap(provenance, conversations, speaker):
        raise MoodlineError(
            f"the model was {use} {conversation.id} ({provenance.protocol}, fold {provenance.fold}). "
            "Score it on its test set, or on another corpus.",
            code="evaluation.seen_conversation",
        )


def predict_for_scores(
    predictor: Predictor,
    conversations: Sequence[Conversation],
    labels: LabelSet,
    fold: str,
    progress: Callable[[int], None],
    speaker: str | None = None,
) -> pa.Table:
    """Predict the utterances that have a class, by every stage and by the majority baseline.

    Args:
        labels: the model's classes and the corpus's labels that map to them
        fold: name of the fold in the table
        progress: receives the number of finished conversations
        speaker: the only speaker who is scored, the others being context; None scores all

    Raises:
        MoodlineError: a conversation was in the model's training or validation set, or none has a scored utterance
    """
    refuse_training_overlap(predictor.model.provenance, conversations, speaker)

    def rows() -> Iterator[dict[str, Any]]:
        for done, conversation in enumerate(conversations, start=1):
            yield from iter_rows(predictor, conversation, labels, fold, speaker)
            progress(done)

    return build_table(rows(), labels, len(conversations), speaker)


def build_table(rows: Iterable[dict[str, Any]], labels: LabelSet, conversations: int, speaker: str | None) -> pa.Table:
    """Rows of predictions as a table; no more than some thousand of them are kept as they come.

    Args:
        conversations: how many they are of
        speaker: as in ``predict_for_scores``

    Raises:
        MoodlineError: there is no row
    """
    schema, remaining = build_schema(labels.classes), iter(rows)
    tables: list[pa.Table] = []
    while some := list(islice(remaining, ROWS_PER_BATCH)):
        tables.append(pa.Table.from_pylist(some, schema=schema))
    if not tables:
        raise MoodlineError(
            f"nothing can be scored: no utterance {f'of {speaker} ' if speaker else ''}in {conversations} "
            f"conversations has a label of {labels.name} ({', '.join(labels.mapping)})",
            code="evaluation.no_labels",
        )
    return pa.concat_tables(tables)


def build_schema(classes: Sequence[str]) -> pa.Schema:
    texts = ("utterance_id", "conversation_id", "session", "speaker", "part", "fold", "stage", "label", "predicted")
    return pa.schema(
        [
            *((name, pa.string()) for name in texts),
            ("temperature", pa.float64()),
            *((f"p_{name}", pa.float32()) for name in classes),
        ]
    )


def iter_rows(
    predictor: Predictor, conversation: Conversation, labels: LabelSet, fold: str, speaker: str | None
) -> Iterator[dict[str, Any]]:
    seen = conversation.prepare_for_context(labels, predictor.model.recipe.context)
    modes = predictor.predict_modes(seen)
    for utterance, predicted in zip(seen.utterances, modes["both"].utterances, strict=True):
        refuse_missing_modality(utterance, predicted, predictor.model.recipe)
    majority, temperatures = predictor.model.provenance.majority_class, predictor.model.temperatures
    for turn, facts in iter_scored_turns(seen, labels, fold, speaker):
        of_turn: dict[Modalities, UtterancePrediction] = {mode: of.utterances[turn] for mode, of in modes.items()}
        yield from (facts | one for one in iter_stage_columns(of_turn, temperatures, majority))


def iter_scored_turns(
    conversation: Conversation, labels: LabelSet, fold: str, speaker: str | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over the positions of scored turns, each with the columns that its rows share."""
    for turn, utterance in enumerate(conversation.utterances):
        index = labels.index(utterance.label)
        if index is not None and speaker in (None, utterance.speaker):
            yield turn, get_facts(conversation, utterance) | {"fold": fold, "label": labels.classes[index]}


def refuse_missing_modality(utterance: Utterance, predicted: UtterancePrediction, recipe: Recipe) -> None:
    """Refuse an utterance that a stage cannot predict: stages are compared on the same utterances."""
    if len(predicted.by_stage) < len(recipe.stages):
        raise MoodlineError(
            f"{utterance.id} has no audio, and stages are scored on the same utterances. Prepare the corpus with its "
            "audio, or score a text-only model.",
            code="evaluation.missing_audio",
        )


def get_facts(conversation: Conversation, utterance: Utterance) -> dict[str, Any]:
    return {
        "utterance_id": utterance.id,
        "conversation_id": conversation.id,
        "session": conversation.session,
        "speaker": utterance.speaker,
        "part": conversation.part,
    }


def iter_stage_columns(
    predicted: Mapping[Modalities, UtterancePrediction], temperatures: Mapping[str, float], majority: str
) -> Iterator[dict[str, Any]]:
    """Iterate over the columns of each stage, of the fusion with one modality, and of the majority baseline.

    Args:
        predicted: by mode that the model supports
        temperatures: by stage; the fusion has one for all modes
        majority: the training set's most frequent class, which the baseline always predicts
    """
    both = predicted["both"]
    for stage, probabilities in both.by_stage.items():
        yield build_stage_columns(stage, probabilities, temperatures.get(stage))
    for mode, one in predicted.items():
        if mode != "both":
            yield build_stage_columns(SINGLE_MODALITY_FUSION[mode], one.probabilities, temperatures.get(FUSION))
    yield build_stage_columns(MAJORITY, {name: float(name == majority) for name in both.probabilities})


def build_stage_columns(
    stage: str, probabilities: Mapping[str, float], temperature: float | None = None
) -> dict[str, Any]:
    """Build a stage's own columns of a row from its probabilities."""
    return {
        "stage": stage,
        "predicted": max(probabilities, key=lambda name: probabilities[name]),
        "temperature": temperature,
        **{f"p_{name}": value for name, value in probabilities.items()},
    }
