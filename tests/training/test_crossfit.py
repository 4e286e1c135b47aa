"""Cross-fitting: contexts train on embeddings of encoders that have not seen the turn, all with the same axes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from moodline.conversation import IEMOCAP4, Conversation, Utterance
from moodline.embeddings import read_embeddings, stack_embeddings
from moodline.errors import MoodlineError
from moodline.training.crossfit import align_embeddings, plan_parts
from tests.processes import DieInTraining, run
from tests.system import moodline, refused, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

CLASSES = ("ang", "hap", "sad", "neu")
DOUBLE = 2.0**-52


def build_conversation(
    name: str, session: str | None = None, labels: Sequence[str] = CLASSES, speakers: Sequence[str] = ("F", "M")
) -> Conversation:
    turns = tuple(
        Utterance(id=f"{name} {index}", speaker=speakers[index % len(speakers)], words=f"{name} {index}", label=label)
        for index, label in enumerate(labels)
    )
    return Conversation(id=name, utterances=turns, session=session)


@given(st.lists(st.sampled_from("ABCDE"), min_size=2, max_size=20), st.integers(2, 5))
def test_each_conversation_is_in_one_part_of_whole_sessions(sessions: list[str], count: int) -> None:
    train = [build_conversation(str(index), session) for index, session in enumerate(sessions)]
    available = len(set(sessions)) if len(set(sessions)) > 1 else len(train)
    if count > available:
        with pytest.raises(MoodlineError) as caught:
            plan_parts(train, count, IEMOCAP4)
        assert caught.value.code == "recipe.too_many_parts"
        return
    parts, _ = plan_parts(train, count, IEMOCAP4)
    assert len(parts) == count
    assert sorted(one.id for part in parts for one in part.conversations) == sorted(one.id for one in train)
    if len(set(sessions)) > 1:
        found = [{one.session for one in part.conversations} for part in parts]
        assert sum(map(len, found)) == len(set(sessions))


def test_speakers_are_not_divided_where_that_is_possible() -> None:
    pairs = [("a", "b"), ("b", "c"), ("d", "e"), ("e", "f"), ("g", "h"), ("h", "g")]
    train = [build_conversation(str(index), speakers=pair) for index, pair in enumerate(pairs)]
    parts, notes = plan_parts(train, 3, IEMOCAP4)
    found = [frozenset[str]().union(*(one.speakers for one in part.conversations)) for part in parts]
    assert sum(map(len, found)) == len(set("abcdefgh"))
    assert not notes
    assert plan_parts(train, 4, IEMOCAP4).notes  # more parts than groups of speakers


def test_a_part_without_a_class_is_joined() -> None:
    train = [
        build_conversation(name, name, labels)
        for name, labels in zip("ABC", (CLASSES, ["ang"] * 2, CLASSES), strict=True)
    ]
    parts, notes = plan_parts(train, 3, IEMOCAP4)
    assert len(parts) == 2
    assert len(notes) == 1
    assert {one.id for part in parts for one in part.conversations} == set("ABC")
    with pytest.raises(MoodlineError) as caught:
        plan_parts([train[0], train[1]], 2, IEMOCAP4)
    assert caught.value.code == "recipe.crossfit_classes"


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_axes_that_differ_by_rotation_scale_and_shift_are_aligned(seed: int, scale: float) -> None:
    generator = np.random.default_rng(seed)
    size, names = 5, [str(index) for index in range(20)]
    values = generator.normal(size=(len(names), size))
    rotation, _ = np.linalg.qr(generator.normal(size=(size, size)))
    moved = scale * values @ rotation + generator.normal(size=size)
    own, reference = (
        dict(zip(names, torch.from_numpy(rows.astype(np.float32)), strict=True)) for rows in (moved, values)
    )
    found = align_embeddings(own, reference, names[:15], names[15:])
    error = (stack_embeddings(found, names[15:]) - stack_embeddings(reference, names[15:])).abs().max()
    # The vectors' rounding to float32, each by half a unit in the last place, over a sum of as many products as there
    # are dimensions; the scale divides the moved vectors' share.
    largest = max(np.abs(moved).max() / scale, np.abs(values).max())
    assert float(error) <= size * 2.0**-24 * largest * 10


def test_a_part_without_variation_is_moved_to_the_mean() -> None:
    names = ["a", "b", "c"]
    own, reference = ({name: torch.full((3,), value) for name in names} for value in (2.0, 5.0))
    assert torch.equal(align_embeddings(own, reference, names[:2], names[2:])["c"], torch.full((3,), 5.0))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two corpora that differ in the labels of Session 2, each with a run of crossfit 3: one, other."""
    place = tmp_path_factory.mktemp("crossfit")
    recipe = write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
    for name in ("one", "other"):
        tree = write_tree(place / f"{name}-tree")
        if name == "other":
            for path in sorted((tree / "Session2/dialog/EmoEvaluation").glob("*.txt")):
                path.write_text(
                    path.read_text()
                    .replace("\tneu\t", "\ttmp\t")
                    .replace("\tsad\t", "\tneu\t")
                    .replace("\ttmp\t", "\tsad\t")
                )
        moodline("prepare", "iemocap", tree, "-o", place / name)
        moodline(
            "train",
            place / name,
            "--recipe",
            recipe,
            "--protocol",
            "session5",
            "-o",
            place / f"{name}-run",
            "--crossfit",
            "3",
        )
    return place


