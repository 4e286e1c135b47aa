"""Several processes train one model: what they learn is what one process learns."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from moodline.config import AUDIO_CONTEXT, FUSION, TEXT_CONTEXT, TEXT_UTTERANCE
from moodline.embeddings import read_embeddings, stack_embeddings
from tests.processes import run_together
from tests.system import SAME_PROBABILITY, moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

pytestmark = pytest.mark.slow
# A loss differs by the order of its sums, and as much again for each step that its weights took.
ALLOWED = 20 * SAME_PROBABILITY
IN_CONTEXT = (AUDIO_CONTEXT, TEXT_CONTEXT, FUSION)
WITHOUT_DROPOUT = [f"--{stage}.dropout=0" for stage in IN_CONTEXT] + ["--fusion.output_dropout=0"]
TWO_PROCESSES = ["--accelerator", "cpu", "--devices", "2", "--strategy", "ddp"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def launch(command: list[object], program: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Let Lightning or torchrun start the processes; both import everything anew."""
    started = [sys.executable, *program, *map(str, command), *TWO_PROCESSES]
    whole = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(started, env=whole, capture_output=True, text=True, check=False, timeout=300)


def in_two_processes(command: list[object], errors: Path) -> None:
    assert run_together([*map(str, command), *TWO_PROCESSES], errors) == [0, 0], [
        path.read_text() for path in errors.parent.glob(f"{errors.name}-*")
    ]


def assert_same_losses(one: Path, two: Path) -> None:
    for stage in IN_CONTEXT:
        records = [json.loads((run / f"fold-5/stages/{stage}.json").read_text())["epochs"] for run in (one, two)]
        for epoch_of_one, epoch_of_two in zip(*records, strict=True):
            for loss in ("train_loss", "validation_loss"):
                assert epoch_of_two[loss] == pytest.approx(epoch_of_one[loss], abs=ALLOWED), (stage, loss)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of nine conversations, in batches of four: one/, beside its corpus and its recipe."""
    place = tmp_path_factory.mktemp("processes")
    write_tree(place / "tree", conversations=3)
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    moodline(*training(place / "one", 4))
    return place / "one"


def training(run: Path, batch_size: int) -> list[object]:
    place = run.parent
    command = ["train", place / "corpus", "--recipe", place / "tiny.yaml", "--protocol", "session5", "-o", run]
    return [*command, *WITHOUT_DROPOUT, *(f"--{stage}.training.batch_size={batch_size}" for stage in IN_CONTEXT)]


def test_two_processes_train_to_the_losses_of_one(one: Path) -> None:
    """Batches of four: equal numbers of conversations a process. The encoders are finished."""
    two = one.with_name("two")
    shutil.copytree(one, two)
    (two / "fold-5/model/config.json").unlink()
    for stage in IN_CONTEXT:
        (two / f"fold-5/stages/{stage}.json").unlink()
    in_two_processes(training(two, 4), one.with_name("errors"))
    assert_same_losses(one, two)


def test_so_they_do_with_another_recipe_and_batches_that_are_not_even(one: Path) -> None:
    """Batches of five: unequal numbers of conversations a process, and one with none. The encoders are kept."""
    others = [one.with_name(f"{number}-in-fives") for number in ("one", "two")]
    for other in others:
        shutil.copytree(one, other)
    moodline(*training(others[0], 5))
    in_two_processes(training(others[1], 5), one.with_name("errors"))
    assert_same_losses(*others)


def test_so_they_do_with_crossfitted_contexts(one: Path) -> None:
    moodline("embed", one.with_name("corpus"), "--model", one / "fold-5/model", "-o", one.with_name("embeddings"))
    given = [("--audio-embeddings", "audio.parquet"), ("--text-embeddings", "text.parquet")]
    others = [one.with_name(f"{number}-crossfitted") for number in ("one", "two")]
    commands = [[*training(other, 4), "--crossfit=2"] for other in others]
    for command in commands:
        for option, file in given:
            command += [option, one.with_name("embeddings") / file]
    moodline(*commands[0])
    in_two_processes(commands[1], one.with_name("errors"))
    assert_same_losses(*others)
    for stage in (AUDIO_CONTEXT, TEXT_CONTEXT):
        aligned = [read_embeddings(run / f"fold-5/embeddings/{stage}.parquet").vectors for run in others]
        found = [stack_embeddings(vectors, sorted(aligned[0])) for vectors in aligned]
        assert torch.allclose(*found, rtol=0, atol=ALLOWED)


SLOW_REUSE = """
import sys, time
from moodline.cli.main import main
from moodline.training import fold_training

