"""A model's embeddings of whole corpora: the way out of ``moodline.embeddings``."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from torch import Tensor

from moodline.config import AUDIO_CONTEXT, AUDIO_UTTERANCE, FUSION, TEXT_CONTEXT, TEXT_UTTERANCE
from moodline.conversation import Conversation
from moodline.embeddings import SeenByModel, embeddings_writer, unique_ids
from moodline.errors import MoodlineError
from moodline.inference.predictor import Predictor
from moodline.seen import joined

# What can be asked for: stages, each with the name of its file.
CHOICES: Mapping[str, Mapping[str, str]] = {
    "utterance": {AUDIO_UTTERANCE: "audio.parquet", TEXT_UTTERANCE: "text.parquet"},
    "context": {AUDIO_CONTEXT: "audio.parquet", TEXT_CONTEXT: "text.parquet"},
    "fusion": {FUSION: "fusion.parquet"},
}


def embed(
    predictor: Predictor,
    conversations: Sequence[Conversation],
    chosen: str,
    out: Path,
    progress: Callable[[int], None] = lambda done: None,
    seen: Sequence[SeenByModel] = (),
) -> list[Path]:
    """Write what a model's utterance, context or fusion stages give for every utterance, a file a stage.

    Args:
        chosen: utterance, context or fusion; the last two read each conversation as a whole
        out: the files' folder
        progress: told how many conversations are done
        seen: by the models behind the embeddings that the model was given

    Raises:
        MoodlineError: the model has no such stage, there is no utterance, or an utterance id is in two conversations
    """
    files = {stage: name for stage, name in CHOICES[chosen].items() if stage in predictor.model.recipe.stages}
    if not files:
        stages = predictor.model.recipe.stages
        others = " or ".join(choice for choice, names in CHOICES.items() if names.keys() & set(stages))
        raise MoodlineError(f"this model has no stage {chosen}, only {', '.join(stages)}: choose --stage {others}")
    if not unique_ids(conversations):
        raise MoodlineError("nothing can be embedded: the corpus has no utterance; prepare it again")
    all_seen = [predictor.model.provenance, *seen]
    by_all = SeenByModel(
        trained_on=joined(one.trained_on for one in all_seen),
        selected_on=joined(one.selected_on for one in all_seen),
        selected_on_turns=joined(one.selected_on_turns for one in all_seen),
        notes=joined(one.notes for one in all_seen),
    )
    with ExitStack() as stack:
        writers = {stage: stack.enter_context(embeddings_writer(out / name, by_all)) for stage, name in files.items()}
        for done, conversation in enumerate(conversations, start=1):
            if conversation.utterances:
                encodings = predictor.encode(conversation)
                ids = [utterance.id for utterance in conversation.utterances]
                for stage, writer in writers.items():
                    refuse_unheard(stage, ids, encodings[stage].embeddings)
                    writer.add(ids, encodings[stage].embeddings)
            progress(done)
    return [out / name for name in files.values()]


def refuse_unheard(stage: str, ids: Sequence[str], embeddings: Tensor) -> None:
    """Refuse to embed utterances that lack what a stage reads: their rows (S, D) are NaN."""
    lacking = [one for one, row in zip(ids, embeddings, strict=True) if row.isnan().any()]
    if lacking:
        raise MoodlineError(f"every utterance is embedded, and {stage} has nothing of {lacking[0]}, which has no audio")
