"""Fingerprints of trained stages, stages shared between runs, and a model's provenance."""

import dataclasses
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

from moodline.config import AUDIO_UTTERANCE, ENCODERS, STAGE_INPUTS, STAGE_NAMES, STAGES, TEXT_UTTERANCE, Recipe
from moodline.conversation import LabelSet, convert_to_content, find_training_overlap, merge_fingerprints
from moodline.corpora.corpus import Corpus
from moodline.corpora.protocols import Fold
from moodline.embeddings import EmbeddingsFile
from moodline.errors import MoodlineError
from moodline.io import flatten_keys, link_file, open_atomic_file, read_json
from moodline.modeling.as_released import ReleasedSelection
from moodline.modeling.audio_backbone import FASTER_WHISPER
from moodline.modeling.checkpoint import ASSET_FOLDERS
from moodline.modeling.description import Provenance
from moodline.modeling.faster_whisper import fingerprint_faster_whisper
from moodline.modeling.pretrained_files import Fingerprint, fingerprint_model
from moodline.recipe import RENAMED_KEYS
from moodline.training.start import StartModel, note_start, refuse_seen_test_set

StageFingerprint = Mapping[str, Any]
"""Dotted keys and values, as JSON has them."""

# Keys of a recipe that every stage depends on.
COMMON_KEYS = ("seed", "context", "class_weights")

# Keys that are newer than the first runs, with the values that keep the earlier behaviour. With these values they are
# not part of a fingerprint, and stages trained before stay finished.
LATER_DEFAULTS: StageFingerprint = {
    **{f"{stage}.training.label_smoothing": 0.0 for stage in STAGES},
    "crossfit": 0,
    "audio_context.append_speaker_mean": False,
    "audio_context.speaker_gru": False,
    "text_context.append_speaker_mean": False,
    "text_context.speaker_gru": False,
    "fusion.speaker_crf": False,
    "fusion.crf_lr_scale": 30.0,
    "fusion.late_fusion": False,
    "fusion.modalities": "both",
    "fusion.modality_dropout": 0.0,
    "audio_utterance.encoder": "leaf_cnn",
    "audio_utterance.pretrained": "microsoft/wavlm-base-plus",
    "audio_utterance.revision": None,
    "audio_utterance.layers": "all",
    "audio_utterance.pooling": "mean",
    "audio_utterance.num_unfrozen_layers": 0,
    "audio_utterance.pretrained_lr_scale": 1.0,
    "audio_utterance.gradient_checkpointing": False,
    "text_utterance.revision": None,
    "text_utterance.use_last_layers": 4,
    "text_utterance.pooling": "gru",
    "text_utterance.context_words": 0,
    "text_utterance.gradient_checkpointing": False,
}

# Fingerprints keep the former names of keys, so stages trained before stay finished.
FORMER_KEYS = {present: former for former, present in RENAMED_KEYS.items()}

# Keys of the fingerprints of a pretrained encoder's files.
FILES_KEYS: Mapping[str, str] = {AUDIO_UTTERANCE: "pretrained_files", TEXT_UTTERANCE: "bert_files"}


def fingerprint_encoders(
    recipe: Recipe, fingerprint: Fingerprint = fingerprint_model, without: Collection[str] = ()
) -> dict[str, str]:
    """Fingerprint the pretrained encoders that a recipe's stages read, by stage; see ``fingerprint_model``."""
    stages = [stage for stage in recipe.stages if stage in ENCODERS and stage not in without]
    functions = dict.fromkeys(stages, fingerprint)
    if recipe.audio_utterance.encoder == "leaf_cnn":
        functions.pop(AUDIO_UTTERANCE, None)
    elif recipe.audio_utterance.encoder == FASTER_WHISPER and AUDIO_UTTERANCE in functions:
        functions[AUDIO_UTTERANCE] = partial(fingerprint_faster_whisper, fingerprint)
    configs = {stage: getattr(recipe, stage) for stage in functions}
    return {
        stage: functions[stage](config.pretrained, f"{stage}.pretrained", config.revision)
        for stage, config in configs.items()
    }


def compute_origins(
    recipe: Recipe,
    label_set: LabelSet,
    corpus_hash: str,
    training_hash: str,
    precomputed: Mapping[str, str],
    encoder_files: Mapping[str, str],
    precision: str,
    recognised: str | None = None,
    recorded: Mapping[str, StageFingerprint | None] = MappingProxyType({}),
    start: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, StageFingerprint]:
    """Compute by stage everything that its weights depend on; its inputs' fingerprints are included as hashes.

    Args:
        corpus_hash: of the corpus's table, labels and recordings included
        training_hash: of the fold's training and validation sets (see Fold)
        precomputed: hashes of embeddings from files, by the encoder that they replace
        encoder_files: fingerprints of pretrained encoders by stage, see ``fingerprint_encoders``
        precision: of the arithmetic, by Lightning's name
        recognised: hash of the recognised words; None for reference words
        recorded: fingerprints of the encoders that were trained before, by stage. Runs of older versions, and runs
            offline without the hub's cache, do not know the revision of a hub's model: it counts as the same one
        start: hashes of the weights that stages start from
    """
    found: dict[str, StageFingerprint] = {encoder: {"hash": hash} for encoder, hash in precomputed.items()}
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
        if stage in recipe.crossfitted_stages:
            content["crossfit"] = recipe.crossfit
        if stage in start:
            content["start"] = start[stage]
        if stage in encoder_files:
            content[FILES_KEYS[stage]] = encoder_files[stage]
        if stage == TEXT_UTTERANCE and recognised is not None:
            content["recognised_words"] = recognised
        flat = flatten_keys(json.loads(json.dumps(content)))
        former = {FORMER_KEYS.get(key, key): value for key, value in flat.items()}
        neutral = LATER_DEFAULTS.items()
        found[stage] = {key: value for key, value in former.items() if (key, value) not in neutral}
        if stage in encoder_files and (before := recorded.get(stage)) is not None:
            key, files = FILES_KEYS[stage], encoder_files[stage]
            known = before.get(key, files)
            if "" in (known, files) and {**found[stage], key: known} == before:
                found[stage] = before
    return found


