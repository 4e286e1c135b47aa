"""Writing whole or not at all."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from moodline.errors import MoodlineError
from moodline.io import (
    open_atomic_file,
    open_atomic_folder,
    open_replacement_folder,
    read_description,
    read_json,
    write_json,
    write_text,
)


class Interruption(Exception):
    """Stops a write midway."""


def refuse_writing(error: MoodlineError, path: Path) -> None:
    """Check that an error reports that the path cannot be written."""
    assert error.code == "file.not_writable"
    assert str(error).startswith(f"{path} ")


def test_text_and_json_come_back(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "folder" / "a.txt", "naïve\n")
    assert (tmp_path / "new" / "folder" / "a.txt").read_text(encoding="utf-8") == "naïve\n"
    content = {"name": "Ses01F", "scores": [0.5, None], "words": "naïve"}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json", "note") == content


def test_a_file_that_is_half_written_leaves_the_old_one(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")

    def write_half() -> None:
        with open_atomic_file(tmp_path / "a.txt") as temporary:
            temporary.write_text("ne")
            assert (tmp_path / "a.txt").read_text() == "old"
            raise Interruption

    with pytest.raises(Interruption):
        write_half()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    for text in ("old", "new"):
        write_text(tmp_path / "a.txt", text)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"


def test_who_reads_the_old_file_reads_it_to_its_end(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with (tmp_path / "a.txt").open() as reader:
        write_text(tmp_path / "a.txt", "new")
        assert reader.read() == "old"


def test_a_folder_that_is_half_written_is_not_there(tmp_path: Path) -> None:
    def write_half() -> None:
        with open_atomic_folder(tmp_path / "out") as folder:
            (folder / "a.txt").write_text("a")
            assert not (tmp_path / "out").exists()
            raise Interruption

    with pytest.raises(Interruption):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with open_atomic_folder(tmp_path / "deep" / "out") as folder:
        (folder / "a.txt").write_text("a")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    assert (tmp_path / "deep" / "out" / "a.txt").read_text() == "a"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("writing", [open_atomic_file, open_atomic_folder, open_replacement_folder])
def test_others_may_read_what_is_written_as_far_as_the_umask_allows(tmp_path: Path, writing: Any, mask: int) -> None:
    before = os.umask(mask)
    try:
        if writing is open_replacement_folder:
            (tmp_path / "out").mkdir(mode=0o700)
        with writing(tmp_path / "out") as temporary:
            if writing is open_atomic_file:
                temporary.write_text("a")
    finally:
        os.umask(before)
    everyone = 0o666 if writing is open_atomic_file else 0o777
    assert (tmp_path / "out").stat().st_mode & 0o777 == everyone & ~mask


@pytest.mark.parametrize("writing", [open_atomic_file, open_atomic_folder])
def test_content_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, writing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss of power after the rename would else leave a file of its name without its content."""
    events: list[tuple[str, int]] = []

    def flushed(descriptor: int) -> None:
        events.append(("flush", os.fstat(descriptor).st_ino))

    def renamed(source: Path, target: Path, rename: Any = os.rename) -> None:
        rename(source, target)
        events.append(("rename", Path(target).stat().st_ino))

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(os, "rename", renamed)
    with writing(tmp_path / "out") as temporary:
        if writing is open_atomic_file:
            temporary.write_text("a")
        else:
            (temporary / "below").mkdir()
            (temporary / "below" / "a.txt").write_text("a")
    written = {one.stat().st_ino for one in (tmp_path / "out", *(tmp_path / "out").rglob("*"))}
    place = events.index(("rename", (tmp_path / "out").stat().st_ino))
    assert {number for what, number in events[:place] if what == "flush"} == written
    assert events[place + 1 :] == [("flush", tmp_path.stat().st_ino)]


def test_writers_of_one_process_do_not_share_a_temporary_name(tmp_path: Path) -> None:
    """Threads have one process id, and so have processes of two containers that write to one folder."""
    with open_atomic_file(tmp_path / "a.txt") as one:
        one.write_text("one")
        with open_atomic_file(tmp_path / "a.txt") as other:
            other.write_text("other")
        assert (tmp_path / "a.txt").read_text() == "other"
    assert (tmp_path / "a.txt").read_text() == "one"


