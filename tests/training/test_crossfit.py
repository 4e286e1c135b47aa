"""Cross-fitting: contexts and fusion train on embeddings of stages that have not seen the turn, with the same axes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from moodline.config import FUSION, STAGES
from moodline.conversation import IEMOCAP4, Conversation, Utterance
from moodline.embeddings import read_embeddings, stack_embeddings
from moodline.errors import MoodlineError
from moodline.training.crossfit import align_embeddings, plan_parts
from moodline.training.fold_training import FoldTrainer
from moodline.training.lightning_module import StageModule
from moodline.training.run import FoldFiles
from tests.processes import DieInTraining, run
from tests.system import moodline, refused, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

CLASSES = ("ang", "hap", "sad", "neu")
ROUNDING = 2.0**-24  # of a number in float32


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


def test_a_class_in_one_part_alone_is_refused() -> None:
    train = [build_conversation("A", "A"), *(build_conversation(name, name, CLASSES[:3]) for name in "BC")]
    with pytest.raises(MoodlineError) as caught:
        plan_parts(train, 3, IEMOCAP4)
    assert caught.value.code == "recipe.crossfit_classes"
    assert "neutral" in str(caught.value)


def test_parts_are_not_joined_where_a_class_would_be_in_one_alone() -> None:
    lacking = [[label for label in CLASSES if label != missing] for missing in CLASSES[:3]]
    train = [build_conversation(name, name, labels) for name, labels in zip("ABC", lacking, strict=True)]
    assert len(plan_parts(train, 3, IEMOCAP4).parts) == 3


@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_fewer_utterances_than_dimensions_align_what_they_span(seed: int, seen: int) -> None:
    generator, size = np.random.default_rng(seed), 16
    values = generator.normal(size=(seen, size))
    rotation, _ = np.linalg.qr(generator.normal(size=(size, size)))
    inside = values.mean(axis=0) + generator.normal(size=seen) @ (values - values.mean(axis=0))
    names = [str(index) for index in range(seen + 1)]
    rows = np.vstack([values, inside])
    own, reference = (
        dict(zip(names, torch.from_numpy(some.astype(np.float32)), strict=True)) for some in (rows @ rotation, rows)
    )
    found = align_embeddings(own, reference, names[:-1], names[-1:])[names[-1]]
    # As below; the mean and the combination of the seen vectors are sums over them.
    error = float((found - reference[names[-1]]).abs().max())
    assert error <= 10 * size * seen * 2.0**-24 * max(np.abs(rows).max(), np.abs(rows @ rotation).max())


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


def list_command(place: Path, out: Path, *options: str, corpus: str = "one") -> list[str]:
    """A training of the tiny recipe on one of the corpora."""
    command = ["train", place / corpus, "--recipe", place / "tiny.yaml", "--protocol", "session5", "-o", out]
    return [*map(str, command), *options]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two corpora that differ in the labels of Session 2, each with a run of crossfit 3: one, other.

    The runs keep the files of their parts.
    """
    place = tmp_path_factory.mktemp("crossfit")
    patch = pytest.MonkeyPatch()
    patch.setattr(FoldFiles, "remove_parts", lambda self, stage: None)
    write_recipe(place / "tiny.yaml", tiny_bert(place / "bert"))
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
        moodline(*list_command(place, place / f"{name}-run", "--crossfit", "3", corpus=name))
    patch.undo()
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


@pytest.fixture(scope="module")
def plain(place: Path) -> Path:
    """The fold of a run on corpus one without cross-fitting."""
    moodline(*list_command(place, place / "plain"))
    return place / "plain/fold-5"


def test_contexts_train_on_embeddings_of_encoders_without_the_turn(place: Path, plain: Path) -> None:
    folder, stage = place / "one-run/fold-5/embeddings", "text_utterance"
    kept = read_embeddings(folder / f"{stage}.parquet").vectors
    of_all = read_embeddings(plain / f"embeddings/{stage}.parquet").vectors
    parts = [read_embeddings(folder / f"{stage}.part-{number}.parquet").vectors for number in (1, 2, 3)]
    sources = []
    for session in sorted({name[:5] for name in kept}):
        own = [name for name in kept if name.startswith(session)]
        if session == "Ses01":  # validates
            assert all(torch.equal(kept[name], of_all[name]) for name in own)
            continue
        seen = [name for name in kept if not name.startswith((session, "Ses01"))]
        aligned = [align_embeddings(part, of_all, seen, own) for part in parts]
        same = [all(torch.equal(kept[name], one[name]) for name in own) for one in aligned]
        assert same.count(True) == 1
        sources.append(same.index(True))
    assert sorted(sources) == [0, 1, 2]


