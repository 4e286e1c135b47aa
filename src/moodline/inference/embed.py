"""Files of a model's embeddings of whole corpora, which ``moodline.embeddings`` reads."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from moodline.config import AUDIO_CONTEXT, AUDIO_UTTERANCE, FUSION, TEXT_CONTEXT, TEXT_UTTERANCE
from moodline.conversation import Conversation, merge_fingerprints
from moodline.embeddings import TrainingRecord, collect_unique_ids, open_embeddings_writer, read_producer
from moodline.errors import MoodlineError
from moodline.inference.predictor import Predictor
from moodline.modeling.checkpoint import hash_weights

STAGE_FILES: Mapping[str, Mapping[str, str]] = {
    "utterance": {AUDIO_UTTERANCE: "audio.parquet", TEXT_UTTERANCE: "text.parquet"},
    "context": {AUDIO_CONTEXT: "audio.parquet", TEXT_CONTEXT: "text.parquet"},
    "fusion": {FUSION: "fusion.parquet"},
}


def write_model_embeddings(
    predictor: Predictor,
    conversations: Sequence[Conversation],
    choice: str,
    out: Path,
    progress: Callable[[int], None] = lambda done: None,
    records: Sequence[TrainingRecord] = (),
) -> list[Path]:
    """Write every utterance's embeddings by a model's utterance, context or fusion stages, a file a stage.

    Args:
        choice: utterance, context or fusion; the last two read each conversation as a whole
        out: the files' folder
        progress: receives the number of finished conversations
        records: of the models behind the precomputed embeddings that the model reads
    """
    model = predictor.model
    files = {stage: name for stage, name in STAGE_FILES[choice].items() if stage in model.recipe.stages}
    if not files:
        others = " or ".join(one for one, names in STAGE_FILES.items() if names.keys() & set(model.recipe.stages))
        raise MoodlineError(
            f"this model has no stage {choice}, only {', '.join(model.recipe.stages)}: choose --stage {others}",
            code="embeddings.no_stage",
        )
    if not collect_unique_ids(conversations):
        raise MoodlineError("the corpus has no utterance to embed: prepare it again", code="embeddings.no_utterance")
    maker = f"{choice} {hash_weights(model.network)}"
    for name in sorted({name for names in STAGE_FILES.values() for name in names.values()}):
        if (out / name).is_file() and read_producer(out / name) != maker:
            raise MoodlineError(
                f"{out / name} was made by another model or stage: choose another folder", code="embeddings.other_maker"
            )
    sources = [model.provenance, *records]
    record = TrainingRecord(
        trained_on=merge_fingerprints(one.trained_on for one in sources),
        selected_on=merge_fingerprints(one.selected_on for one in sources),
        selected_on_turns=merge_fingerprints(one.selected_on_turns for one in sources),
        notes=merge_fingerprints(one.notes for one in sources),
    )
    with ExitStack() as stack:
        writers = {
            stage: stack.enter_context(open_embeddings_writer(out / name, record, maker))
            for stage, name in files.items()
        }
        for done, (conversation, encoded) in enumerate(predictor.encode_each(conversations), start=1):
            if ids := [utterance.id for utterance in conversation.utterances]:
                encodings = predictor.encode_in_context(conversation.utterances, encoded).encodings
                for stage, writer in writers.items():
                    embeddings = encodings[stage].embeddings  # (S, D), NaN in rows of utterances without audio
                    lacking = [name for name, row in zip(ids, embeddings, strict=True) if row.isnan().any()]
                    if lacking:
                        raise MoodlineError(
                            f"{lacking[0]} has no audio, which {stage} needs: add it", code="embeddings.missing_audio"
                        )
                    writer.add(ids, embeddings)
            progress(done)
    return [out / name for name in files.values()]
