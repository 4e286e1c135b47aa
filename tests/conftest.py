"""What many tests read: an unbroken IEMOCAP tree, and the corpus in it."""

from pathlib import Path

import pytest

from moodline.corpora import iemocap
from moodline.corpora.corpus import Corpus
from tests.trees import write_tree


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of five sessions; a test that breaks one writes its own."""
    return write_tree(tmp_path_factory.mktemp("corpora") / "tree")


@pytest.fixture(scope="session")
def corpus(tree: Path) -> Corpus:
    return iemocap.read(tree)
