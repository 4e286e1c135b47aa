"""What a reader may do with anything it is given: read it, or refuse it in one sentence."""

from collections.abc import Callable
from pathlib import Path

from moodline.corpora.corpus import Corpus
from moodline.errors import MoodlineError


def outcome(read: Callable[[Path], Corpus], source: Path) -> Corpus | None:
    """The corpus, or None where it was refused; any other error fails the test."""
    try:
        return read(source)
    except MoodlineError as error:
        sentence = str(error)
    assert sentence
    assert "\n" not in sentence
    return None