take_over = fold_training.reuse_stage

def take_over_slowly(*arguments):
    time.sleep(1)
    take_over(*arguments)

fold_training.reuse_stage = take_over_slowly
main(sys.argv[1:])
"""


@pytest.mark.parametrize("launcher", [[], TORCHRUN], ids=["Lightning", "torchrun"])
def test_two_processes_train_the_same_stages_when_one_takes_over_slowly(tmp_path: Path, launcher: list[str]) -> None:
    """The text encoders of all folds come from another run; the context stages are trained.

    In the second fold the main process takes the encoder over late: the other one must wait for its decision. Processes
    that torchrun starts must wait in the first fold too.
    """
    write_tree(tmp_path / "tree", sessions=3)
    write_recipe(tmp_path / "tiny.yaml", tiny_bert(tmp_path / "bert"))
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    command = ["train", tmp_path / "corpus", "--recipe", tmp_path / "tiny.yaml", "--protocol", "kfold3"]
    command += ["--modalities", "text", "--text_utterance.training.epochs=1", "--text_context.training.epochs=1"]
    moodline(*command, "-o", tmp_path / "others/run")
    (tmp_path / "slow.py").write_text(SLOW_REUSE)
    changed = [*command, "--text_context.layers=1", "--reuse", tmp_path / "others", "-o", tmp_path / "run"]
    result = launch(changed, [*launcher, str(tmp_path / "slow.py")])
    assert result.returncode == 0, result.stderr
    for fold in (1, 2, 3):
        mine, other = (tmp_path / run / f"fold-{fold}/stages" for run in ("run", "others/run"))
        encoder, context = (f"{stage}.json" for stage in (TEXT_UTTERANCE, TEXT_CONTEXT))
        assert (mine / encoder).read_bytes() == (other / encoder).read_bytes()
        assert (mine / context).read_bytes() != (other / context).read_bytes()


FAILURE = """
import os, sys
import torch
from moodline.cli.main import main
from moodline.errors import MoodlineError
from moodline.inference.encode import UtteranceEncoder

store_features = UtteranceEncoder.store_features

def fail(self, *arguments, **others):
    if torch.distributed.is_initialized() and os.environ.get("LOCAL_RANK", "0") == os.environ["FAILING"]:
        raise MoodlineError("a file is broken", code="audio.unreadable")
    store_features(self, *arguments, **others)

UtteranceEncoder.store_features = fail
main(sys.argv[1:])
"""


@pytest.mark.parametrize("failing", ["0", "1"])
def test_all_processes_end_with_the_error_of_the_one_that_computes_no_features(tmp_path: Path, failing: str) -> None:
    """The audio encoder connects the processes; the features of the encoder of words come after it."""
    write_tree(tmp_path / "tree")
    write_recipe(tmp_path / "tiny.yaml", tiny_bert(tmp_path / "bert"))
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    (tmp_path / "failure.py").write_text(FAILURE)
    command = ["train", tmp_path / "corpus", "--recipe", tmp_path / "tiny.yaml", "--protocol", "session5"]
    command += ["--text_utterance.num_unfrozen_layers=0", "-o", tmp_path / "run"]
    result = launch(command, [str(tmp_path / "failure.py")], FAILING=failing)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "moodline: a file is broken" in result.stderr


def test_two_processes_share_the_features_of_a_frozen_encoder(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree")
    write_recipe(tmp_path / "tiny.yaml", tiny_bert(tmp_path / "bert"))
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    command = ["train", tmp_path / "corpus", "--recipe", tmp_path / "tiny.yaml", "--protocol", "session5"]
    command += ["--modalities", "text", "--text_utterance.num_unfrozen_layers=0", "-o", tmp_path / "run"]
    in_two_processes(command, tmp_path / "errors")
    assert len(list((tmp_path / "corpus/features").rglob("*.safetensors"))) == 2  # each wrote a file
