"""Fingerprints of trained stages, stages shared between runs, and a model's provenance."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from moodline.config import (
    AUDIO_CONTEXT,
    AUDIO_UTTERANCE,
    ENCODERS,
    FUSION,
    RENAMED_KEYS,
    TEXT_CONTEXT,
    TEXT_UTTERANCE,
    Recipe,
)
from moodline.conversation import LabelSet, convert_to_content, find_training_overlap, merge_fingerprints
from moodline.corpora.corpus import Corpus
from moodline.corpora.folds import Fold
from moodline.embeddings import EmbeddingsFile
from moodline.errors import MoodlineError
from moodline.io import flatten_keys, open_atomic_file, read_json
from moodline.modeling.as_released import ReleasedSelection
from moodline.modeling.checkpoint import BERT_CONFIG_FILE, TOKENIZER_FILE, Provenance

StageFingerprint = Mapping[str, Any]
"""Dotted keys and values, as JSON has them."""

# Keys of a recipe that every stage depends on.
COMMON_KEYS = ("seed", "context", "class_weights")

# Keys that are newer than the first runs, with the values that keep the earlier behaviour. With these values they are
# not part of a fingerprint, and stages trained before stay finished.
LATER_DEFAULTS: StageFingerprint = {"fusion.modalities": "both", "fusion.modality_dropout": 0.0}

# Fingerprints keep the former names of keys, so stages trained before stay finished.
FORMER_KEYS = {present: former for former, present in RENAMED_KEYS.items()}

# Inputs of the stages after the encoders.
STAGE_INPUTS = {
    AUDIO_CONTEXT: (AUDIO_UTTERANCE,),
    TEXT_CONTEXT: (TEXT_UTTERANCE,),
    FUSION: (AUDIO_CONTEXT, TEXT_CONTEXT),
}


def compute_origins(
    recipe: Recipe,
    label_set: LabelSet,
    corpus_hash: str,
    training_hash: str,
    given: Mapping[str, str],
    bert_files: str,
    precision: str,
    recognised: str | None = None,
) -> dict[str, StageFingerprint]:
    """Compute by stage everything that its weights depend on; its inputs' fingerprints are included as hashes.

    Args:
        corpus_hash: of the corpus's table, labels and recordings included
        training_hash: of the fold's training and validation sets (see Fold)
        given: hashes of precomputed embeddings, by the encoder that they replace
        bert_files: fingerprint of BERT, see ``fingerprint_model``
        precision: of the arithmetic, by Lightning's name
        recognised: hash of the recognised words; None for reference words
    """
    found: dict[str, StageFingerprint] = {encoder: {"hash": hash} for encoder, hash in given.items()}
    for stage in recipe.stages:
        content = {
            **{key: getattr(recipe, key) for key in COMMON_KEYS},
            "label_set": convert_to_content(label_set),
            "corpus_hash": corpus_hash,
            "training_hash": training_hash,
            "precision": precision,
            stage: dataclasses.asdict(getattr(recipe, stage)),
            "reads": {source: hash_origin(found[source]) for source in STAGE_INPUTS.get(stage, ())},
        }
        if stage in ENCODERS:
            content["selection"] = recipe.selection
        if stage == TEXT_UTTERANCE:
            content["bert_files"] = bert_files
            if recognised is not None:
                content["recognised_words"] = recognised
        flat = {
            FORMER_KEYS.get(key, key): value for key, value in flatten_keys(json.loads(json.dumps(content))).items()
        }
        found[stage] = {
            key: value for key, value in flat.items() if key not in LATER_DEFAULTS or value != LATER_DEFAULTS[key]
        }
    return found


def resolve_bert_revision(
    recorded: StageFingerprint | None, revision: str, compute: Callable[[str], dict[str, StageFingerprint]]
) -> dict[str, StageFingerprint]:
    """Compute fingerprints; an unknown revision of BERT, recorded or present, counts as the same one.

    Runs of older versions, and runs offline without the hub's cache, do not know the revision of a hub's model.

    Args:
        recorded: fingerprint of the text encoder that was trained before, if there is one
        revision: fingerprint of the present BERT; empty if unknown
        compute: computes all fingerprints from that of BERT
    """
    origins = compute(revision)
    before = (recorded or {}).get("bert_files", revision)
    if "" in (before, revision) and {**origins.get(TEXT_UTTERANCE, {}), "bert_files": before} == recorded:
        return compute(before)
    return origins


def hash_origin(origin: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:16]


def find_change(before: StageFingerprint, now: StageFingerprint, names: Mapping[str, str]) -> str:
    """Describe the first difference between two fingerprints; empty if there is none.

    Args:
        names: stage names for people
    """
    keys: Sequence[str] = [*now, *(key for key in before if key not in now)]
    for key in keys:
        was, now_is = (origin.get(key, LATER_DEFAULTS.get(key)) for origin in (before, now))
        if was != now_is:
            if key.startswith("reads."):
                return f"its input from the {names[key.removeprefix('reads.')]} is new"
            return f"{RENAMED_KEYS.get(key, key)} was {was!r} and is {now_is!r}"
    return ""


def find_finished_stages(runs: Path) -> dict[str, Path]:
    """Find the records of finished stages in a folder and below it, by the hash of their fingerprint."""
    records = sorted(runs.glob("**/fold-*/stages/*.json"))
    finished = (record for record in records if not record.name.endswith(".unfinished.json"))
    return {hash_origin(read_json(record, "stage")["origin"]): record for record in finished}


def reuse_stage(record: Path, fold: Path) -> None:
    """Link another fold's finished stage into this fold; its record comes last, as after training.

    Args:
        record: the stage's record in the other fold
        fold: this fold's folder
    """
    stage, other = record.stem, record.parent.parent
    files = [f"embeddings/{stage}.parquet", f"model/{stage}.safetensors"]
    if stage == TEXT_UTTERANCE:
        files += [f"model/{BERT_CONFIG_FILE}", f"model/{TOKENIZER_FILE}"]
    for name in (*files, f"stages/{stage}.json"):
        if (other / name).exists():  # the fusion has no embeddings
            link_or_copy(other / name, fold / name)


def link_or_copy(source: Path, target: Path) -> None:
    """Link a file, or copy it where the file system has no links; files are only ever replaced, never edited."""
    with open_atomic_file(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


MAX_SHOWN_LABELS = 12


def refuse_test_overlap(fold: Fold, given: Mapping[str, EmbeddingsFile]) -> None:
    """Refuse precomputed embeddings whose model was trained or selected on the fold's test set."""
    for file in given.values():
        for conversation, _ in find_training_overlap(file.training_record, fold.test, fold.test_speaker):
            raise MoodlineError(
                f"the model that made {file.path} has seen {conversation.id}, which {fold.protocol}, fold {fold.name} "
                "tests. Train that fold on embeddings of a model that has not seen its test set.",
                code="embeddings.seen_test_set",
            )


