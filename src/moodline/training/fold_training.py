"""Train the parts of one fold in order, each frozen before the next one trains, and calibrate them."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch import nn

from moodline.config import (
    AUDIO_CONTEXT,
    AUDIO_UTTERANCE,
    ENCODERS,
    FUSION,
    STAGE_INPUTS,
    STAGE_NAMES,
    TEXT_CONTEXT,
    TEXT_UTTERANCE,
)
from moodline.console import format_path
from moodline.conversation import Conversation, merge_fingerprints
from moodline.corpora.protocols import Fold, TrainingSets
from moodline.embeddings import (
    Embeddings,
    EmbeddingsFile,
    collect_unique_ids,
    read_embeddings,
    stack_embeddings,
    write_embeddings,
)
from moodline.inference import encode
from moodline.inference.domain_shift import compute_training_statistics
from moodline.inference.feature_store import FeatureStore, choose_feature_folder, is_cacheable
from moodline.inference.windows import encode_conversations
from moodline.io import hash_json, write_json
from moodline.modeling import checkpoint
from moodline.modeling.as_released import ReleasedSelection
from moodline.modeling.audio_backbone import SAMPLE_RATE
from moodline.modeling.batching import Encoding
from moodline.modeling.context import number_speakers
from moodline.modeling.description import CONFIG_FILE, Provenance, load_description
from moodline.modeling.fusion import Fusion
from moodline.modeling.model import (
    ENCODER_BY_STAGE,
    build_stage,
    get_classifier,
    load_backbone,
    relate_to_speakers,
)
from moodline.modeling.pretrained_audio import PretrainedAudio
from moodline.modeling.text_encoder import TextEncoder, Tokenizer
from moodline.runtime import derive_seed, measure_peak_mebibytes
from moodline.training import dataset
from moodline.training.crossfit import Part, Parts, align_embeddings
from moodline.training.lightning_module import (
    FittedTemperature,
    StageModule,
    compute_class_shares,
    fit_temperature,
)
from moodline.training.provenance import (
    StageFingerprint,
    compute_origins,
    find_change,
    find_finished_stages,
    hash_origin,
    reuse_stage,
)
from moodline.training.run import RUN_FILE, Run, license_models, remove_scores
from moodline.training.start import StartModel
from moodline.training.trainer import (
    Hardware,
    decide_together,
    fail_together,
    is_distributed,
    is_main_process,
    seed_initialisation,
    train_stage,
)


class FoldDecision(NamedTuple):
    """List the work that is left in a fold; all processes of a run follow the main process's decision."""

    complete: bool  # the model is finished as a whole
    changes: Mapping[str, str]  # by stage, between its recorded and its present fingerprint; empty if there is none
    finished: frozenset[str]  # stages that keep their weights
    resumed: frozenset[str]  # stages that continue from their last epoch


