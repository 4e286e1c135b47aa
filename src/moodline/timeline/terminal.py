"""A timeline on the terminal: a line per turn, as wide as the screen; letters as well as colours for the classes."""

from collections.abc import Iterable, Mapping

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from moodline.console import create_console, flatten_text
from moodline.pages import format_clock
from moodline.timeline.style import assign_styles
from moodline.timeline.timeline import TimelineContent, TimelineTurn
from moodline.timeline.writers import format_probability

MAX_NAME_WIDTH = 16
BAR, NARROW_BAR, NARROW = 20, 10, 100
GAP = "  "


def print_timeline(timeline: TimelineContent, console: Console | None = None) -> None:
    """Print the model and the notices, then the turns.

    A turn's bar has the letters of its classes, in proportion to their probabilities, so that colour is not needed.
    """
    console, model = console or create_console(), timeline.model
    facts = [
        f"{'Words' if timeline.duration is None else 'Recording'}: {timeline.recording}",
        f"turns from {timeline.turns_from}",
        f"words from {timeline.words_from}" if timeline.words_from else "no words",
        f"read {' and '.join(timeline.modalities)}",
        *([] if timeline.threshold is None else [f"uncertain below {timeline.threshold:g}"]),
    ]
    console.print(Text(flatten_text(f"Model: {model.name}, trained on {model.trained_on}, licence {model.licence}")))
    for notice in timeline.notices:
        console.print(Text(flatten_text(f"Note: {notice}")), style="bold")
    console.print(Text(flatten_text("; ".join(facts))), end="\n\n")
    styles = assign_styles(timeline.classes)
    letters = {style.name: (style.letter, f"{style.ink} on {style.colour}") for style in styles}
    console.print(Text(GAP).join(Text.assemble(letters[name], f" {flatten_text(name)}") for name in letters))

    def measure(names: Iterable[str]) -> int:
        widths = (cell_len(flatten_text(name)) for name in names)
        return min(max(widths, default=1), MAX_NAME_WIDTH, console.width // 6)

    times = [_format_time(number, turn) for number, turn in enumerate(timeline.turns)]
    time_width = max(map(len, times), default=1)
    speaker_width = measure(timeline.speakers)
    label_width = measure((*timeline.classes, *(turn.label for turn in timeline.turns)))
    bar_width = BAR if console.width >= NARROW else NARROW_BAR
    others = time_width + speaker_width + label_width + len(format_probability(0.5)) + bar_width
    words_width = max(0, console.width - others - 5 * len(GAP) + len(" "))
    for time, turn in zip(times, timeline.turns, strict=True):
        line = Text(f"{time:>{time_width}}{GAP}{_truncate(turn.speaker, speaker_width)}{GAP}")
        line.append(_truncate(turn.label, label_width), style=letters[turn.label][1])
        line.append(f" {format_probability(turn.probability)}{GAP}")
        for name, cells in allocate_cells(turn.probabilities, bar_width).items():
            letter, style = letters[name]
            line.append(letter * cells, style=style)
        line.append(GAP + _truncate(turn.words or "", words_width).rstrip())
        console.print(line, no_wrap=True, overflow="crop", soft_wrap=True)


def allocate_cells(probabilities: Mapping[str, float], cells: int) -> dict[str, int]:
    """Allocate the cells of a bar to the classes by the largest remainder, the most probable class first."""
    total = sum(probabilities.values()) or 1.0
    exact = {name: value / total * cells for name, value in probabilities.items()}
    allocated = {name: int(value) for name, value in exact.items()}
    by_rest = sorted(exact, key=lambda name: allocated[name] - exact[name])
    for name in by_rest[: cells - sum(allocated.values())]:
        allocated[name] += 1
    return dict(sorted(allocated.items(), key=lambda one: -one[1]))


def _format_time(number: int, turn: TimelineTurn) -> str:
    """Format minutes, seconds and tenths, or the turn's number if it has no time."""
    if turn.start is None:
        return f"{number + 1}"
    tenths = int(turn.start * 10)
    return f"{format_clock(tenths // 10)}.{tenths % 10}"


def _truncate(text: str, width: int) -> str:
    """Fit text into cells, with an ellipsis if it is cut."""
    text = flatten_text(text)
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(set_cell_size(text, max(0, width - 1)).rstrip() + "\N{HORIZONTAL ELLIPSIS}", width)