def note_words(corpus: Corpus) -> tuple[str, ...]:
    """Return the note beside every score of a model of recognised words."""
    return (str(corpus.recognition),) if corpus.recognition else ()


def note_selection(recipe: Recipe) -> tuple[str, ...]:
    """Return the note beside every score of a system that trains an encoder with the released selection."""
    idle = recipe.selection != "released" or not set(ENCODERS) & set(recipe.stages)
    return () if idle else (ReleasedSelection.NOTE,)


def list_labels(corpus: Corpus) -> list[str]:
    """List a corpus's labels as it spells them, the most frequent first."""
    return [label for label, _ in corpus.label_counts.most_common(MAX_SHOWN_LABELS)] or ["none"]


def build_provenance(
    recipe: Recipe, label_set: LabelSet, corpus: Corpus, fold: Fold, given: Mapping[str, EmbeddingsFile]
) -> Provenance:
    """Describe the data behind a fold's model, including that of the models behind precomputed embeddings.

    Raises:
        MoodlineError: a class has no training utterance, or the released selection would train on the test set's
            conversations
    """
    if note_selection(recipe) and fold.validation_speaker is not None:
        raise MoodlineError(
            f"selection released trains encoders on the validation set's conversations, which {fold.protocol}, fold "
            f"{fold.name} also tests. Choose another protocol, or selection fold.",
            code="recipe.released_selection",
        )
    counts = Counter(
        label_set.classes[index]
        for conversation in fold.train
        for utterance in conversation.utterances
        if (index := label_set.index(utterance.label)) is not None
    )
    missing = [name for name in label_set.classes if not counts[name]]
    if missing:
        raise MoodlineError(
            f"every class needs training utterances: {fold.protocol}, fold {fold.name} has none of "
            f"{', '.join(missing)}, whose labels are {', '.join(label_set.mapping)} in {label_set.name}; the "
            f"corpus's are {', '.join(list_labels(corpus))}: choose another label set or protocol",
            code="corpus.missing_class",
        )
    seen = [file.training_record for file in given.values()]
    validation_turns = fold.scored["validation"] if fold.validation_speaker is not None else ()
    return Provenance(
        protocol=fold.protocol,
        fold=fold.name,
        fold_hash=fold.hash,
        corpus_reader=corpus.reader,
        corpus_hash=corpus.table_hash,
        trained_on=merge_fingerprints([[one.fingerprint for one in fold.train], *(one.trained_on for one in seen)]),
        selected_on=merge_fingerprints(
            [[one.fingerprint for one in fold.validation], *(one.selected_on for one in seen)]
        ),
        selected_on_turns=merge_fingerprints(
            [[one.fingerprint for one in validation_turns], *(one.selected_on_turns for one in seen)]
        ),
        class_counts={name: counts[name] for name in label_set.classes},
        moodline_version=metadata.version("moodline"),
        torch_version=metadata.version("torch"),
        notes=merge_fingerprints(
            [fold.notes, note_selection(recipe), note_words(corpus), *(one.notes for one in seen)]
        ),
        words=corpus.words,
        embeddings={encoder: f"{file.path.name}, hash {file.hash}" for encoder, file in given.items()},
    )
