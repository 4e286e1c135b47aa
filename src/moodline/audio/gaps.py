"""What is missing of a recording that was read all the same."""

from dataclasses import dataclass, replace

NEAR = 0.1  # seconds: gaps closer than this are told as one

UNREADABLE = "cannot be read: silence stands in its place"
NOT_FINITE = "has samples that are no finite numbers: silence stands in their place"
NOT_THERE = "is missing: the file breaks off"


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of a recording without its sound.

    Attributes:
        start, end: in seconds; equal where damage is known and its length is not
        what: is the matter, as the end of a sentence
    """

    start: float
    end: float
    what: str

    def __str__(self) -> str:
        return f"{self.start:.3f} s to {self.end:.3f} s {self.what}"


class Gaps:
    """Gaps as they are found; one that is found again, by another reading, is the same one."""

    def __init__(self) -> None:
        self._gaps: list[Gap] = []

    def add(self, gap: Gap) -> None:
        """Keep a gap, as one with those of its kind that it touches."""
        apart = []
        for other in self._gaps:
            if other.what == gap.what and other.start <= gap.end + NEAR and gap.start <= other.end + NEAR:
                gap = replace(gap, start=min(gap.start, other.start), end=max(gap.end, other.end))
            else:
                apart.append(other)
        self._gaps = [*apart, gap]

    def in_order(self) -> tuple[Gap, ...]:
        return tuple(sorted(self._gaps, key=lambda gap: (gap.start, gap.end)))
