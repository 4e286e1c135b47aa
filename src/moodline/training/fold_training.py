"""Train the parts of one fold in order; each is frozen before the next one trains."""

import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import nn

from moodline.config import AUDIO_UTTERANCE, ENCODERS, FUSION, STAGE_NAMES, TEXT_UTTERANCE, Recipe
from moodline.conversation import Conversation, LabelSet, merge_fingerprints
from moodline.corpora.folds import TrainingSets
from moodline.embeddings import (
    Embeddings,
    EmbeddingsFile,
    collect_unique_ids,
    read_embeddings,
    stack_embeddings,
    write_embeddings,
)
from moodline.inference.domain_shift import compute_training_statistics
from moodline.inference.encode import (
    build_context_input,
    encode_conversations,
    encode_utterances,
    split_by_conversation,
)
from moodline.io import read_json, write_json
from moodline.modeling.as_released import ReleasedSelection
from moodline.modeling.checkpoint import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    Provenance,
    load_part,
    save_description,
    save_stage,
    save_text_assets,
)
from moodline.modeling.model import ENCODER_BY_STAGE, build_stage, get_classifier
from moodline.modeling.text_encoder import Tokenizer, load_bert
from moodline.runtime import derive_seed
from moodline.training.calibration import FittedTemperature, fit_temperature
from moodline.training.dataset import (
    StageData,
    WaveformCache,
    build_conversation_data,
    build_fusion_data,
    build_token_data,
    build_waveform_data,
    select_scored,
)
from moodline.training.provenance import STAGE_INPUTS, StageFingerprint, find_change, hash_origin, reuse_stage
from moodline.training.trainer import LOGGERS, Hardware, TrainedStage, is_main_process, seed_initialisation, train_stage


@dataclass(frozen=True)
class FoldFiles:
    """Locate the files of one fold in its folder.

    model/                  the model folder, complete once it contains config.json
    stages/<stage>.json     written last: the fingerprint of a finished stage, its epochs, and the process's peak memory
    stages/<stage>.pt       Lightning's checkpoint of an unfinished stage; loaded as weights only
    embeddings/             outputs of the finished stages, inputs of the next ones
    logs/                   TensorBoard and CSV
    """

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def get_record(self, stage: str) -> Path:
        return self.folder / "stages" / f"{stage}.json"

    def get_origin(self, stage: str) -> Path:
        """Return the file with an unfinished stage's fingerprint."""
        return self.folder / "stages" / f"{stage}.unfinished.json"

    def get_state(self, stage: str) -> Path:
        return self.folder / "stages" / f"{stage}.pt"

    def get_embeddings(self, stage: str) -> Path:
        return self.folder / "embeddings" / f"{stage}.parquet"

    def read_origin(self, stage: str) -> StageFingerprint | None:
        """Return the recorded fingerprint of a finished or unfinished stage; None for a stage never started."""
        for file in (self.get_record(stage), self.get_origin(stage)):
            if file.is_file():
                return read_json(file, "stage").get("origin", {})
        return None

    def remove_unfinished(self, stage: str) -> None:
        """Remove the files that an unfinished stage resumes from."""
        # The state before the origin: a state without its origin would be resumed by another stage.
        for file in (self.get_state(stage), self.get_origin(stage)):
            file.unlink(missing_ok=True)

    def remove_stages(self, stages: Sequence[str]) -> None:
        """Remove the records of stages that will be trained again."""
        if stages:
            # The description first: a model folder without it is incomplete, and a partly replaced one must be.
            (self.model / CONFIG_FILE).unlink(missing_ok=True)
        for stage in stages:
            self.get_record(stage).unlink(missing_ok=True)
            self.remove_unfinished(stage)
            # Loggers append to existing files, which would mix the curves of two trainings.
            for logger in LOGGERS:
                shutil.rmtree(self.logs / logger / stage, ignore_errors=True)


class FoldDecision(NamedTuple):
    """List the work that is left in a fold; all processes of a run follow the main process's decision.

    Attributes:
        complete: whether the model is finished as a whole
        changes: by stage, the difference between its recorded and its present fingerprint; empty if there is none
        finished: stages that keep their weights
        resumed: stages that continue from their last epoch
    """

    complete: bool
    changes: Mapping[str, str]
    finished: frozenset[str]
    resumed: frozenset[str]


