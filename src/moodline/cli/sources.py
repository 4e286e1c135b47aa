"""What commands are given: a corpus, or files, where the outputs of each go, and going on where one fails."""

import os
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from moodline.errors import MoodlineError


def corpus_among(sources: Sequence[Path]) -> Path | None:
    """The folder that is the only source; None where all are files.

    Raises:
        MoodlineError: a folder is one of several, or holds no corpus
    """
    folders = [source for source in sources if os.path.isdir(source)]  # also of a name that is too long for one
    if not folders:
        return None
    if len(sources) > 1:
        raise MoodlineError(f"{folders[0]} is a folder, as a corpus is: take it alone, or name recordings, not folders")
    from moodline.corpora.corpus import DESCRIPTION_FILE

    if not (folders[0] / DESCRIPTION_FILE).exists():
        raise MoodlineError(
            f"a folder holds a corpus, and {folders[0]} has no {DESCRIPTION_FILE}: name recordings one by one, such as "
            f"{folders[0] / '*.wav'}, or make a corpus with moodline prepare"
        )
    return folders[0]


def refuse_options(given: Any, names: Collection[str], what: str) -> None:
    """Refuse options that do not fit a source.

    Args:
        given: the options that were typed
        names: of those that do not fit
        what: they are for and the source is not, as the end of a sentence

    Raises:
        MoodlineError: names the first of them
    """
    for name in names:
        if given.get(name) not in (None, False):
            option = "-o" if name == "out" else f"--{name.replace('_', '-')}"
            raise MoodlineError(f"{option} is {what}; leave it out")


def each(sources: Sequence[Path], deliver: Callable[[Path], None]) -> None:
    """Deliver one source after the other; what fails is told, and the rest is done.

    Raises:
        MoodlineError: the only one failed, or some of several did
        KeyboardInterrupt: with how many are done
    """
    failed: list[str] = []
    for number, source in enumerate(sources):
        try:
            deliver(source)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted: {number - len(failed)} of {len(sources)} are done") from None
        except (MoodlineError, OSError) as error:
            if len(sources) == 1:
                raise
            failed.append(str(source))
            print(f"moodline: {source}: {error}", file=sys.stderr, flush=True)
    if failed:
        others = ", the others are done" if len(failed) < len(sources) else ""
        raise MoodlineError(f"{len(failed)} of {len(sources)} files failed{others}: {', '.join(failed)}")


def refuse_run_together(sources: Sequence[Path], format: str) -> None:
    """Refuse to print several files of a format one after the other, of which nothing could be read again."""
    if len(sources) > 1:
        raise MoodlineError(f"{len(sources)} times {format} are as many files: name their folder with -o")


def refuse_several_with(transcript: Path | None, sources: Sequence[Path]) -> None:
    """Refuse one transcript for several recordings."""
    if transcript is not None and len(sources) > 1:
        raise MoodlineError(
            f"a transcript is of one recording: --transcript {transcript} was given with {len(sources)}; "
            "name them one at a time"
        )


def places_of(
    sources: Sequence[Path], endings: Sequence[str], out: Path | None, transcript: Path | None, *, force: bool
) -> dict[Path, list[Path]]:
    """Where each source's files go, one an ending; nothing where they go to the terminal.

    Args:
        transcript: what is read besides, and so never written over

    Raises:
        MoodlineError: several would go to one file, or a file is there already, or is read
    """
    if out is None:
        return {}
    if is_folder(out):
        places = {one: [out / f"{one.stem}{ending}" for ending in endings] for one in sources}
    elif len(sources) * len(endings) > 1:
        raise MoodlineError(
            f"{out} is the name of one file, and {len(sources) * len(endings)} are to be written: name a folder"
        )
    else:
        places = {sources[0]: [out]}
    taken: dict[Path, Path] = {}
    for source, files in places.items():
        for file in files:
            if file in taken or file.resolve() == source.resolve():
                other = taken.get(file, source)
                raise MoodlineError(
                    f"{file} would hold what {source} and {other} give: label them one at a time, or rename one"
                    if other != source
                    else f"{file} is what is read: name another -o"
                )
            if transcript is not None and file.resolve() == transcript.resolve():
                raise MoodlineError(f"{file} is the transcript that is read: name another -o")
            taken[file] = source
            refuse_existing(file, force=force)
    return places


def refuse_existing(file: Path, *, force: bool) -> None:
    if file.exists() and not force:
        raise MoodlineError(f"{file} exists: name another -o, or replace it with --force")


def is_folder(out: Path) -> bool:
    """Whether files go into it: it is a folder, or has no ending as a file has."""
    return out.is_dir() or not out.suffix