class FoldTrainer:
    """Trains one fold; a finished stage is kept unless its fingerprint has changed."""

    def __init__(
        self,
        run: Run,
        fold: Fold,
        sets: TrainingSets,
        precomputed: Mapping[str, EmbeddingsFile],
        hardware: Hardware,
        console: Console,
        title: str = "",
        parts: Parts | None = None,
        start: StartModel | None = None,
    ) -> None:
        self.run, self.recipe, self.label_set = run, run.recipe, run.label_set
        self.fold, self.files = fold, run.get_files(fold.name)
        self.train, self.validation = sets.train, sets.validation
        self.hardware, self.console, self.title = hardware, console, title
        self.origins: Mapping[str, StageFingerprint] = {}
        self.waveforms = dataset.WaveformCache(hardware.cache_bytes)
        self.backbones: dict[str, Any] = {}
        self.features = choose_feature_folder(run.corpus_folder, run.folder)
        self.tokenizer: Tokenizer | None = None
        # From files and from the stages trained in this process: all processes have them before the main one writes.
        self.embeddings: dict[str, Embeddings] = {encoder: file.vectors for encoder, file in precomputed.items()}
        self.classifiers: dict[str, nn.Module] = {}  # of the contexts trained in this process
        self.conversations = [one for one in (*self.train, *self.validation) if one.utterances]
        self.ids = collect_unique_ids(self.conversations)
        self.parts, self.notes = parts or Parts()
        self.start = start

    def print_line(self, text: str) -> None:
        self.console.print(f"{self.title}{text}", highlight=False, soft_wrap=True)

    def run_fold(self, provenance: Provenance, encoder_files: Mapping[str, str], reuse: Path | None) -> None:
        """Train the stages that neither this fold nor the runs below ``reuse`` have finished; describe the model."""
        self.origins = compute_origins(
            self.recipe,
            self.label_set,
            self.run.corpus_hash,
            self.fold.training_hash,
            {encoder: reference.hash for encoder, reference in self.run.embeddings.items()},
            encoder_files,
            self.hardware.precision,
            self.run.words_hash,
            {stage: self.files.read_origin(stage) for stage in encoder_files},
            self.run.start,
        )
        decision = decide_together(partial(self.begin, reuse))
        if decision.complete:
            self.complete_model()
            return
        for note in provenance.notes:
            self.print_line(note)
        for note in self.notes:
            self.print_line(f"Note: {note}")
        if is_main_process():
            self.files.remove_stages([stage for stage, change in decision.changes.items() if change])
        for number, stage in enumerate(self.recipe.stages, start=1):
            name = f"{self.title}stage {number} of {len(self.recipe.stages)}: {STAGE_NAMES[stage]}"
            if stage in decision.finished:
                self.console.print(f"{name}: finished before", highlight=False)
                continue
            if change := decision.changes[stage]:
                self.console.print(f"{name}: to be trained again, {change}", highlight=False, soft_wrap=True)
            self.run_stage(stage, name, resume=stage in decision.resumed)
        self.describe(replace(provenance, licence=self.run.licence))

    def begin(self, reuse: Path | None) -> FoldDecision:
        """Write the run's description, take over what other runs have finished, and decide what is left to train."""
        decision, folder = self.decide(), self.run.folder
        records = {} if reuse is None else find_finished_stages(reuse)
        left = [stage for stage in self.recipe.stages if stage not in decision.finished]
        found = {stage: records[key] for stage in left if (key := hash_origin(self.origins[stage])) in records}
        for stage in left:
            if stage not in found:
                self.build_part(stage)  # a part that cannot be built is refused before any file changes
        if not is_main_process():
            return decision
        replaces_model = not decision.complete and (self.files.model / CONFIG_FILE).is_file()
        if replaces_model and (gone := remove_scores(folder)):  # a further fold leaves the scores of the others
            self.print_line(f"scores of the replaced model are removed: {', '.join(gone)}")
        write_json(folder / RUN_FILE, self.run.build_description())
        for change in license_models(folder, self.run.licence):
            self.console.print(change, highlight=False, soft_wrap=True)
        for stage, record in found.items():
            self.files.remove_stages([stage])  # a model of mixed stages must not look complete
            reuse_stage(record, self.files.folder)
        return self.decide()

    def decide(self) -> FoldDecision:
        """Decide from the fold's files which stages to keep, resume and train again."""
        recorded = {stage: self.files.read_origin(stage) for stage in self.recipe.stages}
        changes = {
            stage: "" if origin is None else find_change(origin, self.origins[stage])
            for stage, origin in recorded.items()
        }
        unchanged = [stage for stage, change in changes.items() if not change]
        finished = frozenset(stage for stage in unchanged if self.files.get_record(stage).is_file())
        return FoldDecision(
            complete=len(finished) == len(changes) and self.run.is_complete(self.fold.name),
            changes=changes,
            finished=finished,
            resumed=frozenset(stage for stage in unchanged if self.files.get_state(stage).is_file()),
        )

    def complete_model(self) -> None:
        """Add what an older moodline left out of a finished model's description: temperatures, training statistics."""
        self.print_line(f"model {self.files.model}: finished before")
        described = load_description(self.files.model)
        if not described.temperatures or described.conditions is None:
            added = "statistics of the training data added" if described.temperatures else "calibrated"
            self.print_line(f"{added}; weights unchanged")
            self.describe(described.provenance)

    def build_part(self, stage: str) -> nn.Module:
        """Build an untrained part, whose weights depend on the seed and the stage, or are those of the start."""
        start = self.start if self.start is not None and stage in self.start.hashes else None
        if stage not in self.backbones:
            found = load_backbone(stage, self.recipe) if start is None else start.load_backbone(stage, self.recipe)
            self.backbones[stage], tokenizer = found
            self.tokenizer = tokenizer or self.tokenizer
        seed_initialisation(self.recipe.seed, stage)
        part = build_stage(stage, self.recipe, len(self.label_set.classes), self.backbones[stage])
        if start is not None:
            start.copy_weights(part, stage, self.label_set)
        return part

    def run_stage(self, stage: str, title: str, *, resume: bool) -> None:
        if is_main_process():
            write_json(self.files.get_origin(stage), {"origin": self.origins[stage]})
        parts = self.parts if stage in self.recipe.crossfitted_stages else ()
        held_out = [self.train_without(part, stage, number, title) for number, part in enumerate(parts, start=1)]
        trained = self.train_module(stage, self.train, self.files.get_state(stage), title, resume=resume)
        if stage in ENCODER_BY_STAGE:
            self.classifiers[stage] = deepcopy(get_classifier(trained.part)).cpu()
        if stage != FUSION:
            found = self.encode(stage, trained.part)
            self.embeddings[stage] = self.align_parts(held_out, found) if parts else found
        self.waveforms.clear()  # the stages that follow read none
        if is_main_process():
            self.write_stage(stage, trained)

    def train_module(
        self, stage: str, train: Sequence[Conversation], checkpoint: Path, title: str, *, resume: bool
    ) -> StageModule:
        """Train a stage's part on training conversations, or go on from its checkpoint."""
        part = self.build_part(stage)
        self.backbones.pop(stage, None)  # in the part
        if isinstance(part, PretrainedAudio) and part.sample_rate != SAMPLE_RATE:
            self.print_line(
                f"  {self.recipe.audio_utterance.pretrained} reads {part.sample_rate} Hz: audio is resampled"
            )
        sets = self.select_sets(stage, train)
        labels = dataset.select_scored(sets[0], self.label_set)[1]
        if isinstance(part, Fusion) and part.late_fusion is not None:
            audio, text = (self.get_classifier(context) for context in (AUDIO_CONTEXT, TEXT_CONTEXT))
            shares = compute_class_shares(labels, len(self.label_set.classes), self.recipe.class_weights)
            part.late_fusion.copy_contexts(audio, text, shares)
        trained = StageModule(
            stage,
            part,
            self.build_data(stage, part, sets),
            self.recipe,
            classes=len(self.label_set.classes),
            scored_labels=labels,
            checkpoint=checkpoint,
            reads_features=is_cacheable(part),
            workers=self.hardware.num_workers,
        )
        train_stage(trained, self.files.logs, title, self.hardware, self.console, resume=resume)
        return trained

    def get_classifier(self, stage: str) -> nn.Module:
        """Return a trained context's classifier."""
        if stage not in self.classifiers:
            part = checkpoint.load_part(self.files.model, stage, self.recipe, self.label_set)
            self.classifiers[stage] = get_classifier(part)
        return self.classifiers[stage]

    def train_without(self, part: Part, stage: str, number: int, title: str) -> Embeddings:
        """Train a stage without a part of the training conversations -> its embeddings of all; see ``crossfit``."""
        name = f"{stage}.part-{number}"
        held_out = {one.fingerprint for one in part.conversations}
        origin = {**self.origins[stage], "held_out": hash_json(sorted(held_out))}
        path, files = self.files.get_embeddings(name), (self.files.get_record(name), self.files.get_state(name))
        finished, resume = decide_together(
            lambda: [self.files.read_origin(name) == origin and file.is_file() for file in files]
        )
        title = f"{title}, without {part.name} ({number} of {len(self.parts)} for crossfit)"
        if finished:
            self.console.print(f"{title}: finished before", highlight=False)
            return read_embeddings(path).vectors
        if is_main_process():
            if not resume:
                self.files.remove_stages([name])
            write_json(self.files.get_origin(name), {"origin": origin})
        rest = [one for one in self.train if one.fingerprint not in held_out]
        trained = self.train_module(stage, rest, self.files.get_state(name), title, resume=resume)
        found = self.encode(stage, trained.part)
        if is_main_process():
            write_embeddings(path, found)
            record = {"origin": origin, "seconds": round(trained.seconds, 1), "epochs": trained.history}
            write_json(self.files.get_record(name), record)
            self.files.remove_unfinished(name)
        return found

    def align_parts(self, held_out: Sequence[Embeddings], embeddings: Embeddings) -> Embeddings:
        """Replace each part's embeddings by those of the stage that was trained without it."""
        found = dict(embeddings)
        for part, own in zip(self.parts, held_out, strict=True):
            ids = {turn.id for one in part.conversations for turn in one.utterances}
            seen = [turn.id for one in self.train for turn in one.utterances if turn.id not in ids]
            found |= align_embeddings(own, embeddings, seen, ids)
        return found

    def write_stage(self, stage: str, trained: StageModule) -> None:
        """Write a trained stage's embeddings and weights, then its record; remove its checkpoint."""
        if stage != FUSION:
            write_embeddings(self.files.get_embeddings(stage), self.embeddings[stage])
        checkpoint.save_part(self.files.model, stage, trained.part, self.tokenizer)
        record = {
            "origin": self.origins[stage],
            "seconds": round(trained.seconds + self.files.sum_part_seconds(stage), 1),
            "peak_mebibytes": measure_peak_mebibytes(),
            "epochs": trained.history,
        }
        write_json(self.files.get_record(stage), record)
        self.files.remove_unfinished(stage)
        self.files.remove_parts(stage)

    def select_sets(
        self, stage: str, train: Sequence[Conversation]
    ) -> tuple[Sequence[Conversation], Sequence[Conversation]]:
        """Return the conversations that train a stage, and those that select its epoch."""
        if stage in ENCODERS and self.recipe.selection == "released":
            select = ReleasedSelection(derive_seed(self.recipe.seed, "selection"))
            return select(train, self.validation, self.label_set)
        return train, self.validation

    def get_encoder(self, stage: str, part: nn.Module) -> encode.UtteranceEncoder:
        read = encode.read_waveform if is_cacheable(part) else self.waveforms  # features are read again, audio is not
        return encode.UtteranceEncoder(stage, part, self.recipe, self.tokenizer, read)

    def compute_features(self, stage: str, part: TextEncoder | PretrainedAudio) -> FeatureStore:
        """Compute the features of a frozen encoder that are not on disk, each of a run's processes its share."""
        store = self.features.open(part, self.tokenizer)
        turns = [turn for one in self.conversations for turn in encode.list_turns(one.utterances, self.recipe)]
        # Processes that are not connected yet start after the main one, which computes all.
        rank, processes = (
            (torch.distributed.get_rank(), torch.distributed.get_world_size()) if is_distributed() else (0, 1)
        )
        part.to(self.hardware.find_device())
        if is_main_process() or processes > 1:
            columns = [TextColumn("  frozen encoder"), BarColumn(bar_width=20), MofNCompleteColumn()]
            shown = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
            with fail_together(), shown as bar:
                task = bar.add_task("", total=None)

                def show(done: int, total: int) -> None:
                    if bar.tasks[task].total is None:
                        place = format_path(store.folder.parent)
                        line = f"  computing the features of {total:,} utterances, kept in {place}"
                        self.console.print(line, highlight=False, markup=False, soft_wrap=True)
                    bar.update(task, completed=done, total=total)

                self.get_encoder(stage, part).store_features(turns[rank::processes], store, progress=show)
        store.read_index()
        return store

    def build_data(
        self, stage: str, part: nn.Module, sets: tuple[Sequence[Conversation], Sequence[Conversation]]
    ) -> dataset.StageData:
        train, validation = sets
        inputs = self.read_inputs(stage) if stage in STAGE_INPUTS else []
        store = self.compute_features(stage, part) if is_cacheable(part) else None

        def build_items(conversations: Sequence[Conversation], *, train: bool) -> dataset.Items:
            if store is not None:
                turns = [turn for one in conversations for turn in encode.list_turns(one.utterances, self.recipe)]
                return dataset.build_feature_items(stage, turns, store, self.label_set)
            if stage == AUDIO_UTTERANCE:
                scored, rate = dataset.select_scored(conversations, self.label_set), cast(Any, part).sample_rate
                return dataset.WaveformItems(*scored, self.recipe, train=train, sample_rate=rate, sound=self.waveforms)
            if stage == TEXT_UTTERANCE:
                assert self.tokenizer is not None, "build_part loads the tokenizer"
                return dataset.build_token_items(conversations, self.tokenizer, self.label_set, self.recipe)
            if stage == FUSION and self.recipe.fusion.handles_missing_modality:
                return dataset.FusionItems(conversations, inputs, self.recipe, self.label_set, train=train)
            return dataset.build_conversation_items(conversations, inputs, self.label_set)

        return dataset.StageData(build_items(train, train=True), build_items(validation, train=False))

    def read_inputs(self, stage: str) -> list[Embeddings]:
        """Return the input sequences of a context stage or the fusion: (D,) by utterance id, for each sequence."""
        found = [self.get_vectors(source) for source in STAGE_INPUTS[stage]]
        if stage == FUSION:
            return found
        inputs: dict[str, torch.Tensor] = {}
        for turns in (conversation.utterances for conversation in self.conversations):
            ids = [turn.id for turn in turns]
            speakers = [turn.speaker for turn in turns]
            rows = relate_to_speakers(stack_embeddings(found[0], ids), speakers, getattr(self.recipe, stage))
            inputs.update(zip(ids, rows, strict=True))
        return [inputs]

    def get_vectors(self, stage: str) -> Embeddings:
        """Return a trained stage's embeddings, or the precomputed ones that replace it."""
        return self.embeddings.get(stage) or read_embeddings(self.files.get_embeddings(stage)).vectors

    def encode(self, stage: str, part: nn.Module) -> Embeddings:
        """Compute the frozen part's embeddings for the next stage: (D,) by utterance id."""
        self.console.print("  computing embeddings", highlight=False)
        if stage in ENCODER_BY_STAGE:
            encoding = self.encode_sequences(stage, part, self.conversations)
        else:
            turns = [turn for one in self.conversations for turn in encode.list_turns(one.utterances, self.recipe)]
            encoding = self.get_encoder(stage, part).encode(turns, self.features)
        return dict(zip(self.ids, encoding.embeddings, strict=True))

    def encode_sequences(self, stage: str, part: nn.Module, conversations: Sequence[Conversation]) -> Encoding:
        """Encode non-empty conversations by a context stage or the fusion -> (N, D), (N, classes) of their turns."""
        ids, sizes = collect_unique_ids(conversations), [len(one.utterances) for one in conversations]
        inputs = [stack_embeddings(vectors, ids) for vectors in self.read_inputs(stage)]
        sequences = [values.split(sizes) for values in inputs]
        speakers = [number_speakers([turn.speaker for turn in one.utterances]) for one in conversations]
        encodings = encode_conversations(part, *sequences, speakers=speakers)
        return Encoding(*(torch.cat(values) for values in zip(*encodings, strict=True)))

    def describe(self, provenance: Provenance) -> None:
        """Calibrate the trained stages, compute statistics of the training set, and write the model's description."""
        if not is_main_process():
            return
        fitted = {stage: self.fit_temperature(stage) for stage in self.recipe.stages}
        notes = [
            f"the probabilities of {STAGE_NAMES[stage]} are {one.note}" for stage, one in fitted.items() if one.note
        ]
        for note in notes:
            self.print_line(note)
        provenance = replace(provenance, notes=merge_fingerprints([provenance.notes, notes]))
        temperatures = {stage: one.temperature for stage, one in fitted.items()}
        tokenizer = None
        if TEXT_UTTERANCE in self.recipe.stages:
            maximum = self.recipe.text_utterance.maximum_tokens
            tokenizer = Tokenizer.from_file(self.files.model / checkpoint.TOKENIZER_FILE, maximum)
        statistics = compute_training_statistics(self.train, self.recipe, tokenizer)
        checkpoint.save_description(self.files.model, self.recipe, self.label_set, provenance, temperatures, statistics)

    def fit_temperature(self, stage: str) -> FittedTemperature:
        """Fit a trained stage's temperature on the labelled utterances that selected its epoch."""
        _, validation = self.select_sets(stage, self.train)
        scored, labels = dataset.select_scored(validation, self.label_set)
        if not scored:
            return fit_temperature(np.empty((0, len(self.label_set.classes))), labels.numpy())
        part = checkpoint.load_part(self.files.model, stage, self.recipe, self.label_set)
        if stage == FUSION:
            filled = [one for one in validation if one.utterances]
            logits = self.encode_sequences(FUSION, part, filled).logits
            has_class = [self.label_set.index(turn.label) is not None for one in filled for turn in one.utterances]
            logits = logits[torch.tensor(has_class)]
        else:
            with torch.inference_mode():
                vectors = stack_embeddings(self.get_vectors(stage), [utterance.id for utterance in scored])
                logits = get_classifier(part)(vectors)  # (N, D) -> (N, classes)
        return fit_temperature(logits.numpy(), labels.numpy())