def test_a_folder_that_exists_is_left_as_it_is(tmp_path: Path) -> None:
    write_text(tmp_path / "out" / "mine.txt", "mine")
    with pytest.raises(MoodlineError) as error, open_atomic_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a")
    refuse_writing(error.value, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MoodlineError) as error, open_atomic_folder(tmp_path / "file" / "out"):
        pass
    refuse_writing(error.value, tmp_path / "file" / "out")
    (tmp_path / "folder").mkdir()
    with pytest.raises(MoodlineError) as error:
        write_text(tmp_path / "folder", "text")
    refuse_writing(error.value, tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "out" / "old.txt", "old")
    with open_replacement_folder(tmp_path / "out") as folder:
        (folder / "new.txt").write_text("new")
        assert (tmp_path / "out" / "old.txt").read_text() == "old"
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["out", "out/new.txt"]


def test_a_folder_that_is_not_there_is_replaced_too(tmp_path: Path) -> None:
    with open_replacement_folder(tmp_path / "deep" / "out") as folder:
        (folder / "new.txt").write_text("new")
    with pytest.raises(ValueError, match="stop"), open_replacement_folder(tmp_path / "deep" / "other"):
        raise ValueError("stop")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["deep", "deep/out", "deep/out/new.txt"]


def test_a_folder_that_cannot_be_put_in_the_place_leaves_the_old_one(tmp_path: Path) -> None:
    write_text(tmp_path / "out" / "old.txt", "old")
    with pytest.raises(MoodlineError) as error, open_replacement_folder(tmp_path / "out") as folder:
        folder.rmdir()
    refuse_writing(error.value, tmp_path / "out")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["out", "out/old.txt"]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free space or choose another folder"),
        (errno.EACCES, "make it writable for you or choose another folder"),
        (errno.EROFS, "make it writable for you or choose another folder"),
        (errno.ENOTDIR, "choose another folder"),
    ],
)
def test_what_to_do_goes_by_the_reason(tmp_path: Path, number: int, remedy: str) -> None:
    with pytest.raises(MoodlineError) as error, open_atomic_file(tmp_path / "a.txt"):
        raise OSError(number, os.strerror(number))
    refuse_writing(error.value, tmp_path / "a.txt")
    assert str(error.value).endswith(f"{os.strerror(number)}; {remedy}")


@pytest.mark.parametrize("writing", [open_atomic_file, open_atomic_folder, open_replacement_folder])
def test_what_cannot_be_read_meanwhile_is_not_told_as_unwritable(tmp_path: Path, writing: Any) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(FileNotFoundError, match=r"source\.txt"), writing(tmp_path / "out"):
        (tmp_path / "source.txt").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("writing", [open_atomic_file, open_atomic_folder, open_replacement_folder])
def test_what_cannot_be_written_meanwhile_is_told_as_that(tmp_path: Path, writing: Any) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(MoodlineError) as error, writing(tmp_path / "out") as place:
        (place / "none" / "a.txt").write_text("a")
    refuse_writing(error.value, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_below_a_file_is_told_as_that(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "a")
    with pytest.raises(MoodlineError) as error:
        write_text(tmp_path / "a.txt" / "b.txt", "b")
    refuse_writing(error.value, tmp_path / "a.txt" / "b.txt")


def test_json_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    def refuse(path: Path) -> MoodlineError:
        with pytest.raises(MoodlineError) as refused:
            read_json(path, "corpus folder")
        return refused.value

    file = tmp_path / "corpus.json"
    assert (missing := refuse(file)).code == "file.other_folder"
    assert str(tmp_path) in str(missing)
    assert "corpus.json" in str(missing)
    assert refuse(tmp_path / "none" / "corpus.json").code == "file.no_folder"
    file.write_text('{"schema": ')
    assert (broken := refuse(file)).code == "file.bad_json"
    assert str(file) in str(broken)
    assert (below := refuse(file / "corpus.json")).code == "file.not_a_folder"
    assert str(file) in str(below)


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"schema": "1"}', '{"schema": null}'])
def test_a_description_without_a_schema_is_not_taken_for_a_newer_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "corpus.json").write_text(content)
    with pytest.raises(MoodlineError) as refused:
        read_description(tmp_path / "corpus.json", "corpus folder", 1)
    assert refused.value.code == "file.no_schema"
    assert str(tmp_path / "corpus.json") in str(refused.value)
    (tmp_path / "corpus.json").write_text('{"schema": 2}')
    assert read_description(tmp_path / "corpus.json", "corpus folder", 2) == {"schema": 2}
    with pytest.raises(MoodlineError) as refused:
        read_description(tmp_path / "corpus.json", "corpus folder", 1)
    assert refused.value.code == "file.newer_schema"
    assert all(value in str(refused.value) for value in (str(tmp_path / "corpus.json"), "2", "1"))
