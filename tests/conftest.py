"""What many tests read: an unbroken IEMOCAP tree, and the corpus in it."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from moodline.corpora import iemocap
from moodline.corpora.corpus import Corpus
from tests.trees import write_tree


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage among what the tests import: all of it stays, and the search takes seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests: two processes share the files, and none ends long after the other."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """What a loss of power leaves is for ``tests/test_files.py``, which counts what is flushed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of five sessions; a test that breaks one writes its own."""
    return write_tree(tmp_path_factory.mktemp("corpora") / "tree")


@pytest.fixture(scope="session")
def corpus(tree: Path) -> Corpus:
    return iemocap.read(tree)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data, or a skip that says which."""
    folder = Path(os.environ.get("MOODLINE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "corpora").is_dir():
        pytest.skip(f"real data are not at {folder}: MOODLINE_SHARED names their folder")
    return folder