def hash_origin(origin: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:16]


def find_change(before: StageFingerprint, now: StageFingerprint) -> str:
    """Describe the first difference between two fingerprints; empty if there is none."""
    for key in {**now, **before}:  # those of the present fingerprint first
        was, now_is = (origin.get(key, LATER_DEFAULTS.get(key)) for origin in (before, now))
        if was != now_is:
            if key.startswith("reads."):
                return f"its input from the {STAGE_NAMES[key.removeprefix('reads.')]} is new"
            return f"{RENAMED_KEYS.get(key, key)} was {was!r} and is {now_is!r}"
    return ""


def find_finished_stages(runs: Path) -> dict[str, Path]:
    """Find the records of finished stages in a folder and below it, by the hash of their fingerprint."""
    records = sorted(runs.glob("**/fold-*/stages/*.json"))
    finished = (record for record in records if not record.name.endswith(".unfinished.json"))
    return {hash_origin(read_json(record, "stage")["origin"]): record for record in finished}


def reuse_stage(record: Path, fold: Path) -> None:
    """Link another fold's finished stage, found by its record, into this fold; the record last, as after training."""
    stage, other = record.stem, record.parent.parent
    files = [f"embeddings/{stage}.parquet", f"model/{stage}.safetensors"]
    if stage in ASSET_FOLDERS:
        files += [str(path.relative_to(other)) for path in (other / "model" / ASSET_FOLDERS[stage]).glob("[!.]*")]
        shutil.rmtree(fold / "model" / ASSET_FOLDERS[stage], ignore_errors=True)  # of the encoder before
    for name in (*files, f"stages/{stage}.json"):
        if (other / name).exists():  # the fusion has no embeddings
            with open_atomic_file(fold / name) as temporary:
                link_file(other / name, temporary)


MAX_SHOWN_LABELS = 12


def note_selection(recipe: Recipe) -> tuple[str, ...]:
    """Return the note beside every score of a system that trains an encoder with the released selection."""
    idle = recipe.selection != "released" or not set(ENCODERS) & set(recipe.stages)
    return () if idle else (ReleasedSelection.NOTE,)


def build_provenance(
    recipe: Recipe,
    label_set: LabelSet,
    corpus: Corpus,
    fold: Fold,
    precomputed: Mapping[str, EmbeddingsFile],
    start: StartModel | None = None,
) -> Provenance:
    """Describe the data behind a fold's model, including that of models behind precomputed embeddings and the start.

    Raises:
        MoodlineError: a class has no training utterance, or the test set's conversations would train, through the
            released selection, through precomputed embeddings or through the start
    """
    if start is not None:
        refuse_seen_test_set(start, fold)
    for file in precomputed.values():
        for conversation, _ in find_training_overlap(file.training_record, fold.test, fold.test_speaker):
            raise MoodlineError(
                f"the model that made {file.path} has seen {conversation.id}, which {fold.protocol}, fold {fold.name} "
                "tests. Train that fold on embeddings of a model that has not seen its test set.",
                code="embeddings.seen_test_set",
            )
    if note_selection(recipe) and fold.validation_speaker is not None:
        raise MoodlineError(
            f"selection released trains encoders on the validation set's conversations, which {fold.protocol}, fold "
            f"{fold.name} also tests. Choose another protocol, or selection fold.",
            code="recipe.released_selection",
        )
    found = Counter(label_set.index(turn.label) for one in fold.train for turn in one.utterances)
    counts = {name: found[index] for index, name in enumerate(label_set.classes)}
    if missing := [name for name, count in counts.items() if not count]:
        labels = [label for label, _ in corpus.label_counts.most_common(MAX_SHOWN_LABELS)]
        raise MoodlineError(
            f"every class needs training utterances: {fold.protocol}, fold {fold.name} has none of "
            f"{', '.join(missing)}, whose labels are {', '.join(label_set.mapping)} in {label_set.name}; the "
            f"corpus's are {', '.join(labels) or 'none'}: choose another label set or protocol",
            code="corpus.missing_class",
        )

    def merge(name: str, own: Iterable[str]) -> tuple[str, ...]:
        records = [file.training_record for file in precomputed.values()]
        records += [start.described.provenance] if start is not None else []
        return merge_fingerprints([own, *(getattr(record, name) for record in records)])

    validation_turns = fold.scored["validation"] if fold.validation_speaker is not None else ()
    recognition = (str(corpus.recognition),) if corpus.recognition else ()
    started = () if start is None else note_start(start, fold)
    return Provenance(
        protocol=fold.protocol,
        fold=fold.name,
        fold_hash=fold.hash,
        corpus_reader=corpus.reader,
        corpus_hash=corpus.table_hash,
        trained_on=merge("trained_on", [one.fingerprint for one in fold.train]),
        selected_on=merge("selected_on", [one.fingerprint for one in fold.validation]),
        selected_on_turns=merge("selected_on_turns", [one.fingerprint for one in validation_turns]),
        class_counts=counts,
        moodline_version=metadata.version("moodline"),
        torch_version=metadata.version("torch"),
        notes=merge("notes", [*fold.notes, *note_selection(recipe), *recognition, *started]),
        words=corpus.words,
        embeddings={encoder: f"{file.path.name}, hash {file.hash}" for encoder, file in precomputed.items()},
    )
