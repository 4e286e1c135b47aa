"""A recording's timeline: who said what when, and with which emotion."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self, TypeVar

from moodline.config import Modalities
from moodline.errors import MoodlineError


@dataclass(frozen=True, kw_only=True, slots=True)
class Influence:
    """How much a turn of the conversation weighed.

    Attributes:
        turn: its position in the conversation, from 0
        weight: its share of the self-attention, from 0 to 1, the mean over the model's contexts and directions
    """

    turn: int
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Reasons:
    """Why one turn has its label.

    Attributes:
        context: the turns that weighed most, the heaviest first
        speech, words: by how much the label's probability falls without this modality, negative where it rises;
            None where the model has but one
    """

    context: tuple[Influence, ...]
    speech: float | None
    words: float | None


UNCERTAIN = "uncertain"
"""The label of an utterance whose most probable class is less probable than what was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UtterancePrediction:
    """What a model says of one utterance.

    Attributes:
        label: the most probable class, or ``UNCERTAIN``
        best: the most probable class, however probable it is
        probabilities: of each class, by the system's last stage; calibrated, where the model is
        by_stage: the same of each stage on the way, the last included; not of one that reads what the utterance lacks
        reasons: why, where it was asked for
    """

    id: str
    speaker: str
    start: float | None
    end: float | None
    words: str
    label: str
    best: str
    probabilities: Mapping[str, float]
    by_stage: Mapping[str, Mapping[str, float]]
    reasons: Reasons | None = None

    @property
    def probability(self) -> float:
        """Of the most probable class."""
        return self.probabilities[self.best]

    @property
    def stage(self) -> str:
        """The stage whose answer this is."""
        return list(self.by_stage)[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationPrediction:
    """Predictions of a conversation's utterances, in their order, and what was read of them."""

    conversation_id: str
    utterances: tuple[UtterancePrediction, ...]
    modalities: Modalities = "both"


@dataclass(frozen=True, kw_only=True, slots=True)
class TimelineTurn:
    """A turn with its emotion.

    Attributes:
        start, end: in seconds from the recording's begin; both None of words alone without times
        speaker: as the source spells it
        words: None where nobody has heard them
        label: the likeliest class, or ``UNCERTAIN`` where its probability is below the timeline's threshold
        probabilities: of each class, in the timeline's order
        channel: of the recording, from 0; None where it is the mean of all
        reasons: None where nobody asked for them
    """

    start: float | None
    end: float | None
    speaker: str
    words: str | None
    label: str
    probabilities: Mapping[str, float]
    channel: int | None = None
    reasons: Reasons | None = None

    @property
    def likeliest(self) -> str:
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    @property
    def probability(self) -> float:
        """Of the likeliest class, whether the label says so or ``UNCERTAIN``."""
        return self.probabilities[self.likeliest]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """Which model spoke.

    Attributes:
        trained_on: the corpus
        licence: of the model
        notes: what stands above every output, such as that it was trained on synthetic voices
    """

    name: str
    trained_on: str
    licence: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """A stretch of the recording, in seconds, that could not be done, and why."""

    start: float
    end: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TimelineContent:
    """Hold a recording's turns in their order, and how they were found; ``moodline.Timeline`` adds the outputs.

    Attributes:
        recording: its name
        duration: in seconds; None for words alone
        classes: of the model, in its order
        turns_from: such as ``talk.srt (SRT)`` or ``voice activity``
        words_from: such as ``talk.srt`` or ``pocketsphinx en-us 5.1.1``; None where there are no words
        modalities: that the model read, such as ``("audio", "text")``
        threshold: below this probability a turn is ``UNCERTAIN``; None where there is none
        warnings: sentences about this recording
        gaps: in the order of time

    Raises:
        MoodlineError: some turns have times and some do not, a time, label, probability or reason is none
    """

    recording: str
    duration: float | None
    turns: tuple[TimelineTurn, ...]
    classes: tuple[str, ...]
    model: ModelFacts
    turns_from: str
    words_from: str | None
    modalities: tuple[str, ...]
    threshold: float | None = None
    warnings: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()

    def __post_init__(self) -> None:
        timed = len([turn for turn in self.turns if turn.start is not None])
        if timed not in (0, len(self.turns)):
            raise MoodlineError(
                f"a timeline's turns all have times, or none has: {timed} of {len(self.turns)} in {self.recording} "
                "have; give the others theirs, or leave all out"
            )
        for number, turn in enumerate(self.turns):
            if fault := self._find_fault(turn):
                raise MoodlineError(f"{fault} (turn {number + 1} of {self.recording}); correct the turn")

    def _find_fault(self, turn: TimelineTurn) -> str | None:
        """What is wrong with a turn: the rule and the value."""
        times = (turn.start, turn.end)
        if times != (None, None) and not _is_interval(*times):
            return f"a turn begins at 0 or later and ends after that, in seconds: {turn.start!r} to {turn.end!r}"
        if tuple(turn.probabilities) != self.classes:
            return f"a turn has a probability for each of {', '.join(self.classes)}: {dict(turn.probabilities)!r}"
        if not all(0 <= value <= 1 for value in turn.probabilities.values()):
            return f"a probability is from 0 to 1: {dict(turn.probabilities)!r}"
        if turn.label not in (*self.classes, UNCERTAIN):
            return f"a turn's label is one of {', '.join(self.classes)} or {UNCERTAIN}: {turn.label!r}"
        strangers = (
            [one.turn for one in turn.reasons.context if not 0 <= one.turn < len(self.turns)] if turn.reasons else []
        )
        return f"a turn's context is among the {len(self.turns)} turns: {strangers[0]}" if strangers else None

    @property
    def timed(self) -> bool:
        """Whether turns have times; so has a recording without any turn."""
        return self.duration is not None if not self.turns else self.turns[0].start is not None

    @property
    def speakers(self) -> tuple[str, ...]:
        """In the order in which they begin to speak."""
        return tuple(dict.fromkeys(turn.speaker for turn in self.turns))

    @property
    def notices(self) -> tuple[str, ...]:
        """What stands above every output: the model's notes, then warnings, then gaps, a sentence each."""
        gaps = (f"from {gap.start:.1f} to {gap.end:.1f} s the recording {gap.reason}" for gap in self.gaps)
        return (*self.model.notes, *self.warnings, *gaps)

    def without_words(self) -> Self:
        """The timeline to pass on where the words are nobody else's to read."""
        return replace(self, turns=tuple(replace(turn, words=None) for turn in self.turns))


def _is_interval(start: float | None, end: float | None) -> bool:
    return start is not None and end is not None and 0 <= start < end and math.isfinite(end)


Content = TypeVar("Content", bound=TimelineContent)
DECIMALS = 3  # of a second
MIN_DURATION = 10**-DECIMALS


def round_to_milliseconds(timeline: Content) -> Content:
    """The same timeline; a turn that would end where it begins is a millisecond long."""
    return replace(
        timeline,
        duration=None if timeline.duration is None else round_seconds(timeline.duration),
        turns=tuple(map(_round_turn, timeline.turns)),
        gaps=tuple(replace(gap, start=round_seconds(gap.start), end=round_seconds(gap.end)) for gap in timeline.gaps),
    )


def round_seconds(seconds: float) -> float:
    return round(seconds, DECIMALS)


def _round_turn(turn: TimelineTurn) -> TimelineTurn:
    if turn.start is None or turn.end is None:
        return turn
    start = round_seconds(turn.start)
    return replace(turn, start=start, end=max(round_seconds(turn.end), round_seconds(start + MIN_DURATION)))
