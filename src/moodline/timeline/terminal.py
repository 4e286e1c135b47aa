"""A timeline on the terminal: a line a turn, as wide as the screen; in plain letters where it is none."""

from collections.abc import Mapping

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from moodline.console import create_console, flatten_text
from moodline.timeline.style import ClassStyle, assign_styles
from moodline.timeline.timeline import TimelineContent, TimelineTurn
from moodline.timeline.writers import format_probability

MAX_NAME_WIDTH = 16
BAR, NARROW_BAR, NARROW = 20, 10, 100


def print_timeline(timeline: TimelineContent, console: Console | None = None) -> None:
    """Print it: the model and what must be known first, then the turns.

    The letters in a turn's bar are the classes', as many as their probabilities ask for: colour says nothing alone.
    """
    console = console or create_console()
    for line in _build_heading(timeline):
        console.print(Text(flatten_text(line)), style="bold" if line.startswith("Note: ") else None)
    console.print()
    marks = {sign.name: sign for sign in assign_styles(timeline.classes)}
    console.print(
        Text("  ").join(Text.assemble(_build_badge(sign), f" {flatten_text(sign.name)}") for sign in marks.values())
    )
    widths = ColumnWidths(timeline, console.width)
    for number, turn in enumerate(timeline.turns):
        console.print(
            _format_line(number, turn, timeline, marks, widths), no_wrap=True, overflow="crop", soft_wrap=True
        )


def _build_heading(timeline: TimelineContent) -> list[str]:
    model = timeline.model
    return [
        f"Model: {model.name}, trained on {model.trained_on}, licence {model.licence}",
        *(f"Note: {notice}" for notice in timeline.notices),
        "; ".join(
            [
                f"{'Words' if timeline.duration is None else 'Recording'}: {timeline.recording}",
                f"turns from {timeline.turns_from}",
                f"words from {timeline.words_from or 'nowhere'}",
                f"read {' and '.join(timeline.modalities)}",
                *([] if timeline.threshold is None else [f"uncertain below {timeline.threshold:g}"]),
            ]
        ),
    ]


class ColumnWidths:
    """Columns in cells of the terminal; the words have what the others leave."""

    def __init__(self, timeline: TimelineContent, screen: int) -> None:
        def longest(names: list[str]) -> int:
            return min(max(map(cell_len, names), default=1), MAX_NAME_WIDTH, screen // 6)

        self.time = max((len(_format_time(number, turn)) for number, turn in enumerate(timeline.turns)), default=1)
        self.speaker = longest([flatten_text(name) for name in timeline.speakers])
        self.label = longest(
            [flatten_text(name) for name in (*timeline.classes, *(turn.label for turn in timeline.turns))]
        )
        self.bar = BAR if screen >= NARROW else NARROW_BAR
        others = self.time + self.speaker + self.label + len(format_probability(0.5)) + self.bar
        self.words = max(0, screen - others - 5 * len("  ") + len(" "))


def _format_line(
    number: int, turn: TimelineTurn, timeline: TimelineContent, marks: Mapping[str, ClassStyle], widths: ColumnWidths
) -> Text:
    line = Text(f"{_format_time(number, turn):>{widths.time}}  {_truncate(turn.speaker, widths.speaker)}  ")
    line.append(_truncate(turn.label, widths.label), style=_get_style(marks[turn.label]))
    line.append(f" {format_probability(turn.probability)}  ")
    for name, cells in allocate_cells(turn.probabilities, widths.bar).items():
        line.append(marks[name].letter * cells, style=_get_style(marks[name]))
    return line.append("  " + _truncate(turn.words or "", widths.words).rstrip())


def allocate_cells(probabilities: Mapping[str, float], cells: int) -> dict[str, int]:
    """How many of the cells each class has, the likeliest first: by the largest remainder, so that all are given."""
    total = sum(probabilities.values()) or 1.0
    exact = {name: value / total * cells for name, value in probabilities.items()}
    given = {name: int(value) for name, value in exact.items()}
    by_rest = sorted(exact, key=lambda name: given[name] - exact[name])
    for name in by_rest[: cells - sum(given.values())]:
        given[name] += 1
    return dict(sorted(given.items(), key=lambda one: -one[1]))


def _format_time(number: int, turn: TimelineTurn) -> str:
    """Minutes, seconds and tenths; the turn's number where it has no time."""
    if turn.start is None:
        return f"{number + 1}"
    minutes, tenths = divmod(int(turn.start * 10), 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


def _truncate(text: str, width: int) -> str:
    """Text in so many cells, with an ellipsis where it is cut."""
    text = flatten_text(text)
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(set_cell_size(text, max(0, width - 1)).rstrip() + "\N{HORIZONTAL ELLIPSIS}", width)


def _build_badge(sign: ClassStyle) -> Text:
    return Text(sign.letter, style=_get_style(sign))


def _get_style(sign: ClassStyle) -> str:
    return f"{sign.ink} on {sign.colour}"
