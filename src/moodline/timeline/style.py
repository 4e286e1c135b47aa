"""How a class is told from others: by a letter and by a colour, of which the colour is never alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase, digits

from moodline.timeline.timeline import UNCERTAIN

# Okabe & Ito, "Color Universal Design" (2008): told apart by colour-blind readers. Grey takes the place of black, on
# which nothing can be written.
VERMILLION, YELLOW, BLUE, GREY = "#d55e00", "#f0e442", "#0072b2", "#bdbdbd"
GREEN, PURPLE, ORANGE, SKY = "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
PALETTE = (VERMILLION, YELLOW, BLUE, GREY, GREEN, PURPLE, ORANGE, SKY)
# By how the names of emotions begin in the label sets that moodline knows.
DEFAULT_COLOURS = {
    "ang": VERMILLION,
    "hap": YELLOW,
    "joy": YELLOW,
    "sad": BLUE,
    "neu": GREY,
    "dis": GREEN,
    "fea": PURPLE,
    "fru": PURPLE,
    "exc": ORANGE,
    "sur": ORANGE,
    "cal": SKY,
}
WHITE = "#ffffff"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassStyle:
    """A class's marks.

    Attributes:
        letter: one that no other class has
        colour: ``#rrggbb``; more than eight classes share some
        pattern: a number that no other class has, for what is drawn over the colour
    """

    name: str
    letter: str
    colour: str
    pattern: int

    @property
    def ink(self) -> str:
        """What can be read on the colour: white on dark ones, else black."""
        red, green, blue = (int(self.colour[at : at + 2], 16) for at in (1, 3, 5))
        return "#ffffff" if 2 * red + 5 * green + blue < 8 * 112 else "#000000"


def assign_styles(classes: Sequence[str]) -> tuple[ClassStyle, ...]:
    """Each class's marks in the classes' order, then those of ``UNCERTAIN``."""
    letters, colours = _assign_letters(classes), _assign_colours(classes)
    known = [
        ClassStyle(name=name, letter=letter, colour=colour, pattern=pattern)
        for pattern, (name, letter, colour) in enumerate(zip(classes, letters, colours, strict=True))
    ]
    return (*known, ClassStyle(name=UNCERTAIN, letter="?", colour=WHITE, pattern=len(classes)))


def _assign_letters(classes: Sequence[str]) -> list[str]:
    """Of each name the first letter that no earlier name has taken; where all are, any that is left."""
    taken: list[str] = []
    for name in classes:
        own = [letter for letter in name.upper() if letter in ascii_uppercase]
        spare = [*own, *ascii_uppercase, *digits[1:], *map(chr, range(0x3B1, 0x3B1 + len(classes)))]
        taken.append(next(letter for letter in spare if letter not in taken))
    return taken


def _assign_colours(classes: Sequence[str]) -> list[str]:
    found: dict[str, str] = {}
    for name in classes:
        usual = DEFAULT_COLOURS.get(name.lower()[:3])
        if usual is not None and usual not in found.values():
            found[name] = usual
    for number, name in enumerate(classes):
        free = [colour for colour in PALETTE if colour not in found.values()]
        found.setdefault(name, free[0] if free else PALETTE[number % len(PALETTE)])
    return [found[name] for name in classes]
