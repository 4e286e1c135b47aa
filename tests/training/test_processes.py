"""Several processes train one model: what they learn is what one process learns."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from moodline.config import AUDIO_CONTEXT, FUSION, TEXT_CONTEXT
from tests.system import moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

IN_CONTEXT = (AUDIO_CONTEXT, TEXT_CONTEXT, FUSION)
WITHOUT_DROPOUT = [f"--{stage}.dropout=0" for stage in IN_CONTEXT] + ["--fusion.output_dropout=0"]
TWO_PROCESSES = ["--accelerator", "cpu", "--devices", "2", "--strategy", "ddp"]


@pytest.mark.parametrize("batch_size", [4, 5])
def test_two_processes_train_to_the_losses_of_one(tmp_path: Path, batch_size: int) -> None:
    """Nine conversations in batches of four, or of five: equal and unequal numbers a process, and one with none."""
    write_tree(tmp_path / "tree", conversations=3)
    write_recipe(tmp_path / "tiny.yaml", tiny_bert(tmp_path / "bert"))
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    sizes = [f"--{stage}.training.batch_size={batch_size}" for stage in IN_CONTEXT]
    command = ["train", tmp_path / "corpus", "--recipe", tmp_path / "tiny.yaml", "--protocol", "session5"]
    command += [*WITHOUT_DROPOUT, *sizes]
    moodline(*command, "-o", tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two/fold-5/model/config.json").unlink()
    for stage in IN_CONTEXT:
        (tmp_path / f"two/fold-5/stages/{stage}.json").unlink()
    started = [sys.executable, "-m", "moodline.cli.main", *map(str, command), "-o", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*started, *TWO_PROCESSES], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for stage in IN_CONTEXT:
        one, two = (
            json.loads((tmp_path / run / f"fold-5/stages/{stage}.json").read_text())["epochs"] for run in ("one", "two")
        )
        assert len(one) == len(two)
        for epoch_of_one, epoch_of_two in zip(one, two, strict=True):
            for loss in ("train_loss", "validation_loss"):
                assert epoch_of_two[loss] == pytest.approx(epoch_of_one[loss], abs=1e-5), (stage, loss)
