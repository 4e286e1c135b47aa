"""Nothing is lost: a run that was killed, interrupted or out of disk space goes on to what an unbroken one gives."""

import hashlib
import json
import os
import random
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from moodline.config import STAGES
from moodline.corpora.corpus import Corpus, read_corpus, write_corpus
from tests.processes import DieAtWrite, DieInTraining, FileSizeLimit, run, start
from tests.system import AS_RELEASED, moodline, refused, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

pytestmark = pytest.mark.slow
EPOCHS = [f"--{stage}.training.epochs=3" for stage in STAGES]
# All that is drawn in an epoch of the audio encoder; the other stages have dropout as they are.
DRAWN = [
    "--audio_utterance.dropout=0.2",
    "--audio_utterance.mask_channels=3",
    "--audio_utterance.shift_channels=2",
    "--audio_utterance.speed_change=0.1",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus and an unbroken, scored run: corpus/, tiny.yaml, run/.

    All training here is in processes of one thread: sums of several threads have another rounding.
    """
    place = tmp_path_factory.mktemp("going_on")
    write_tree(place / "tree")
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    moodline("prepare", "iemocap", place / "tree", "-o", place / "corpus")
    assert run(training(place, place / "run"), place / "errors") == 0
    moodline("evaluate", place / "run")
    return place


def training(place: Path, out: Path, *options: str) -> list[str]:
    command = ["train", str(place / "corpus"), "--recipe", str(place / "tiny.yaml"), "--protocol", "session5"]
    return [*command, "-o", str(out), *EPOCHS, *DRAWN, *options]


def assert_like_unbroken(place: Path, out: Path) -> None:
    """The same weights, epochs and description, and nothing left over."""
    expected, found = place / "run/fold-5", out / "fold-5"
    for stage in STAGES:
        before, after = (load_file(fold / f"model/{stage}.safetensors") for fold in (expected, found))
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[name], after[name]) for name in before), stage
        assert record(found, stage)["epochs"] == record(expected, stage)["epochs"]
    assert description(found) == description(expected)
    assert files(found) == files(expected)


def assert_scored_like_unbroken(place: Path, out: Path) -> None:
    """The same predictions and scores."""
    moodline("evaluate", out)
    assert pq.read_table(out / "predictions.parquet").equals(pq.read_table(place / "run/predictions.parquet"))
    results = [json.loads((folder / "results.json").read_text())["scores"] for folder in (place / "run", out)]
    assert results[0] == results[1]


def description(fold: Path) -> dict[str, Any]:
    return json.loads((fold / "model/config.json").read_text())


def record(fold: Path, stage: str) -> dict[str, Any]:
    return json.loads((fold / f"stages/{stage}.json").read_text())


def files(fold: Path) -> set[str]:
    """What a finished fold holds; every start of TensorBoard's log has a file of its own."""
    return {str(path.relative_to(fold)) for path in fold.rglob("*") if "tensorboard" not in path.parts}


def test_a_run_killed_at_twenty_moments_ends_like_an_unbroken_one(place: Path, tmp_path: Path) -> None:
    """Twelve at a write, eight at any time within what is left; a run that ends before its time is begun anew."""
    draw, out = random.Random(0), tmp_path / "run"
    command, errors = training(place, out), tmp_path / "errors"
    killed = 0
    while killed < 20:
        if killed % 5 < 3:
            prepare = DieAtWrite(draw.randint(1, 5), draw.choice(["before", "half", "after"]))
            status = run(command, errors, prepare)
        else:
            process = start(command, errors)
            process.join(draw.uniform(0.02, 0.8))
            process.kill()
            process.join()
            status = process.exitcode
        if status == 0:
            assert_like_unbroken(place, out)
            shutil.rmtree(out)
        else:
            assert status == -signal.SIGKILL, errors.read_text()
            killed += 1
    assert run(command, errors) == 0, errors.read_text()
    assert_like_unbroken(place, out)
    assert_scored_like_unbroken(place, out)


def test_a_stage_goes_on_from_its_last_epoch(place: Path, tmp_path: Path) -> None:
    """Killed when the second epoch's state is in place: files before it are run.json, the origin and the first's."""
    command = training(place, tmp_path / "run")
    assert run(command, tmp_path / "errors", DieAtWrite(4, "after")) == -signal.SIGKILL
    state = tmp_path / "run/fold-5/stages/audio_utterance.pt"
    written = state.stat().st_mtime_ns
    assert run(command, tmp_path / "errors", DieAtWrite(3, "before")) == -signal.SIGKILL
    assert state.stat().st_mtime_ns == written  # the third epoch's state would be its next write
    assert run(command, tmp_path / "errors", DieAtWrite(3, "after")) == -signal.SIGKILL
    assert state.stat().st_mtime_ns != written
    assert run(command, tmp_path / "errors") == 0
    rows = (tmp_path / "run/fold-5/logs/csv/audio_utterance/metrics.csv").read_text().splitlines()[1:]
    assert len(rows) == 3  # one an epoch, though the stage was begun three times
    assert_like_unbroken(place, tmp_path / "run")


def test_each_stage_killed_in_an_epoch_and_between_epochs_ends_like_an_unbroken_one(
    place: Path, tmp_path: Path
) -> None:
    """Each of the five, with a front-end that learns and with all that is drawn: killed in epoch 2, then after it."""
    command, errors = training(place, tmp_path / "run"), tmp_path / "errors"
    for stage in STAGES:
        for moment in ("in", "after"):
            assert run(command, errors, DieInTraining(stage, 1, moment)) == -signal.SIGKILL, errors.read_text()
            assert (tmp_path / f"run/fold-5/stages/{stage}.pt").is_file()
    assert run(command, errors) == 0, errors.read_text()
    assert weight_hashes(tmp_path / "run") == weight_hashes(place / "run")
    assert_like_unbroken(place, tmp_path / "run")


def test_a_fusion_with_modality_dropout_killed_in_training_ends_like_an_unbroken_one(
    place: Path, tmp_path: Path
) -> None:
    errors = tmp_path / "errors"
    for name in ("unbroken", "killed"):
        shutil.copytree(place / "run", tmp_path / name)
    unbroken, killed = (
        training(place, tmp_path / name, "--fusion.modality_dropout=0.5") for name in ("unbroken", "killed")
    )
    assert run(unbroken, errors) == 0, errors.read_text()
    for moment in ("in", "after"):
        assert run(killed, errors, DieInTraining("fusion", 1, moment)) == -signal.SIGKILL
    assert run(killed, errors) == 0, errors.read_text()
    assert weight_hashes(tmp_path / "killed") == weight_hashes(tmp_path / "unbroken")


def test_a_run_killed_with_workers_resumes_at_once(place: Path, tmp_path: Path) -> None:
    command, errors = training(place, tmp_path / "run", "--num-workers=2"), tmp_path / "errors"
    assert run(command, errors, DieInTraining("audio_utterance", 1, "in")) == -signal.SIGKILL, errors.read_text()
    assert run(command, errors) == 0, errors.read_text()
    assert_like_unbroken(place, tmp_path / "run")


def weight_hashes(run: Path) -> dict[str, str]:
    return {
        stage: hashlib.sha256((run / f"fold-5/model/{stage}.safetensors").read_bytes()).hexdigest() for stage in STAGES
    }


def test_what_is_drawn_as_released_is_drawn_again_when_a_stage_goes_on(place: Path, tmp_path: Path) -> None:
    """The split that selects and the places in the padding: killed after the first epoch and after the second."""
    shutil.copy(place / "tiny.yaml", tmp_path)
    shutil.copytree(place / "corpus", tmp_path / "corpus")
    assert run(training(tmp_path, tmp_path / "run", *AS_RELEASED), tmp_path / "errors") == 0
    command = training(tmp_path, tmp_path / "killed", *AS_RELEASED)
    for writes in (3, 3):
        assert run(command, tmp_path / "errors", DieAtWrite(writes, "after")) == -signal.SIGKILL
        assert (tmp_path / "killed/fold-5/stages/audio_utterance.pt").is_file()
    assert run(command, tmp_path / "errors") == 0
    assert_like_unbroken(tmp_path, tmp_path / "killed")


def test_ctrl_c_ends_with_a_sentence_and_the_same_command_goes_on(place: Path, tmp_path: Path) -> None:
    command = training(place, tmp_path / "run")
    process = start(command, tmp_path / "errors")
    while not (tmp_path / "run/fold-5/stages/audio_utterance.pt").exists():
        assert process.is_alive()
        process.join(0.02)
    os.kill(process.pid or 0, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    assert (tmp_path / "errors").read_text() == "moodline: Interrupted. Rerun the same command to resume.\n"
    assert run(command, tmp_path / "errors") == 0
    assert_like_unbroken(place, tmp_path / "run")


@pytest.mark.parametrize("size", [300, 6_000, 60_000])
def test_out_of_space_a_run_stops_with_a_sentence_and_goes_on_later(place: Path, tmp_path: Path, size: int) -> None:
    """The run's own description fails, a record or a small file, a stage's weights or state."""
    command = training(place, tmp_path / "run")
    assert run(command, tmp_path / "errors", FileSizeLimit(size)) == 2
    (line,) = (tmp_path / "errors").read_text().splitlines()
    assert line.startswith("moodline: ")
    assert "File too large" in line
    assert not list((tmp_path / "run").rglob("*.part"))
    assert run(command, tmp_path / "errors") == 0
    assert_like_unbroken(place, tmp_path / "run")


def test_a_second_run_in_one_folder_is_refused_while_the_first_lives(place: Path, tmp_path: Path) -> None:
    command = training(place, tmp_path / "run")
    first = start(command, tmp_path / "errors")
    while not (tmp_path / "run/run.json").exists():
        assert first.is_alive()
        first.join(0.02)
    description = (tmp_path / "run/run.json").read_text()
    assert run([*command, "--fusion.layers=2"], tmp_path / "second") == 2
    assert "another process is training in" in (tmp_path / "second").read_text()
    assert (tmp_path / "run/run.json").read_text() == description
    first.join()
    assert first.exitcode == 0
    assert_like_unbroken(place, tmp_path / "run")


@pytest.mark.parametrize(
    ("option", "again"),
    [
        ("--fusion.layers=2", {"fusion"}),
        ("--text_context.dropout=0.1", {"text_context", "fusion"}),
        ("--audio_utterance.training.epochs=2", {"audio_utterance", "audio_context", "fusion"}),
        ("--selection=released", set(STAGES)),
    ],
)
def test_a_changed_recipe_trains_again_what_depends_on_it(
    place: Path, tmp_path: Path, option: str, again: set[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(place / "run", out)
    before = {stage: (out / f"fold-5/model/{stage}.safetensors").stat().st_mtime_ns for stage in STAGES}
    assert run(training(place, out, option), tmp_path / "errors", output=tmp_path / "said") == 0
    said = (tmp_path / "said").read_text()
    changed = {
        stage for stage in STAGES if (out / f"fold-5/model/{stage}.safetensors").stat().st_mtime_ns != before[stage]
    }
    assert changed == again
    for stage in STAGES:  # a file of events is one training's
        assert len(list((out / "fold-5/logs/tensorboard" / stage).glob("events*"))) == 1, stage
    key, value = option.removeprefix("--").split("=")
    assert f"to be trained again, {key} was" in said
    assert f"and is {value}" in said.replace("'", "")
    assert said.count("to be trained again") == len(again)
    assert run(training(place, tmp_path / "fresh", option), tmp_path / "errors") == 0
    for stage in STAGES:
        kept, fresh = (load_file(folder / f"fold-5/model/{stage}.safetensors") for folder in (out, tmp_path / "fresh"))
        assert all(np.array_equal(kept[name], fresh[name]) for name in fresh), stage


def test_a_recipe_changed_back_and_killed_between_is_not_taken_for_whole(place: Path, tmp_path: Path) -> None:
    """A half-retrained model has no description, and stages begun with another recipe are not gone on with."""
    out = tmp_path / "run"
    shutil.copytree(place / "run", out)
    other = training(place, out, "--fusion.layers=2")
    assert run(other, tmp_path / "errors", DieAtWrite(3, "after")) == -signal.SIGKILL
    assert (out / "fold-5/stages/fusion.pt").is_file()
    assert not (out / "fold-5/model/config.json").exists()
    assert run(training(place, out), tmp_path / "errors") == 0
    assert_like_unbroken(place, out)


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("--seed=1", "recipe.seed"),
        ("--context=all", "recipe.context"),
        ("--class_weights=none", "recipe.class_weights"),
        ("--label_set=iemocap6", "label_set.name"),
    ],
)
def test_a_recipe_of_which_nothing_would_be_kept_is_another_run(
    place: Path, capsys: pytest.CaptureFixture[str], option: str, key: str
) -> None:
    before = (place / "run/run.json").read_text()
    with pytest.raises(SystemExit, match="2"):
        moodline(*training(place, place / "run", option))
    assert f"holds another run: its {key} is" in capsys.readouterr().err
    assert (place / "run/run.json").read_text() == before


def test_other_weights_in_berts_folder_train_again_what_reads_them(place: Path, tmp_path: Path) -> None:
    """The recipe names the folder; what is in it is what counts."""
    shutil.copytree(place / "bert", tmp_path / "bert")
    command = training(place, tmp_path / "run", f"--text_utterance.pretrained={tmp_path / 'bert'}")
    assert run(command, tmp_path / "errors") == 0
    path = tmp_path / "bert/model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor * np.float32(1.5) for name, tensor in tensors.items()}, path, metadata={"format": "pt"})
    assert run(command, tmp_path / "errors", output=tmp_path / "said") == 0, (tmp_path / "errors").read_text()
    said = (tmp_path / "said").read_text()
    assert said.count("to be trained again") == 3  # text encoder, text context, fusion
    assert said.count("finished before") == 2


def test_a_state_that_cannot_be_read_is_told(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = training(place, tmp_path / "run")
    assert run(command, tmp_path / "errors", DieAtWrite(3, "after")) == -signal.SIGKILL
    state = tmp_path / "run/fold-5/stages/audio_utterance.pt"
    for content in (b"", b"not a state", b"PK\x03\x04"):
        state.write_bytes(content)
        assert str(state) in str(refused(capsys, *command))
    state.unlink()
    assert run(command, tmp_path / "errors") == 0
    assert_like_unbroken(place, tmp_path / "run")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--accelerator=gpu", "--accelerator gpu"),
        ("--strategy=nonsense", "--strategy nonsense"),
        ("--precision=17", "--precision 17"),
        ("--devices=none", "--devices none"),
        ("--devices=0", "--devices 0"),
    ],
)
def test_hardware_that_is_not_there_is_told_before_anything_is_written(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, words: str
) -> None:
    accelerator = [] if "accelerator" in option else ["--accelerator=cpu"]
    with pytest.raises(SystemExit, match="2"):
        moodline(*training(place, tmp_path / "run", *accelerator, option))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("moodline: cannot train with ")
    assert words in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--text_utterance.pretrained=/nonesuch"], "/nonesuch"),
        (["--text_utterance.pretrained=wheel:nonesuch", "--fusion.layers=2"], "wheel:nonesuch"),
        (["--accelerator=gpu", "--fusion.layers=2"], "cannot train with"),
        (["--audio_utterance.filters=3"], "audio_utterance.filters"),
        (["--text_utterance.num_unfrozen_layers=9"], "num_unfrozen_layers"),
        (["--audio_utterance.stride_ms=0.01"], "stride"),
    ],
)
def test_what_is_refused_leaves_a_finished_run_as_it_was(
    place: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    before = {path: path.read_bytes() for path in (place / "run").rglob("*") if path.is_file()}
    assert words in str(refused(capsys, *training(place, place / "run", *options)))
    assert {path: path.read_bytes() for path in (place / "run").rglob("*") if path.is_file()} == before


def test_speech_without_audio_is_refused_before_a_run_of_words_is_touched(place: Path, tmp_path: Path) -> None:
    silent = without_audio(read_corpus(place / "corpus"))
    write_corpus(silent, tmp_path / "corpus")
    shutil.copy(place / "tiny.yaml", tmp_path)
    out = tmp_path / "run"
    assert run(training(tmp_path, out, "--modalities=text"), tmp_path / "errors") == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert run(training(tmp_path, out), tmp_path / "errors") == 2
    assert "--modalities text" in (tmp_path / "errors").read_text()
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def without_audio(corpus: Corpus) -> Corpus:
    conversations = (
        replace(one, utterances=tuple(replace(turn, audio=None) for turn in one.utterances))
        for one in corpus.conversations
    )
    return replace(corpus, conversations=tuple(conversations))
