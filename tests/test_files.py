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
    """What stops a write midway."""


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
    assert (tmp_path / "deep" / "out").stat().st_mode & 0o777 == 0o755  # for others to read, unlike a temporary one


def test_a_folder_that_exists_is_left_as_it_is(tmp_path: Path) -> None:
    write_text(tmp_path / "out" / "mine.txt", "mine")
    with pytest.raises(MoodlineError, match=str(tmp_path / "out")), open_atomic_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MoodlineError, match="cannot be written"), open_atomic_folder(tmp_path / "file" / "out"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(MoodlineError, match=f"{tmp_path / 'folder'} cannot be written"):
        write_text(tmp_path / "folder", "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "out" / "old.txt", "old")
    with open_replacement_folder(tmp_path / "out") as folder:
        (folder / "new.txt").write_text("new")
        assert (tmp_path / "out" / "old.txt").read_text() == "old"
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["out", "out/new.txt"]


def test_a_folder_that_cannot_be_put_in_the_place_leaves_the_old_one(tmp_path: Path) -> None:
    write_text(tmp_path / "out" / "old.txt", "old")
    with pytest.raises(MoodlineError, match="cannot be written"), open_replacement_folder(tmp_path / "out") as folder:
        folder.rmdir()
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
    assert str(error.value) == f"{tmp_path / 'a.txt'} cannot be written: {os.strerror(number)}; {remedy}"


@pytest.mark.parametrize("writing", [open_atomic_file, open_atomic_folder, open_replacement_folder])
def test_what_cannot_be_read_meanwhile_is_not_told_as_unwritable(tmp_path: Path, writing: Any) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(FileNotFoundError, match=r"source\.txt"), writing(tmp_path / "out"):
        (tmp_path / "source.txt").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("writing", [open_atomic_file, open_atomic_folder, open_replacement_folder])
def test_what_cannot_be_written_meanwhile_is_told_as_that(tmp_path: Path, writing: Any) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(MoodlineError, match=f"{tmp_path}/out cannot be written: "), writing(tmp_path / "out") as place:
        (place / "none" / "a.txt").write_text("a")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_below_a_file_is_told_as_that(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "a")
    with pytest.raises(MoodlineError, match=r"cannot be written: (Not a directory|File exists); choose another folder"):
        write_text(tmp_path / "a.txt" / "b.txt", "b")


def test_json_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(MoodlineError, match=rf"{tmp_path} is no corpus folder: it has no corpus\.json"):
        read_json(tmp_path / "corpus.json", "corpus folder")
    (tmp_path / "corpus.json").write_text('{"schema": ')
    with pytest.raises(MoodlineError, match=rf"{tmp_path / 'corpus.json'} holds no JSON"):
        read_json(tmp_path / "corpus.json", "corpus folder")
    with pytest.raises(MoodlineError, match=r"corpus\.json is no corpus folder: it is a file; give the folder"):
        read_json(tmp_path / "corpus.json" / "corpus.json", "corpus folder")


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"schema": "1"}', '{"schema": null}'])
def test_a_description_without_a_schema_is_not_taken_for_a_newer_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "corpus.json").write_text(content)
    with pytest.raises(MoodlineError, match=r"its schema, a whole number: .*corpus\.json says ('1'|None); make"):
        read_description(tmp_path / "corpus.json", "corpus folder", 1)
    (tmp_path / "corpus.json").write_text('{"schema": 2}')
    assert read_description(tmp_path / "corpus.json", "corpus folder", 2) == {"schema": 2}
    with pytest.raises(MoodlineError, match="has schema 2, and this moodline reads up to 1: install a newer moodline"):
        read_description(tmp_path / "corpus.json", "corpus folder", 1)
