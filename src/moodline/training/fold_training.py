"""The five parts of one fold, trained in order; each is frozen before the next one trains."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
    """The files of one fold, in its folder:

    model/                  the model folder, complete when its config.json is there
    stages/<stage>.json     written last: the stage is finished, what it was made from, how its epochs went, and the
                            most memory that the process had held by then
    stages/<stage>.pt       Lightning's state of a stage that is not finished; loaded as weights only
    embeddings/             what the finished stages give, for the next ones
    logs/                   TensorBoard and CSV
    """

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def record(self, stage: str) -> Path:
        return self.folder / "stages" / f"{stage}.json"

    def origin(self, stage: str) -> Path:
        """What an unfinished stage is made from."""
        return self.folder / "stages" / f"{stage}.unfinished.json"

    def get_state(self, stage: str) -> Path:
        return self.folder / "stages" / f"{stage}.pt"

    def embeddings(self, stage: str) -> Path:
        return self.folder / "embeddings" / f"{stage}.parquet"

    def remove_unfinished(self, stage: str) -> None:
        """Remove what the stage could go on from."""
        # The state before the origin: a state without the origin it belongs to would be taken up by another.
        for file in (self.get_state(stage), self.origin(stage)):
            file.unlink(missing_ok=True)

    def remove_stages(self, stages: Sequence[str]) -> None:
        """Remove what tells of these stages: they are to be trained again."""
        if stages:
            # The model first: without its description it is none, and a half-changed one must not pass for whole.
            (self.model / CONFIG_FILE).unlink(missing_ok=True)
        for stage in stages:
            self.record(stage).unlink(missing_ok=True)
            self.remove_unfinished(stage)
            # Loggers add to what is there: two trainings' curves would be drawn as one.
            for logger in LOGGERS:
                shutil.rmtree(self.logs / logger / stage, ignore_errors=True)


class FoldTrainer:
    """Trains one fold.

    Finished stages are kept and not run again, unless what they were made from has changed.
    """

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
        # Given ones, and those of the stages trained just now: every process has them, whether or not the main one
        # has written them yet.
        self.embeddings: dict[str, Embeddings] = {encoder: file.vectors for encoder, file in given.items()}
        self.ids = collect_unique_ids(self.conversations)

    @property
    def conversations(self) -> list[Conversation]:
        """All that training may see, empty conversations aside."""
        return [conversation for conversation in (*self.train, *self.validation) if conversation.utterances]

    @property
    def changes(self) -> dict[str, str]:
        """Stage by stage, in what one that was begun or finished before differs from what it would be now."""
        return {stage: self.find_change(stage) for stage in self.recipe.stages}

    def print_line(self, text: str) -> None:
        self.console.print(f"{self.title}{text}", highlight=False, soft_wrap=True)

    def is_finished(self, stage: str) -> bool:
        return self.files.record(stage).is_file() and not self.find_change(stage)

    def prepare(self) -> None:
        """Load and build what training may fail for, while all that an earlier run left is still there."""
        unfinished = [stage for stage in self.recipe.stages if not self.is_finished(stage)]
        if TEXT_UTTERANCE in unfinished and self.bert is None:
            text = self.recipe.text_utterance
            self.bert, self.tokenizer = load_bert(text.bert, text.maximum_tokens)
        for stage in unfinished:
            build_stage(stage, self.recipe, len(self.label_set.classes), self.bert)

    def run(self, provenance: Provenance) -> None:
        """Train what is not trained yet, and describe the model."""
        self.prepare()
        # All is decided before the first stage trains: another process, which comes later, then decides the same.
        changes = self.changes
        finished = {stage for stage in changes if self.is_finished(stage)}
        if is_main_process():
            self.files.remove_stages([stage for stage in changes if changes[stage]])
        for number, stage in enumerate(self.recipe.stages, start=1):
            name = f"{self.title}stage {number} of {len(self.recipe.stages)}: {STAGE_NAMES[stage]}"
            if stage in finished:
                self.console.print(f"{name}: finished before", highlight=False)
                continue
            if changes[stage]:
                self.console.print(f"{name}: to be trained again, {changes[stage]}", highlight=False, soft_wrap=True)
            self.run_stage(stage, name, go_on=not changes[stage])
        self.describe(provenance)

    def describe(self, provenance: Provenance) -> None:
        """Calibrate the trained stages, measure what trained them, and write what makes of them a model."""
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
        conditions = compute_training_statistics(self.train, self.recipe, self.load_trained_tokenizer())
        save_description(self.files.model, self.recipe, self.label_set, provenance, temperatures, conditions)

    def load_trained_tokenizer(self) -> Tokenizer | None:
        """The trained model's own; None where it reads no words."""
        if TEXT_UTTERANCE not in self.recipe.stages:
            return None
        return Tokenizer.from_file(self.files.model / TOKENIZER_FILE, self.recipe.text_utterance.maximum_tokens)

    def fit_temperature(self, stage: str) -> FittedTemperature:
        """Of a trained stage, on the labelled utterances that its epoch was selected by."""
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
        """The trained fusion's logits: (classes,) by utterance id."""
        filled = [one for one in conversations if one.utterances]
        ids, sizes = collect_unique_ids(filled), [len(one.utterances) for one in filled]
        sequences = [split_by_conversation(stack_embeddings(vectors, ids), sizes) for vectors in self.read(FUSION)]
        logits = torch.cat([encoding.logits for encoding in encode_conversations(part, *sequences)])
        return dict(zip(ids, logits, strict=True))

    def reuse(self, finished: Mapping[str, Path]) -> None:
        """Take over stages that others have finished: their records, by the hash of their origin."""
        for stage in self.recipe.stages:
            record = finished.get(hash_origin(self.origins[stage]))
            if record is not None and not self.is_finished(stage):
                self.files.remove_stages([stage])  # what is half another's must not pass for a whole model
                reuse_stage(record, self.files.folder)

    def find_change(self, stage: str) -> str:
        """In what a stage that was begun or finished before differs from what it would be now; empty if in nothing."""
        for file in (self.files.record(stage), self.files.origin(stage)):
            if file.is_file():
                return find_change(read_json(file, "stage").get("origin", {}), self.origins[stage], STAGE_NAMES)
        return ""

    def run_stage(self, stage: str, title: str, *, go_on: bool) -> None:
        seed_initialisation(self.recipe.seed, stage)
        part = self.build_part(stage)
        classes = len(self.label_set.classes)
        if is_main_process():
            write_json(self.files.origin(stage), {"origin": self.origins[stage]})
        trained = train_stage(
            stage,
            part,
            self.data(stage),
            self.recipe,
            classes=classes,
            scored_labels=select_scored(self.select_sets(stage)[0], self.label_set)[1],
            logs=self.files.logs,
            state=self.files.get_state(stage),
            go_on=go_on and self.files.get_state(stage).is_file(),
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
        """Write what a trained stage gives; its record comes last, and what it could go on from is removed."""
        if stage != FUSION:
            write_embeddings(self.files.embeddings(stage), self.embeddings[stage])
        save_stage(self.files.model, stage, trained.part)
        if stage == TEXT_UTTERANCE and self.tokenizer is not None:
            save_text_assets(self.files.model, getattr(trained.part, "bert"), self.tokenizer)  # noqa: B009
        record = {
            "origin": self.origins[stage],
            "seconds": round(trained.seconds, 1),
            "peak_mebibytes": measure_peak_mebibytes(),
            "epochs": trained.history,
        }
        write_json(self.files.record(stage), record)
        self.files.remove_unfinished(stage)

    def build_part(self, stage: str) -> nn.Module:
        bert, self.bert = (self.bert, None) if stage == TEXT_UTTERANCE else (None, self.bert)
        return build_stage(stage, self.recipe, len(self.label_set.classes), bert)

    def select_sets(self, stage: str) -> tuple[Sequence[Conversation], Sequence[Conversation]]:
        """What a stage trains on, and what its epoch is selected by."""
        if stage in ENCODERS and self.recipe.selection == "released":
            select = ReleasedSelection(derive_seed(self.recipe.seed, "selection"))
            return select(self.train, self.validation, self.label_set)
        return self.train, self.validation

    def data(self, stage: str) -> StageData:
        train, validation = self.select_sets(stage)
        if stage == AUDIO_UTTERANCE:
            return build_waveform_data(train, validation, self.recipe, self.label_set, self.waveforms)
        if stage == TEXT_UTTERANCE:
            assert self.tokenizer is not None, "prepare loads the tokenizer"
            return build_token_data(train, validation, self.tokenizer, self.label_set)
        if stage == FUSION and self.recipe.fusion.handles_missing_modality:
            return build_fusion_data(train, validation, self.read(stage), self.recipe, self.label_set)
        return build_conversation_data(train, validation, self.read(stage), self.label_set)

    def read(self, stage: str) -> list[Embeddings]:
        """What a context stage or the fusion reads: (D,) by utterance id, for each sequence."""
        found = [self.get_vectors(source) for source in STAGE_INPUTS[stage]]
        return [self.build_context_inputs(stage, *found)] if stage in ENCODER_BY_STAGE else found

    def get_vectors(self, stage: str) -> Embeddings:
        """What a trained stage gives, or what is given in its place."""
        return self.embeddings.get(stage) or read_embeddings(self.files.embeddings(stage)).vectors

    def build_context_inputs(self, stage: str, vectors: Embeddings) -> Embeddings:
        """The utterance encoder's embeddings as a context stage reads them, conversation by conversation."""
        inputs: dict[str, torch.Tensor] = {}
        for conversation in self.conversations:
            turns = conversation.utterances
            ids = [turn.id for turn in turns]
            inputs.update(
                zip(ids, build_context_input(stage, self.recipe, stack_embeddings(vectors, ids), turns), strict=True)
            )
        return inputs

    def encode(self, stage: str, part: nn.Module) -> Embeddings:
        """The frozen part's embeddings of all that the next stage reads: (D,) by utterance id."""
        self.console.print("  computing embeddings", highlight=False)
        if stage not in ENCODER_BY_STAGE:
            utterances = [utterance for conversation in self.conversations for utterance in conversation.utterances]
            encoding = encode_utterances(stage, part, utterances, self.recipe, self.tokenizer, self.waveforms)
            return dict(zip(self.ids, encoding.embeddings, strict=True))
        (vectors,) = self.read(stage)
        sizes = [len(conversation.utterances) for conversation in self.conversations]
        encodings = encode_conversations(part, split_by_conversation(stack_embeddings(vectors, self.ids), sizes))
        return dict(zip(self.ids, torch.cat([encoding.embeddings for encoding in encodings]), strict=True))


def measure_peak_mebibytes() -> int | None:
    """The most memory that this process has held so far; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in KiB; macOS alone counts bytes
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024))
