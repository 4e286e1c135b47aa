"""Faults of a corpus, collected in one pass and said in one sentence."""

from dataclasses import dataclass, field
from pathlib import Path

from moodline.errors import MoodlineError


@dataclass
class Faults:
    """What is wrong with a source, and what is not wrong but left out (reason -> ids)."""

    source: Path
    faults: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def add(self, fault: str) -> None:
        self.faults.append(fault)

    def leave_out(self, reason: str, identity: str) -> None:
        self.left_out.setdefault(reason, []).append(identity)

    def raise_if_any(self) -> None:
        """Refuse the source if it has a fault: the first is told whole, the others are counted."""
        if self.faults:
            others = len(self.faults) - 1
            more = f" (and {others} more fault{'s' if others > 1 else ''} in {self.source})" if others else ""
            raise MoodlineError(self.faults[0] + more)