class FoldTrainer:
    """Trains one fold; a finished stage is kept unless its fingerprint has changed."""

    def __init__(
        self,
        sets: TrainingSets,
        recipe: Recipe,
        label_set: LabelSet,
        files: FoldFiles,
        *,
        origins: Mapping[str, StageFingerprint],
        given: Mapping[str, EmbeddingsFile],
        title: str,
        hardware: Hardware,
        console: Console,
    ) -> None:
        self.train, self.validation = sets.train, sets.validation
        self.recipe, self.label_set, self.files = recipe, label_set, files
        self.title, self.hardware, self.console = title, hardware, console
        self.origins = origins
        self.waveforms = WaveformCache(hardware.cache_bytes)
        self.bert: Any = None
        self.tokenizer: Tokenizer | None = None
        # From files and from the stages trained in this process: all processes have them before the main one writes.
        self.embeddings: dict[str, Embeddings] = {encoder: file.vectors for encoder, file in given.items()}
        self.ids = collect_unique_ids(self.conversations)

    @property
    def conversations(self) -> list[Conversation]:
        """Return the non-empty conversations of the training and validation sets."""
        return [conversation for conversation in (*self.train, *self.validation) if conversation.utterances]

    def print_line(self, text: str) -> None:
        self.console.print(f"{self.title}{text}", highlight=False, soft_wrap=True)

    def find_change(self, stage: str) -> str:
        """Return the first difference between a stage's recorded fingerprint and its present one, or an empty text."""
        recorded = self.files.read_origin(stage)
        return "" if recorded is None else find_change(recorded, self.origins[stage], STAGE_NAMES)

    def is_finished(self, stage: str) -> bool:
        return self.files.get_record(stage).is_file() and not self.find_change(stage)

    def decide(self, *, complete: bool) -> FoldDecision:
        """Decide from the fold's files which stages to keep, resume and train again."""
        changes = {stage: self.find_change(stage) for stage in self.recipe.stages}
        finished = frozenset(stage for stage in changes if self.is_finished(stage))
        return FoldDecision(
            complete=complete and len(finished) == len(changes),
            changes=changes,
            finished=finished,
            resumed=frozenset(
                stage for stage, change in changes.items() if not change and self.files.get_state(stage).is_file()
            ),
        )

    def prepare(self, finished: Collection[str] | None = None) -> None:
        """Load and build the unfinished stages, so that a stage that cannot train is refused before any file changes.

        Args:
            finished: stages that keep their weights; None reads them from the fold's files
        """
        if finished is None:
            finished = [stage for stage in self.recipe.stages if self.is_finished(stage)]
        unfinished = [stage for stage in self.recipe.stages if stage not in finished]
        if TEXT_UTTERANCE in unfinished and self.bert is None:
            text = self.recipe.text_utterance
            self.bert, self.tokenizer = load_bert(text.bert, text.maximum_tokens)
        for stage in unfinished:
            build_stage(stage, self.recipe, len(self.label_set.classes), self.bert)

    def run(self, decision: FoldDecision, provenance: Provenance) -> None:
        """Train the stages that are left, then write the model's description."""
        self.prepare(decision.finished)
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
        self.describe(provenance)

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
        statistics = compute_training_statistics(self.train, self.recipe, self.load_trained_tokenizer())
        save_description(self.files.model, self.recipe, self.label_set, provenance, temperatures, statistics)

    def load_trained_tokenizer(self) -> Tokenizer | None:
        """Load the trained model's tokenizer; None for a model without words."""
        if TEXT_UTTERANCE not in self.recipe.stages:
            return None
        return Tokenizer.from_file(self.files.model / TOKENIZER_FILE, self.recipe.text_utterance.maximum_tokens)

    def fit_temperature(self, stage: str) -> FittedTemperature:
        """Fit a trained stage's temperature on the labelled utterances that selected its epoch."""
        _, validation = self.select_sets(stage)
        scored, labels = select_scored(validation, self.label_set)
        if not scored:
            return fit_temperature(np.empty((0, len(self.label_set.classes))), labels.numpy())
        part = load_part(self.files.model, stage, self.recipe, self.label_set)
        ids = [utterance.id for utterance in scored]
        if stage == FUSION:
            logits = stack_embeddings(self.compute_fused_logits(part, validation), ids)
        else:
            with torch.inference_mode():
                logits = get_classifier(part)(stack_embeddings(self.get_vectors(stage), ids))  # (N, D) -> (N, classes)
        return fit_temperature(logits.numpy(), labels.numpy())

    def compute_fused_logits(self, part: nn.Module, conversations: Sequence[Conversation]) -> Embeddings:
        """Compute the trained fusion's logits: (classes,) by utterance id."""
        filled = [one for one in conversations if one.utterances]
        ids, sizes = collect_unique_ids(filled), [len(one.utterances) for one in filled]
        sequences = [
            split_by_conversation(stack_embeddings(vectors, ids), sizes) for vectors in self.read_inputs(FUSION)
        ]
        logits = torch.cat([encoding.logits for encoding in encode_conversations(part, *sequences)])
        return dict(zip(ids, logits, strict=True))

    def reuse(self, finished: Mapping[str, Path]) -> None:
        """Take over stages that other runs have finished.

        Args:
            finished: their records, by the hash of their fingerprint
        """
        for stage in self.recipe.stages:
            record = finished.get(hash_origin(self.origins[stage]))
            if record is not None and not self.is_finished(stage):
                self.files.remove_stages([stage])  # a model of mixed stages must not look complete
                reuse_stage(record, self.files.folder)

    def run_stage(self, stage: str, title: str, *, resume: bool) -> None:
        seed_initialisation(self.recipe.seed, stage)
        bert, self.bert = (self.bert, None) if stage == TEXT_UTTERANCE else (None, self.bert)
        part = build_stage(stage, self.recipe, len(self.label_set.classes), bert)
        if is_main_process():
            write_json(self.files.get_origin(stage), {"origin": self.origins[stage]})
        trained = train_stage(
            stage,
            part,
            self.build_data(stage),
            self.recipe,
            classes=len(self.label_set.classes),
            scored_labels=select_scored(self.select_sets(stage)[0], self.label_set)[1],
            logs=self.files.logs,
            state=self.files.get_state(stage),
            resume=resume,
            title=title,
            hardware=self.hardware,
            console=self.console,
        )
        if stage != FUSION:
            self.embeddings[stage] = self.encode(stage, trained.part)
        self.waveforms.clear()  # the stages that follow read none
        if is_main_process():
            self.write_stage(stage, trained)

    def write_stage(self, stage: str, trained: TrainedStage) -> None:
        """Write a trained stage's embeddings and weights, then its record; remove its checkpoint."""
        if stage != FUSION:
            write_embeddings(self.files.get_embeddings(stage), self.embeddings[stage])
        save_stage(self.files.model, stage, trained.part)
        if stage == TEXT_UTTERANCE and self.tokenizer is not None:
            save_text_assets(self.files.model, getattr(trained.part, "bert"), self.tokenizer)  # noqa: B009
        record = {
            "origin": self.origins[stage],
            "seconds": round(trained.seconds, 1),
            "peak_mebibytes": measure_peak_mebibytes(),
            "epochs": trained.history,
        }
        write_json(self.files.get_record(stage), record)
        self.files.remove_unfinished(stage)

    def select_sets(self, stage: str) -> tuple[Sequence[Conversation], Sequence[Conversation]]:
        """Return the conversations that train a stage, and those that select its epoch."""
        if stage in ENCODERS and self.recipe.selection == "released":
            select = ReleasedSelection(derive_seed(self.recipe.seed, "selection"))
            return select(self.train, self.validation, self.label_set)
        return self.train, self.validation

    def build_data(self, stage: str) -> StageData:
        train, validation = self.select_sets(stage)
        if stage == AUDIO_UTTERANCE:
            return build_waveform_data(train, validation, self.recipe, self.label_set, self.waveforms)
        if stage == TEXT_UTTERANCE:
            assert self.tokenizer is not None, "prepare loads the tokenizer"
            return build_token_data(train, validation, self.tokenizer, self.label_set)
        if stage == FUSION and self.recipe.fusion.handles_missing_modality:
            return build_fusion_data(train, validation, self.read_inputs(stage), self.recipe, self.label_set)
        return build_conversation_data(train, validation, self.read_inputs(stage), self.label_set)

    def read_inputs(self, stage: str) -> list[Embeddings]:
        """Return the input sequences of a context stage or the fusion: (D,) by utterance id, for each sequence."""
        found = [self.get_vectors(source) for source in STAGE_INPUTS[stage]]
        return [self.build_context_inputs(stage, *found)] if stage in ENCODER_BY_STAGE else found

    def get_vectors(self, stage: str) -> Embeddings:
        """Return a trained stage's embeddings, or the precomputed ones that replace it."""
        return self.embeddings.get(stage) or read_embeddings(self.files.get_embeddings(stage)).vectors

    def build_context_inputs(self, stage: str, vectors: Embeddings) -> Embeddings:
        """Convert an utterance encoder's embeddings to a context stage's inputs, conversation by conversation."""
        inputs: dict[str, torch.Tensor] = {}
        for conversation in self.conversations:
            turns = conversation.utterances
            ids = [turn.id for turn in turns]
            inputs.update(
                zip(ids, build_context_input(stage, self.recipe, stack_embeddings(vectors, ids), turns), strict=True)
            )
        return inputs

    def encode(self, stage: str, part: nn.Module) -> Embeddings:
        """Compute the frozen part's embeddings for the next stage: (D,) by utterance id."""
        self.console.print("  computing embeddings", highlight=False)
        if stage not in ENCODER_BY_STAGE:
            utterances = [utterance for conversation in self.conversations for utterance in conversation.utterances]
            encoding = encode_utterances(stage, part, utterances, self.recipe, self.tokenizer, self.waveforms)
            return dict(zip(self.ids, encoding.embeddings, strict=True))
        (vectors,) = self.read_inputs(stage)
        sizes = [len(conversation.utterances) for conversation in self.conversations]
        encodings = encode_conversations(part, split_by_conversation(stack_embeddings(vectors, self.ids), sizes))
        return dict(zip(self.ids, torch.cat([encoding.embeddings for encoding in encodings]), strict=True))


def measure_peak_mebibytes() -> int | None:
    """Return this process's peak memory; None where the system does not report it."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in KiB; macOS alone counts bytes
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024))