@pytest.mark.parametrize("stage", ["audio_utterance", "text_utterance"])
def test_labels_of_a_part_do_not_reach_its_embeddings(place: Path, stage: str) -> None:
    folders = [place / f"{name}-run/fold-5" for name in ("one", "other")]
    parts = [
        [read_embeddings(folder / f"embeddings/{stage}.part-{number}.parquet").vectors for number in (1, 2, 3)]
        for folder in folders
    ]
    ids = [name for name in parts[0][0] if name.startswith("Ses02")]
    alike = [all(torch.equal(one[name], other[name]) for name in ids) for one, other in zip(*parts, strict=True)]
    assert sorted(alike) == [False, False, True]  # the encoder that trains without Session 2, and the two others


def test_contexts_train_on_embeddings_of_encoders_without_the_turn(place: Path) -> None:
    folder = place / "one-run/fold-5"
    kept = read_embeddings(folder / "embeddings/text_utterance.parquet").vectors
    parts = [
        read_embeddings(folder / f"embeddings/text_utterance.part-{number}.parquet").vectors for number in (1, 2, 3)
    ]
    train = [name for name in kept if not name.startswith("Ses01")]
    assert len(train) < len(kept)  # Session 1 validates
    sessions = sorted({name[:5] for name in train})
    for session in sessions:
        held_out = [name for name in train if name.startswith(session)]
        # Alignment keeps the ratios of all distances, up to the rounding of float32.
        placed = torch.pdist(stack_embeddings(kept, held_out))
        found = [torch.pdist(stack_embeddings(part, held_out)) for part in parts]
        residuals = sorted(float((one / one.norm() - placed / placed.norm()).norm()) for one in found)
        assert residuals[0] < len(kept) * 2.0**-24 < residuals[1]


def test_the_model_is_that_of_all_training_conversations(place: Path, tmp_path: Path) -> None:
    moodline("train", place / "one", "--recipe", place / "tiny.yaml", "--protocol", "session5", "-o", tmp_path / "run")
    for stage in ("audio_utterance", "text_utterance"):
        one, other = (
            load_file(folder / f"fold-5/model/{stage}.safetensors") for folder in (tmp_path / "run", place / "one-run")
        )
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_more_parts_than_sessions_are_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        refused(
            capsys,
            "train",
            place / "one",
            "--recipe",
            place / "tiny.yaml",
            "--protocol",
            "session5",
            "-o",
            tmp_path,
            "--crossfit",
            "4",
        ).code
        == "recipe.too_many_parts"
    )


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["in", "after"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_killed_run_goes_on(place: Path, tmp_path: Path, moment: str, epoch: int) -> None:
    command = ["train", str(place / "one"), "--recipe", str(place / "tiny.yaml"), "--protocol", "session5"]
    command += ["-o", str(tmp_path / "run"), "--crossfit", "3"]
    assert run(command, tmp_path / "errors", DieInTraining("text_utterance", epoch, moment)) != 0
    assert run(command, tmp_path / "errors") == 0
    for stage in ("text_utterance", "fusion"):
        one, other = (
            load_file(folder / f"fold-5/model/{stage}.safetensors") for folder in (tmp_path / "run", place / "one-run")
        )
        assert all(np.array_equal(one[name], other[name]) for name in one)
