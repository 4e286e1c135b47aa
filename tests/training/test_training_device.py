"""A part encodes the corpus on the device that trained it, and what it gives is kept on the CPU."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from moodline.config import AUDIO_CONTEXT, AUDIO_UTTERANCE, STAGES, TrainingConfig
from moodline.conversation import IEMOCAP4
from moodline.errors import MoodlineError
from moodline.inference.windows import encode_conversations
from moodline.modeling.model import build_stage
from moodline.training.dataset import StageData, build_conversation_items
from moodline.training.lightning_module import StageModule
from moodline.training.trainer import Hardware, train_stage
from tests import accelerator as simulated
from tests.accelerator import Accelerator, Remote, accelerator
from tests.inference.tiny_models import SIZES, conversation_of, recipe_of
from tests.system import moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

__all__ = ["accelerator"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("training_device")
    write_tree(place / "tree")
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    return place


def train(place: Path, out: Path, *options: str) -> Path:
    command = ["train", place / "corpus", "--recipe", place / "tiny.yaml", "--protocol", "session5", "-o", out]
    moodline(*command, *(f"--{stage}.training.epochs=1" for stage in STAGES), *options)
    return out / "fold-5"


def test_a_trained_part_encodes_on_its_device(
    tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning trains on the CPU here, and the device that it would have trained on is simulated."""
    recipe, talk = recipe_of(), conversation_of(5)
    recipe = replace(recipe, audio_context=replace(recipe.audio_context, training=TrainingConfig(epochs=1)))
    labelled = [replace(talk, utterances=tuple(replace(one, label="ang") for one in talk.utterances))]
    vectors = {one.id: torch.randn(SIZES[AUDIO_UTTERANCE]) for one in talk.utterances}
    monkeypatch.setattr(Hardware, "find_device", lambda self: torch.device(simulated.NAME))
    with accelerator:
        trained = StageModule(
            AUDIO_CONTEXT,
            build_stage(AUDIO_CONTEXT, recipe, len(IEMOCAP4.classes)),
            StageData(*[build_conversation_items(labelled, [vectors], IEMOCAP4)] * 2),
            recipe,
            classes=len(IEMOCAP4.classes),
            scored_labels=torch.zeros(len(vectors), dtype=torch.long),
            checkpoint=tmp_path / "state.pt",
        )
        hardware = Hardware(accelerator="cpu")
        train_stage(trained, tmp_path / "logs", "", hardware, Console(quiet=True), resume=False)
        (found,) = encode_conversations(trained.part, [torch.stack(list(vectors.values()))])
    assert next(trained.part.parameters()).device.type == simulated.NAME
    assert not isinstance(found.embeddings, Remote)
    assert found.embeddings.isfinite().all()


def test_training_that_exceeds_memory_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, talk = recipe_of(), conversation_of(5)
    labelled = [replace(talk, utterances=tuple(replace(one, label="ang") for one in talk.utterances))]
    vectors = {one.id: torch.randn(SIZES[AUDIO_UTTERANCE]) for one in talk.utterances}
    part = build_stage(AUDIO_CONTEXT, recipe, len(IEMOCAP4.classes))

    def exceed(*inputs: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has little.")

    monkeypatch.setattr(part, "forward", exceed)
    module = StageModule(
        AUDIO_CONTEXT,
        part,
        StageData(*[build_conversation_items(labelled, [vectors], IEMOCAP4)] * 2),
        recipe,
        classes=len(IEMOCAP4.classes),
        scored_labels=torch.zeros(len(vectors), dtype=torch.long),
        checkpoint=tmp_path / "state.pt",
    )
    with pytest.raises(MoodlineError) as refused:
        train_stage(module, tmp_path / "logs", "", Hardware(accelerator="cpu"), Console(quiet=True), resume=False)
    assert refused.value.code == "device.out_of_memory"
    for word in ("2.00 GiB", f"{AUDIO_CONTEXT}.training.batch_size"):
        assert word in str(refused.value)


def test_one_device_is_lightnings_accelerator_and_index() -> None:
    assert Hardware.on(torch.device("cpu")).find_device() == torch.device("cpu")
    second = Hardware.on(torch.device("cuda", 1), precision="bf16-mixed")
    assert (second.accelerator, second.devices, second.precision) == ("cuda", "1,", "bf16-mixed")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_all_stages_train_on_cuda(place: Path, tmp_path: Path) -> None:
    """An epoch has two steps and more; the run is then scored there."""
    fold = train(place, tmp_path / "run", "--device", "cuda")
    for stage in STAGES:
        (epoch,) = json.loads((fold / f"stages/{stage}.json").read_text())["epochs"]
        assert epoch["train_loss"] > 0
    moodline("evaluate", tmp_path / "run", "--device", "cuda")
