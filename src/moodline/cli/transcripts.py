"""Transcripts of recordings: where each goes, and going on where one fails."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodline.cli.progress import of_turns
from moodline.cli.sources import each, places_of, refuse_run_together, refuse_several_with
from moodline.errors import MoodlineError

if TYPE_CHECKING:
    from moodline.speech.turn import Turn

ENDINGS = {name: f".{name}" for name in ("srt", "vtt", "json", "csv", "jsonl")} | {"textgrid": ".TextGrid"}
IN_A_FOLDER = "srt"


def run(options: Any, sources: Sequence[Path]) -> None:
    """Print or write what is said in recordings, one after the other; what fails is told, and the rest is done.

    Raises:
        MoodlineError: nothing can be begun, or the only recording failed, or some of several did
    """
    from moodline.speech.recogniser import choose
    from moodline.speech.transcripts.writing import refuse_without_words

    refuse_several_with(options.transcript, sources)
    places = places_of(
        sources, [ENDINGS[options.format or IN_A_FOLDER]], options.out, options.transcript, force=options.force
    )
    for place in (file for files in places.values() for file in files):
        refuse_without_words(place)
        refuse_other_format(place, options.format)
    if options.out is None and options.format:
        refuse_run_together(sources, options.format)
    recogniser = None if options.recogniser is None else choose(options.recogniser)
    each(sources, lambda source: deliver(source, options, recogniser, places.get(source, [])))


def refuse_other_format(place: Path, format: str | None) -> None:
    if format is not None and place.suffix.lower() != ENDINGS[format].lower():
        raise MoodlineError(
            f"a transcript's ending tells its format: {place} would not hold {format}; leave --format out, or name a "
            f"file that ends with {ENDINGS[format]}"
        )


def deliver(source: Path, options: Any, recogniser: str | None, places: Sequence[Path]) -> None:
    """What is said in one recording, to its file or to the terminal, where it comes last."""
    from moodline.inference.transcribe import transcribe
    from moodline.speech.transcripts.writing import written_as

    spoken = transcribe(
        source,
        transcript=options.transcript,
        channels=options.channels,
        recogniser=recogniser,
        jobs=options.jobs,
        progress=of_turns(source),
    )
    for place in places:
        spoken.write(place)
    told = f"turns from {spoken.turns_from}, words from {spoken.words_from}"
    print(": ".join(map(str, (source, *places, told))), file=sys.stdout if places else sys.stderr, flush=True)
    for note in spoken.notes:
        print(f"{source}: {note}", file=sys.stderr, flush=True)
    if not places and options.format:
        print(written_as(ENDINGS[options.format], spoken.worded), end="", flush=True)
    elif not places:
        if len(options.sources) > 1:
            print(f"{source}:", flush=True)
        for line in lines_of(spoken.turns):
            print(line, flush=True)


def lines_of(turns: "Sequence[Turn]") -> Iterator[str]:
    """A line a turn: when it starts, who speaks, what is said."""
    from moodline.inference.timeline.terminal import clean
    from moodline.speech.transcripts.cues import clock, milliseconds

    speakers = [clean(turn.speaker) for turn in turns]
    width = max(map(len, speakers))
    for turn, speaker in zip(turns, speakers, strict=True):
        yield f"{clock(milliseconds(turn)[0], '.')}  {speaker:<{width}}  {clean(turn.words or '')}".rstrip()
