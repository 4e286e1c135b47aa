"""What an evaluation finds, as results.json holds it: scores with their intervals, by stage, fold, part and class."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score, or a difference of scores, and its 95 % interval; None where one conversation is all there is."""

    value: float
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """The three measures over a set of utterances."""

    utterances: int
    conversations: int
    wa: Estimate
    ua: Estimate
    weighted_f1: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Mean and standard deviation (n - 1 in the denominator) over folds; one fold has no deviation."""

    mean: float
    deviation: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class OverFolds:
    wa: Spread
    ua: Spread
    weighted_f1: Spread


@dataclass(frozen=True, kw_only=True, slots=True)
class OneClass:
    """A class's scores; None where undefined (see moodline.metrics.ClassScores)."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StageScores:
    """All that is said of one stage.

    ``confusion`` has a row per reference class and a column per predicted one, in the order of ``classes``.
    ``parts`` is empty unless the predictions hold more than one part of a corpus.
    """

    stage: str
    pooled: Scores
    over_folds: OverFolds
    folds: Mapping[str, Scores]
    parts: Mapping[str, Scores]
    classes: Mapping[str, OneClass]
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """``stage`` minus ``minus``, paired over conversations."""

    stage: str
    minus: str
    wa: Estimate
    ua: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    scores: tuple[StageScores, ...]
    differences: tuple[Difference, ...]