def test_the_model_is_that_of_all_training_conversations(place: Path, plain: Path) -> None:
    for stage in ("audio_utterance", "text_utterance"):
        one, other = (load_file(folder / f"model/{stage}.safetensors") for folder in (plain, place / "one-run/fold-5"))
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_each_stage_that_another_reads_is_trained_without_each_part(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: dict[str, list[set[str | None]]] = {}
    train_module = FoldTrainer.train_module

    def note_sessions(
        trainer: FoldTrainer, stage: str, train: Sequence[Conversation], *arguments: Any, **named: Any
    ) -> StageModule:
        trained.setdefault(stage, []).append({one.session for one in train})
        return train_module(trainer, stage, train, *arguments, **named)

    monkeypatch.setattr(FoldTrainer, "train_module", note_sessions)
    moodline(*list_command(place, tmp_path / "run", "--crossfit", "3"))
    sessions = {"2", "3", "4"}
    for stage in STAGES[:-1]:
        *parts, whole = trained.pop(stage)
        assert whole == sessions
        assert sorted(map(sorted, (sessions - part for part in parts))) == [["2"], ["3"], ["4"]]
    assert trained == {FUSION: [sessions]}


def test_the_fusion_trains_on_embeddings_of_contexts_without_the_turn(place: Path) -> None:
    """Alignment rotates, scales and moves: a session's distances are those of one part's context, up to a factor."""
    folder, stage = place / "one-run/fold-5/embeddings", "text_context"
    kept = read_embeddings(folder / f"{stage}.parquet").vectors
    parts = [read_embeddings(folder / f"{stage}.part-{number}.parquet").vectors for number in (1, 2, 3)]
    sources = []
    for session in ("Ses02", "Ses03", "Ses04"):
        ids = sorted(name for name in kept if name.startswith(session))
        distances, *others = (torch.pdist(stack_embeddings(one, ids).double()) for one in (kept, *parts))
        # Vectors of float32, of size 1 at most; a distance is small where they are alike.
        bound = 10 * ROUNDING * len(distances)
        matches = [
            bool(torch.allclose(distances / distances.norm(), one / one.norm(), rtol=0, atol=bound / float(one.norm())))
            for one in others
        ]
        assert matches.count(True) == 1
        sources.append(matches.index(True))
    assert sorted(sources) == [0, 1, 2]


def test_more_parts_than_sessions_are_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, *list_command(place, tmp_path, "--crossfit", "4"))
    assert error.code == "recipe.too_many_parts"


def test_the_files_of_parts_are_removed_with_the_stage_that_needed_them(place: Path, tmp_path: Path) -> None:
    command = list_command(place, tmp_path / "run")
    moodline(*command, "--crossfit", "3")
    assert not list(tmp_path.rglob("*.part-*"))
    before = load_file(tmp_path / "run/fold-5/model/fusion.safetensors")
    moodline(*command, "--crossfit", "2")
    after = load_file(tmp_path / "run/fold-5/model/fusion.safetensors")
    assert any(not np.array_equal(before[name], after[name]) for name in before)
    assert not list(tmp_path.rglob("*.part-*"))


def test_an_encoder_selected_as_released_is_not_cross_fitted(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = list_command(place, tmp_path, "--crossfit", "3", "--selection", "released")
    assert refused(capsys, *command).code == "recipe.bad_value"


# A context's part has two batches too, so that it can be killed in an epoch.
RESUMED = ("--crossfit", "3", "--text_context.training.batch_size", "2")


@pytest.fixture(scope="module")
def unbroken(place: Path) -> Path:
    """A run in a process of one thread, as those that are killed: sums of several threads have another rounding."""
    assert run(list_command(place, place / "unbroken", *RESUMED), place / "errors") == 0
    return place / "unbroken"


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["in", "after"])
@pytest.mark.parametrize(("stage", "epoch"), [("text_utterance", 0), ("text_utterance", 1), ("text_context", 0)])
def test_a_killed_run_goes_on(place: Path, unbroken: Path, tmp_path: Path, moment: str, stage: str, epoch: int) -> None:
    command = list_command(place, tmp_path / "run", *RESUMED)
    assert run(command, tmp_path / "errors", DieInTraining(stage, epoch, moment)) != 0
    assert not (tmp_path / f"run/fold-5/stages/{stage}.part-3.json").exists()
    assert run(command, tmp_path / "errors") == 0
    for trained in ("text_utterance", "text_context", "fusion"):
        one, other = (
            load_file(folder / f"fold-5/model/{trained}.safetensors") for folder in (tmp_path / "run", unbroken)
        )
        assert all(np.array_equal(one[name], other[name]) for name in one)
