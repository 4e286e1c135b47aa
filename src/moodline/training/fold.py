"""The five parts of one fold, trained in order; each is frozen before the next one trains."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from moodline.checkpoint import Provenance, save_description, save_stage, save_text_assets
from moodline.config import AUDIO_CONTEXT, AUDIO_UTTERANCE, FUSION, STAGE_NAMES, TEXT_CONTEXT, TEXT_UTTERANCE, Recipe
from moodline.conversation import Conversation, LabelSet
from moodline.corpora.protocol import TrainingSets
from moodline.embeddings import Embeddings, read_embeddings, stack, unique_ids, write_embeddings
from moodline.files import write_json
from moodline.inference.encode import by_conversation, encode_conversations, encode_utterances
from moodline.model import ENCODER_OF, build_stage
from moodline.text.pretrained import Tokenizer, load_bert
from moodline.training.data import StageData, conversation_data, scored_utterances, token_data, waveform_data
from moodline.training.stage import Hardware, initialise, is_main_process, train_stage

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
        given: Mapping[str, Embeddings],
        title: str,
        hardware: Hardware,
        console: Console,
    ) -> None:
        self.train = [conversation.in_context(label_set, recipe.context) for conversation in sets.train]
        self.validation = [conversation.in_context(label_set, recipe.context) for conversation in sets.validation]
        self.recipe, self.label_set, self.folder = recipe, label_set, folder
        self.title, self.hardware, self.console = title, hardware, console
        self.tokenizer: Tokenizer | None = None
        # Given ones, and those of the stages trained just now: every process has them, whether or not the main one
        # has written them yet.
        self.embeddings: dict[str, Embeddings] = dict(given)
        self.ids = unique_ids(self.conversations)

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
        if is_main_process():
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
        if stage != FUSION:
            self.embeddings[stage] = self.encode(stage, trained.part)
        if not is_main_process():
            return
        if stage != FUSION:
            write_embeddings(self.embeddings_file(stage), self.embeddings[stage])
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

    def read(self, stage: str) -> list[Embeddings]:
        return [
            self.embeddings.get(source) or read_embeddings(self.embeddings_file(source)).vectors
            for source in READS[stage]
        ]

    def encode(self, stage: str, part: nn.Module) -> Embeddings:
        """The frozen part's embeddings of all that the next stage reads: (D,) by utterance id."""
        self.console.print("  computing embeddings", highlight=False)
        if stage not in ENCODER_OF:
            utterances = [utterance for conversation in self.conversations for utterance in conversation.utterances]
            encoding = encode_utterances(stage, part, utterances, self.recipe, self.tokenizer)
            return dict(zip(self.ids, encoding.embeddings, strict=True))
        (vectors,) = self.read(stage)
        sizes = [len(conversation.utterances) for conversation in self.conversations]
        encodings = encode_conversations(part, by_conversation(stack(vectors, self.ids), sizes))
        return dict(zip(self.ids, torch.cat([encoding.embeddings for encoding in encodings]), strict=True))
