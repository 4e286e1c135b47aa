"""Start a run from a trained model: its weights in place of random ones, for another corpus or other classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE, Recipe
from moodline.conversation import LabelSet, find_training_overlap
from moodline.corpora.protocols import Fold
from moodline.errors import MoodlineError
from moodline.hub import locate_model
from moodline.io import hash_file
from moodline.modeling.audio_assets import AudioBackbone
from moodline.modeling.checkpoint import TOKENIZER_FILE, load_part, name_of_model, without_places
from moodline.modeling.description import ModelDescription, load_description
from moodline.modeling.pretrained_audio import PretrainedAudio
from moodline.modeling.text_encoder import TextEncoder, Tokenizer

# Components of the names of weights that depend on the classes: the last layers, and the relations between classes.
OF_CLASSES = frozenset({"classify", "classifier", "speaker_crf"})
LATE_FUSION = "late_fusion."  # of the contexts, once they are trained


@dataclass(frozen=True)
class StartModel:
    """A model that a run starts from.

    Attributes:
        hashes: of the weights, by stage
    """

    folder: Path
    name: str
    described: ModelDescription
    hashes: Mapping[str, str]

    def load_backbone(self, stage: str, recipe: Recipe) -> tuple[Any, Tokenizer | None]:
        """Load the pretrained encoder of a stage's part and its tokenizer, as ``modeling.model.load_backbone`` does.

        Raises:
            MoodlineError: the recipe has another encoder
        """
        own, wanted = (describe_encoder(stage, without_places(one)) for one in (self.described.recipe, recipe))
        if own != wanted:
            raise MoodlineError(
                f"{self.name} has the encoder {' '.join(own)} in {stage}, and the recipe has {' '.join(wanted)}. Leave "
                "out the recipe and keys that change the encoder, to take the model's own.",
                code="start.unfit_part",
            )
        part = self._load_part(stage).requires_grad_(True)  # the new part freezes what its own recipe says
        if isinstance(part, TextEncoder):
            tokenizer = Tokenizer.from_file(self.folder / TOKENIZER_FILE, recipe.text_utterance.maximum_tokens)
            return part.bert, tokenizer
        if isinstance(part, PretrainedAudio):
            return AudioBackbone(part.backbone, part.reader.extractor), None
        return None, None

    def copy_weights(self, part: nn.Module, stage: str, label_set: LabelSet) -> None:
        """Copy the weights of a stage to a new part; with other classes, those of the last layers stay new.

        Raises:
            MoodlineError: the part has other weights than the model's
        """
        found = self._load_part(stage).state_dict()
        own = part.state_dict()
        same_classes = self.described.label_set.classes == label_set.classes
        for name in sorted(own.keys() | found.keys()):
            if LATE_FUSION in name or (not same_classes and OF_CLASSES & set(name.split("."))):
                continue
            had, has = (list(weights[name].shape) if name in weights else "nothing" for weights in (found, own))
            if had != has:
                raise MoodlineError(
                    f"{self.name} has {had} as the shape of {stage}'s weights {name}, and the recipe has {has}. "
                    "Leave out the recipe and keys that change shapes, to take the model's own.",
                    code="start.unfit_part",
                )
            own[name] = found[name]
        part.load_state_dict(own)

    def _load_part(self, stage: str) -> nn.Module:
        return load_part(self.folder, stage, self.described.recipe, self.described.label_set)


def describe_encoder(stage: str, recipe: Recipe) -> tuple[str, ...]:
    """Describe the encoder of a stage by its kind and its pretrained model; empty for a stage without one."""
    if stage == AUDIO_UTTERANCE:
        audio = recipe.audio_utterance
        return (audio.encoder,) if audio.encoder == "leaf_cnn" else (audio.encoder, audio.pretrained)
    return (recipe.text_utterance.pretrained,) if stage == TEXT_UTTERANCE else ()


def read_start(named: str | Path) -> StartModel:
    """Read a model folder, or a model of a hub, to start from."""
    folder = locate_model(named)
    described = load_description(folder)
    hashes = {stage: hash_file(folder / f"{stage}.safetensors") for stage in described.recipe.stages}
    return StartModel(folder, name_of_model(folder), described, hashes)


def note_start(start: StartModel, fold: Fold) -> tuple[str, ...]:
    """Name the start, and say if it has seen conversations that select epochs or that cross-fitting holds out."""
    used = (*fold.train, *fold.validation)
    seen = sum(1 for _ in find_training_overlap(start.described.provenance, used, None))
    notes = (f"started from the model {start.name}",)
    if not seen:
        return notes
    return (
        *notes,
        f"{start.name} has seen {seen} of the {len(used)} conversations that train and select, so validation losses "
        "are too low, and no part of crossfit is new to it",
    )


def refuse_seen_test_set(start: StartModel, fold: Fold) -> None:
    """Refuse to start a fold from a model that has seen the conversations that the fold tests."""
    for conversation, how in find_training_overlap(start.described.provenance, fold.test, fold.test_speaker):
        raise MoodlineError(
            f"{start.name} was {how} {conversation.id}, which {fold.protocol}, fold {fold.name} tests. Test on other "
            "conversations, or train from nothing.",
            code="start.seen_test_set",
        )
