"""A model's embeddings of whole corpora: the way out of ``moodline.embeddings``."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor, nn

from moodline.config import AUDIO_CONTEXT, AUDIO_UTTERANCE, FUSION, TEXT_CONTEXT, TEXT_UTTERANCE
from moodline.conversation import Conversation, merge_fingerprints
from moodline.embeddings import TrainingRecord, collect_unique_ids, open_embeddings_writer, read_producer
from moodline.errors import MoodlineError
from moodline.inference.predictor import Predictor

# What can be asked for: stages, each with the name of its file.
STAGE_FILES: Mapping[str, Mapping[str, str]] = {
    "utterance": {AUDIO_UTTERANCE: "audio.parquet", TEXT_UTTERANCE: "text.parquet"},
    "context": {AUDIO_CONTEXT: "audio.parquet", TEXT_CONTEXT: "text.parquet"},
    "fusion": {FUSION: "fusion.parquet"},
}


def write_model_embeddings(
    predictor: Predictor,
    conversations: Sequence[Conversation],
    chosen: str,
    out: Path,
    progress: Callable[[int], None] = lambda done: None,
    seen: Sequence[TrainingRecord] = (),
) -> list[Path]:
    """Write what a model's utterance, context or fusion stages give for every utterance, a file a stage.

    Args:
        chosen: utterance, context or fusion; the last two read each conversation as a whole
        out: the files' folder
        progress: told how many conversations are done
        seen: by the models behind the embeddings that the model was given

    Raises:
        MoodlineError: the model has no such stage, there is no utterance, an utterance id is in two conversations, or
            the folder holds embeddings of another model or stage
    """
    files = {stage: name for stage, name in STAGE_FILES[chosen].items() if stage in predictor.model.recipe.stages}
    if not files:
        stages = predictor.model.recipe.stages
        others = " or ".join(choice for choice, names in STAGE_FILES.items() if names.keys() & set(stages))
        raise MoodlineError(f"this model has no stage {chosen}, only {', '.join(stages)}: choose --stage {others}")
    if not collect_unique_ids(conversations):
        raise MoodlineError("nothing can be embedded: the corpus has no utterance; prepare it again")
    maker = f"{chosen} {hash_weights(predictor.model.network)}"
    refuse_foreign_embeddings(out, maker)
    all_seen = [predictor.model.provenance, *seen]
    by_all = TrainingRecord(
        trained_on=merge_fingerprints(one.trained_on for one in all_seen),
        selected_on=merge_fingerprints(one.selected_on for one in all_seen),
        selected_on_turns=merge_fingerprints(one.selected_on_turns for one in all_seen),
        notes=merge_fingerprints(one.notes for one in all_seen),
    )
    with ExitStack() as stack:
        writers = {
            stage: stack.enter_context(open_embeddings_writer(out / name, by_all, maker))
            for stage, name in files.items()
        }
        for done, conversation in enumerate(conversations, start=1):
            if conversation.utterances:
                encodings = predictor.encode(conversation)
                ids = [utterance.id for utterance in conversation.utterances]
                for stage, writer in writers.items():
                    refuse_missing_modality(stage, ids, encodings[stage].embeddings)
                    writer.add(ids, encodings[stage].embeddings)
            progress(done)
    return [out / name for name in files.values()]


def hash_weights(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, weights in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(weights.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def refuse_foreign_embeddings(out: Path, maker: str) -> None:
    """Refuse to replace embeddings that another model or stage made, or to put some beside them."""
    for name in sorted({name for files in STAGE_FILES.values() for name in files.values()}):
        if (out / name).is_file() and read_producer(out / name) != maker:
            raise MoodlineError(
                f"embeddings of one model and stage have a folder of their own, and {out / name} was made by another "
                "model or stage: choose another -o"
            )


def refuse_missing_modality(stage: str, ids: Sequence[str], embeddings: Tensor) -> None:
    """Refuse to embed utterances that lack what a stage reads: their rows (S, D) are NaN."""
    lacking = [one for one, row in zip(ids, embeddings, strict=True) if row.isnan().any()]
    if lacking:
        raise MoodlineError(f"every utterance is embedded, and {stage} has nothing of {lacking[0]}, which has no audio")
