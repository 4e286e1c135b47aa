"""Recognising many utterances side by side, in processes of one recogniser each."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from moodline.errors import MoodlineError
from moodline.processes import end_with_parent
from moodline.speech.recogniser import Recogniser, load
from moodline.speech.sound import Sound

Recognise = Callable[[Sequence[Sound]], Iterator[str]]
"""Words of utterances in their order, each as soon as it is heard."""


@contextmanager
def recognising(recogniser: Recogniser, chosen: str, jobs: int) -> Iterator[Recognise]:
    """A function that gives the words of each of some utterances, in their order.

    Args:
        recogniser: hears them where one job is all
        chosen: what each of several processes loads, see ``recogniser.choose``
        jobs: how many are heard at a time

    Raises:
        MoodlineError: from what it gives: speech cannot be read, or a process was killed
    """
    if jobs == 1:
        yield lambda sounds: (heard(recogniser, sound) for sound in sounds)
        return
    # Not forked: a fork of a process with threads, as pyarrow's, may hang.
    executor = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin, (chosen,))
    try:
        yield lambda sounds: _together(executor, sounds)
    finally:
        executor.shutdown(cancel_futures=True)


def heard(recogniser: Recogniser, sound: Sound) -> str:
    """The words on one line."""
    return " ".join(recogniser.recognise(sound.samples()).split())


def _together(executor: ProcessPoolExecutor, sounds: Sequence[Sound]) -> Iterator[str]:
    try:
        yield from executor.map(_heard_here, sounds)
    except BrokenProcessPool as error:
        raise MoodlineError(
            "a process that recognises words was ended from outside, for its memory perhaps: take fewer --jobs; "
            "the same command goes on"
        ) from error


def _begin(chosen: str) -> None:
    """Load this process's recogniser, leave Ctrl-C to the parent, and end when the parent does."""
    global _recogniser
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    _recogniser = load(chosen)


def _heard_here(sound: Sound) -> str:
    return heard(_recogniser, sound)


_recogniser: Recogniser
