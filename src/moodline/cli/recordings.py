"""Timelines of recordings and of words alone: where each goes, and going on where one fails."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from moodline.cli.modes import modalities_of
from moodline.cli.progress import of_turns
from moodline.cli.sources import each, is_folder, places_of, refuse_run_together, refuse_several_with
from moodline.errors import MoodlineError

TERMINAL = "table"


def run(options: Any, sources: Sequence[Path], model: Path) -> None:
    """Print or write the timelines of recordings, one after the other; what fails is told, and the rest is done.

    Raises:
        MoodlineError: nothing can be begun, or the only recording failed, or some of several did
    """
    refuse_several_with(options.transcript, sources)
    formats = formats_of(options.format, options.out)
    places = places_of(sources, endings_of(formats), options.out, options.transcript, force=options.force)
    refuse_other_ending(options.format, options.out)
    if options.out is None and formats[0] not in (TERMINAL, "csv"):
        refuse_run_together(sources, formats[0])
    from moodline.inference.loaded import load
    from moodline.inference.recognise import Hearing
    from moodline.inference.words_alone import refuse_unfit

    hearing = Hearing(
        transcript=options.transcript,
        channels=options.channels,
        recogniser=options.recogniser,
        modalities=modalities_of(options),
        jobs=options.jobs,
        threshold=options.threshold,
        reasons=options.why,
        conversation=options.conversation,
    )
    for source in sources:
        refuse_unfit(source, hearing)
    predictor = load(model)
    headers = iter([True])  # of the rows of several recordings, one stands above them all
    each(sources, lambda source: deliver(predictor, source, hearing, formats, places.get(source, []), headers))


def deliver(
    predictor: Any,
    source: Path,
    hearing: Any,
    formats: Sequence[str],
    places: Sequence[Path],
    headers: Iterator[bool],
) -> None:
    """One recording's timeline to its files, or to the terminal where it has none."""
    from moodline.audio.recording import Recording
    from moodline.inference.timeline import FORMATS, write
    from moodline.inference.timeline.sound import is_embedded
    from moodline.inference.timeline.terminal import show
    from moodline.inference.words_alone import timeline_of

    timeline = timeline_of(predictor, source, None, replace(hearing, progress=of_turns(source)))
    # For the page's sound; words alone have none.
    recording = Recording.open(source) if "html" in formats and timeline.duration is not None else None
    if not places:
        if formats == [TERMINAL]:
            show(timeline)
        else:
            text = FORMATS[formats[0]](timeline)
            is_headless = formats == ["csv"] and not next(headers, False)
            print((text.partition("\n")[2] if is_headless else text).rstrip("\r\n"), flush=True)
    for place, name in zip(places, formats, strict=False):
        write(timeline, place, name, recording=recording)
        print(f"{source}: {place}", flush=True)
        if name == "html" and recording is not None and not is_embedded(recording.duration):
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


def refuse_other_ending(named: str | None, out: Path | None) -> None:
    """Refuse a file whose ending is that of another format than the one that is named."""
    from moodline.inference.timeline.outputs import ENDINGS

    if named is None or out is None or is_folder(out):
        return
    ending = ENDINGS.get(out.suffix.lower())
    if ending is not None and ending != named.strip():
        raise MoodlineError(f"{out} ends as {ending} does, and --format is {named}: leave out --format, or rename it")


def endings_of(formats: Sequence[str]) -> list[str]:
    """Of the files that formats go to, which the terminal's has none of."""
    from moodline.inference.timeline.outputs import USUAL_ENDINGS

    return [USUAL_ENDINGS[name] for name in formats if name != TERMINAL]
