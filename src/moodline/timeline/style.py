"""The letter, colour and pattern of each class; no output distinguishes classes by colour alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase, digits

from moodline.timeline.timeline import UNCERTAIN

# Okabe & Ito, "Color Universal Design" (2008), which colour-blind readers can distinguish; grey replaces black, on
# which nothing can be written. Each with the beginnings of the emotions' names that it is usual for.
PALETTE = {
    "#d55e00": ("ang",),
    "#f0e442": ("hap", "joy"),
    "#0072b2": ("sad",),
    "#bdbdbd": ("neu",),
    "#009e73": ("dis",),
    "#cc79a7": ("fea", "fru"),
    "#e69f00": ("exc", "sur"),
    "#56b4e9": ("cal",),
}
DEFAULT_COLOURS = {name: colour for colour, names in PALETTE.items() for name in names}


@dataclass(frozen=True, slots=True)
class ClassStyle:
    """A class's letter, colour, number of a pattern over the colour, and the colour of text on it, black or white."""

    name: str
    letter: str
    colour: str
    pattern: int
    ink: str


def assign_styles(classes: Sequence[str]) -> tuple[ClassStyle, ...]:
    """Assign marks to each class, in order, then to ``UNCERTAIN``.

    A class has its first letter that no earlier class has, or else any unused letter; and its usual colour if no
    earlier class has it, or else an unused one of the palette. More than eight classes share colours.
    """
    colours: dict[str, str] = {}
    for name in classes:
        usual = DEFAULT_COLOURS.get(name.lower()[:3])
        if usual is not None and usual not in colours.values():
            colours[name] = usual
    styles: list[ClassStyle] = []
    for number, name in enumerate(classes):
        own = [letter for letter in name.upper() if letter in ascii_uppercase]
        spare = [*own, *ascii_uppercase, *digits[1:], *map(chr, range(0x3B1, 0x3B1 + len(classes)))]
        taken = {style.letter for style in styles}
        free = [colour for colour in PALETTE if colour not in colours.values()]
        colour = colours.setdefault(name, free[0] if free else list(PALETTE)[number % len(PALETTE)])
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        ink = "#ffffff" if 2 * red + 5 * green + blue < 8 * 112 else "#000000"
        styles.append(ClassStyle(name, next(one for one in spare if one not in taken), colour, number, ink))
    return (*styles, ClassStyle(UNCERTAIN, "?", "#ffffff", len(classes), "#000000"))
