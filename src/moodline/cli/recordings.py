"""Timelines of recordings: where each goes, and going on where one fails."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moodline.cli.modes import modalities_of
from moodline.errors import MoodlineError

TERMINAL = "table"


def run(options: Any, sources: Sequence[Path], model: Path) -> None:
    """Print or write the timelines of recordings, one after the other; what fails is told, and the rest is done.

    Raises:
        MoodlineError: nothing can be begun, or the only recording failed, or some of several did
    """
    if options.transcript is not None and len(sources) > 1:
        raise MoodlineError(
            f"a transcript is of one recording: --transcript {options.transcript} was given with {len(sources)}; "
            "name them one at a time"
        )
    formats = formats_of(options.format, options.out)
    places = places_of(sources, formats, options.out, force=options.force)
    from moodline.inference.predictor import load
    from moodline.inference.recognise import Hearing

    hearing = Hearing(
        transcript=options.transcript,
        channels=options.channels,
        recogniser=options.recogniser,
        modalities=modalities_of(options),
        jobs=options.jobs,
        threshold=options.threshold,
        reasons=options.why,
    )
    predictor = load(model)
    failed: list[str] = []
    for source in sources:
        try:
            deliver(predictor, source, hearing, formats, places.get(source, []))
        except MoodlineError as error:
            if len(sources) == 1:
                raise
            failed.append(str(source))
            print(f"moodline: {source}: {error}", file=sys.stderr, flush=True)
    if failed:
        raise MoodlineError(
            f"{len(failed)} of {len(sources)} recordings failed, the others are done: {', '.join(failed)}"
        )


def deliver(predictor: Any, source: Path, hearing: Any, formats: Sequence[str], places: Sequence[Path]) -> None:
    """One recording's timeline to its files, or to the terminal where it has none."""
    from moodline.audio.recording import Recording
    from moodline.inference.recognise import recognise
    from moodline.inference.timeline import FORMATS, write
    from moodline.inference.timeline.sound import is_embedded
    from moodline.inference.timeline.terminal import show

    recording = Recording.open(source)
    timeline = recognise(predictor, recording, hearing)
    if not places:
        if formats == [TERMINAL]:
            show(timeline)
        else:
            print(FORMATS[formats[0]](timeline), flush=True)
    for place, name in zip(places, formats, strict=False):
        write(timeline, place, name, recording=recording)
        print(f"{source}: {place}", flush=True)
        if name == "html" and not is_embedded(recording.duration):
            print(
                f"{source}: too long to be in {place}, which plays it from beside it: keep {source.name} in its folder",
                file=sys.stderr,
                flush=True,
            )
    for notice in timeline.notices if places else ():
        print(f"{source}: {notice}", file=sys.stderr, flush=True)


def formats_of(named: str | None, out: Path | None) -> list[str]:
    """The formats that are asked for, by name or by the ending of the file.

    Raises:
        MoodlineError: there is no such format
    """
    from moodline.inference.timeline import FORMATS, format_of

    if named is None:
        return [TERMINAL] if out is None else ["json"] if is_folder(out) else [format_of(out)]
    names = list(dict.fromkeys(name.strip() for name in named.split(",")))
    known = [*FORMATS, TERMINAL] if out is None else [*FORMATS]
    if strangers := [name for name in names if name not in known]:
        raise MoodlineError(f"a timeline's format is one of {', '.join(known)}, not {strangers[0]!r}")
    if out is None and len(names) > 1:
        raise MoodlineError(f"{' and '.join(names)} are several files: name their folder with -o")
    return names


def places_of(
    sources: Sequence[Path], formats: Sequence[str], out: Path | None, *, force: bool
) -> dict[Path, list[Path]]:
    """Where each recording's files go, one a format; nothing where they go to the terminal.

    Raises:
        MoodlineError: several would go to one file, or a file is there already
    """
    from moodline.inference.timeline.outputs import USUAL_ENDINGS

    if out is None:
        return {}
    if is_folder(out) or len(sources) > 1 or len(formats) > 1:
        places = {one: [out / f"{one.stem}{USUAL_ENDINGS[name]}" for name in formats] for one in sources}
    else:
        places = {sources[0]: [out]}
    taken: dict[Path, Path] = {}
    for source, files in places.items():
        for file in files:
            if file in taken or file.resolve() == source.resolve():
                other = taken.get(file, source)
                raise MoodlineError(f"{file} would hold what {source} and {other} give: name another -o")
            taken[file] = source
            if file.exists() and not force:
                raise MoodlineError(f"{file} exists: name another -o, or replace it with --force")
    return places


def is_folder(out: Path) -> bool:
    """Whether files go into it: it is a folder, or has no ending as a file has."""
    return out.is_dir() or not out.suffix
