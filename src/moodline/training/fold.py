"""The five parts of one fold, trained in order; each is frozen before the next one trains."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from moodline.checkpoint import Provenance, save_description, save_stage, save_text_assets
from moodline.config import AUDIO_CONTEXT, AUDIO_UTTERANCE, FUSION, STAGE_NAMES, TEXT_CONTEXT, TEXT_UTTERANCE, Recipe
from moodline.conversation import Conversation, LabelSet
from moodline.corpora.protocol import TrainingSets
from moodline.files import read_json, write_json
from moodline.inference.encode import by_conversation, encode_conversations, encode_utterances
from moodline.model import ENCODER_OF, build_stage
from moodline.text.pretrained import Tokenizer, load_bert
from moodline.training.data import StageData, conversation_data, scored_utterances, token_data, waveform_data
from moodline.training.embeddings import read_embeddings, write_embeddings
from moodline.training.stage import Hardware, initialise, train_stage

# What each stage after the encoders reads.
READS = {AUDIO_CONTEXT: (AUDIO_UTTERANCE,), TEXT_CONTEXT: (TEXT_UTTERANCE,), FUSION: (AUDIO_CONTEXT, TEXT_CONTEXT)}


class FoldTraining:
    """Trains one fold into a folder.

        model/                  the model folder, complete when its config.json is there
        stages/<stage>.json     written last: the stage is finished, and how its epochs went
        embeddings/             what the finished stages give, for the next ones
        logs/                   TensorBoard and CSV

    Finished stages are kept and not run again.
    """

    def __init__(
        self,
        sets: TrainingSets,
        recipe: Recipe,
        label_set: LabelSet,
        folder: Path,
        *,
        title: str,
        hardware: Hardware,
        console: Console,
    ) -> None:
        self.train = [conversation.in_context(label_set, recipe.context) for conversation in sets.train]
        self.validation = [conversation.in_context(label_set, recipe.context) for conversation in sets.validation]
        self.recipe, self.label_set, self.folder = recipe, label_set, folder
        self.title, self.hardware, self.console = title, hardware, console
        self.tokenizer: Tokenizer | None = None

    @property
    def conversations(self) -> list[Conversation]:
        """All that training may see, empty conversations aside."""
        return [conversation for conversation in (*self.train, *self.validation) if conversation.utterances]

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"

    def run(self, provenance: Provenance) -> None:
        """Train what is not trained yet, and describe the model."""
        for number, stage in enumerate(self.recipe.stages, start=1):
            name = f"{self.title}stage {number} of {len(self.recipe.stages)}: {STAGE_NAMES[stage]}"
            if self.is_finished(stage):
                self.console.print(f"{name}: finished before", highlight=False)
            else:
                self.run_stage(stage, name)
        save_description(self.model_folder, self.recipe, self.label_set, provenance)

    def is_finished(self, stage: str) -> bool:
        return self.record_file(stage).is_file()

    def record_file(self, stage: str) -> Path:
        return self.folder / "stages" / f"{stage}.json"

    def embeddings_file(self, stage: str) -> Path:
        return self.folder / "embeddings" / f"{stage}.parquet"

    def run_stage(self, stage: str, title: str) -> None:
        initialise(self.recipe.seed, stage)
        part = self.build(stage)
        classes = len(self.label_set.classes)
        trained = train_stage(
            stage,
            part,
            self.data(stage),
            self.recipe,
            classes=classes,
            scored_labels=scored_utterances(self.train, self.label_set)[1],
            logs=self.folder / "logs",
            title=title,
            hardware=self.hardware,
            console=self.console,
        )
        vectors = None if stage == FUSION else self.encode(stage, trained.part)
        if not trained.is_main_process:
            return
        if isinstance(vectors, Tensor):
            ids = [utterance.id for conversation in self.conversations for utterance in conversation.utterances]
            write_embeddings(self.embeddings_file(stage), ids, vectors)
        save_stage(self.model_folder, stage, trained.part)
        if stage == TEXT_UTTERANCE and self.tokenizer is not None:
            save_text_assets(self.model_folder, getattr(trained.part, "bert"), self.tokenizer)  # noqa: B009
        write_json(self.record_file(stage), {"seconds": round(trained.seconds, 1), "epochs": trained.history})

    def build(self, stage: str) -> nn.Module:
        bert: Any = None
        if stage == TEXT_UTTERANCE:
            text = self.recipe.text_utterance
            bert, self.tokenizer = load_bert(text.bert, text.maximum_tokens)
            initialise(self.recipe.seed, stage)  # loading may have drawn random numbers
        return build_stage(stage, self.recipe, len(self.label_set.classes), bert)

    def data(self, stage: str) -> StageData:
        if stage == AUDIO_UTTERANCE:
            return waveform_data(self.train, self.validation, self.recipe, self.label_set)
        if stage == TEXT_UTTERANCE:
            assert self.tokenizer is not None, "build loads the tokenizer"
            return token_data(self.train, self.validation, self.tokenizer, self.label_set)
        return conversation_data(self.train, self.validation, self.read(stage), self.label_set)

    def read(self, stage: str) -> list[Mapping[str, Tensor]]:
        return [read_embeddings(self.embeddings_file(source)) for source in READS[stage]]

    def encode(self, stage: str, part: nn.Module) -> Tensor:
        """The frozen part's embeddings of all that the next stage reads, (N, D) in the order of the conversations."""
        self.console.print("  computing embeddings", highlight=False)
        utterances = [utterance for conversation in self.conversations for utterance in conversation.utterances]
        if stage not in ENCODER_OF:
            return encode_utterances(stage, part, utterances, self.recipe, self.tokenizer).embeddings
        (vectors,) = self.read(stage)
        stacked = torch.stack([vectors[utterance.id] for utterance in utterances])
        sizes = [len(conversation.utterances) for conversation in self.conversations]
        encodings = encode_conversations(part, by_conversation(stacked, sizes))
        return torch.cat([encoding.embeddings for encoding in encodings])


def histories(folder: Path, stages: Sequence[str]) -> dict[str, list[dict[str, float]]]:
    """Each finished stage's epochs: losses and validation UA."""
    found = {stage: folder / "stages" / f"{stage}.json" for stage in stages}
    return {stage: read_json(path, "stage")["epochs"] for stage, path in found.items() if path.is_file()}


def is_complete(folder: Path) -> bool:
    """Whether a fold's folder holds a whole model."""
    return (folder / "model" / "config.json").is_file()
