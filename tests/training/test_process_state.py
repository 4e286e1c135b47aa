"""Training changes no setting of the process that calls it."""

import logging
import random
import warnings
from pathlib import Path
from typing import Any

import huggingface_hub.utils
import numpy as np
import pytest
import torch
from transformers.utils import logging as transformers_logging

from moodline.modeling.pretrained_files import silence_transformers
from moodline.modeling.text_encoder import load_text_backbone
from moodline.training.trainer import isolate_training, seed_initialisation
from tests.system import moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

LOGGERS = ("lightning.pytorch", "lightning.fabric", "torch")


def read_state() -> dict[str, Any]:
    return {
        "filters": list(warnings.filters),
        "levels": {name: logging.getLogger(name).level for name in LOGGERS},
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "random": (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()),  # type: ignore[index]
        "transformers": (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()),
        "hub": (
            huggingface_hub.utils.logging.get_verbosity(),
            huggingface_hub.utils.are_progress_bars_disabled(),
        ),
    }


@pytest.fixture(autouse=True)
def unusual_settings() -> Any:
    """Settings that nothing in moodline uses, so that a default put back instead of them shows."""
    before = transformers_logging.get_verbosity(), huggingface_hub.utils.logging.get_verbosity()
    transformers_logging.set_verbosity_info()
    huggingface_hub.utils.logging.set_verbosity_info()
    yield
    transformers_logging.set_verbosity(before[0])
    huggingface_hub.utils.logging.set_verbosity(before[1])


@pytest.mark.parametrize(("deterministic", "warn_only"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("fails", [False, True])
def test_isolated_training_restores_the_state(deterministic: bool, warn_only: bool, fails: bool) -> None:
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    try:
        before = read_state()
        with pytest.raises(ZeroDivisionError) if fails else warnings.catch_warnings(), isolate_training():
            seed_initialisation("a stage")
            torch.rand(3)
            warnings.simplefilter("error")
            if fails:
                raise ZeroDivisionError
        assert read_state() == before
    finally:
        torch.use_deterministic_algorithms(False)


def test_warnings_of_torch_are_shown_in_training() -> None:
    with pytest.warns(UserWarning, match="not deterministic"), isolate_training():
        warnings.warn_explicit(
            "not deterministic", UserWarning, "torch/nn/functional.py", 1, module="torch.nn.functional"
        )


@pytest.mark.parametrize("bars", [False, True])
def test_loading_bert_restores_the_state(tmp_path: Path, bars: bool) -> None:
    if not bars:
        transformers_logging.disable_progress_bar()
    try:
        before = read_state()
        load_text_backbone(str(tiny_bert(tmp_path)), 24)
        assert read_state() == before
        with pytest.raises(ZeroDivisionError), silence_transformers():
            raise ZeroDivisionError
        assert read_state() == before
    finally:
        transformers_logging.enable_progress_bar()


@pytest.mark.slow
def test_train_restores_the_state(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree")
    write_recipe(tmp_path / "tiny.yaml", tiny_bert(tmp_path / "bert"))
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    command = ["train", tmp_path / "corpus", "--recipe", tmp_path / "tiny.yaml", "--protocol", "session5"]
    before = read_state()
    moodline(*command, "--modalities=text", "-o", tmp_path / "run")
    assert read_state() == before
