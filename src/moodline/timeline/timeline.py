"""A recording's timeline: the speaker, times, words and emotion of each turn."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self, TypeVar

from moodline.audio.recording import Gap
from moodline.config import Modalities
from moodline.errors import MoodlineError, quote


@dataclass(frozen=True, kw_only=True, slots=True)
class Influence:
    """Another turn's position, from 0, and its share of the self-attention, the mean over contexts and directions."""

    turn: int
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Reasons:
    """The turns with the largest weights, and the fall of the label's probability without speech or without words.

    A rise is negative; a model of one modality has None.
    """

    context: tuple[Influence, ...]
    speech: float | None
    words: float | None


UNCERTAIN = "uncertain"
"""The label of an utterance whose most probable class is below the requested probability."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UtterancePrediction:
    """A model's prediction for one utterance.

    Attributes:
        label: the most probable class, or ``UNCERTAIN``
        best: the most probable class, whatever its probability
        probabilities: of each class, from the system's last stage; calibrated if the model is
        by_stage: the same from each stage, the last included, without stages whose input the utterance lacks
        reasons: None unless requested
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
        return self.probabilities[self.best]

    @property
    def stage(self) -> str:
        """Return the stage that gave the prediction."""
        return list(self.by_stage)[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationPrediction:
    """Predictions for a conversation's utterances, in their order, and the modalities that the model read."""

    conversation_id: str
    utterances: tuple[UtterancePrediction, ...]
    modalities: Modalities = "both"


@dataclass(frozen=True, kw_only=True, slots=True)
class TimelineTurn:
    """A turn with its emotion.

    Attributes:
        start, end: in seconds from the start of the recording; both None for words without times
        speaker: in the source's spelling
        words: None if not recognised
        label: the most probable class, or ``UNCERTAIN`` if its probability is below the timeline's threshold
        probabilities: of each class, in the timeline's order
        channel: of the recording, from 0; None for the mean of all channels
        reasons: None unless requested
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
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def probability(self) -> float:
        """Return the probability of the most probable class, also if the label is ``UNCERTAIN``."""
        return max(self.probabilities.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """The model that labelled a timeline, its corpus and licence, and notes, sentences above every output."""

    name: str
    trained_on: str
    licence: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TimelineContent:
    """A recording's turns in their order, and their sources; ``moodline.Timeline`` adds the outputs.

    Attributes:
        recording: its name
        duration: in seconds; None for words alone
        classes: of the model, in its order
        turns_from: such as ``talk.srt (SRT)`` or ``voice activity``
        words_from: such as ``talk.srt`` or ``pocketsphinx en-us 5.1.1``; None without words
        modalities: that the model read, such as ``("audio", "text")``
        threshold: a turn below this probability is ``UNCERTAIN``; None without a threshold
        warnings: sentences about this recording
        gaps: in the order of time

    Raises:
        MoodlineError: some turns have times and some do not; or a time, label, probability or reason is invalid
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
            have = f"{timed} of {len(self.turns)} turns of {self.recording} have times, expected all or none"
            raise MoodlineError(f"{have}. Add the missing times, or leave out all.", code="timeline.mixed_times")
        labels = (*self.classes, UNCERTAIN)
        for number, turn in enumerate(self.turns, start=1):
            start, end, given, fault = turn.start, turn.end, dict(turn.probabilities), ""
            context = [one.turn for one in turn.reasons.context] if turn.reasons else []
            if (start, end) != (None, None) and (start is None or end is None or not 0 <= start < end < math.inf):
                fault = f"the times {start!r} to {end!r}, expected seconds from 0 on and an end after the start"
            elif tuple(given) != self.classes:
                fault = f"the probabilities {quote(given)}, expected one for each of {', '.join(self.classes)}"
            elif not all(0 <= value <= 1 for value in given.values()):
                fault = f"the probabilities {quote(given)}, expected numbers from 0 to 1"
            elif turn.label not in labels:
                fault = f"the label {quote(turn.label)}, expected {', '.join(self.classes)} or {UNCERTAIN}"
            elif others := [one for one in context if not 0 <= one < len(self.turns)]:
                fault = f"the turn {others[0]} in its context, expected one from 0 to {len(self.turns) - 1}"
            if fault:
                sentence = f"turn {number} of {self.recording} has {fault}. Correct the turn."
                raise MoodlineError(sentence, code="timeline.invalid_turn")

    @property
    def timed(self) -> bool:
        """Check whether turns have times; without turns, whether the timeline is of a recording."""
        return self.duration is not None if not self.turns else self.turns[0].start is not None

    @property
    def speakers(self) -> tuple[str, ...]:
        """Return the speakers in the order of their first turns."""
        return tuple(dict.fromkeys(turn.speaker for turn in self.turns))

    @property
    def notices(self) -> tuple[str, ...]:
        """Return the sentences above every output: the model's notes, then warnings, then gaps."""
        gaps = (f"from {gap.start:.1f} to {gap.end:.1f} s the recording {gap.reason}" for gap in self.gaps)
        return (*self.model.notes, *self.warnings, *gaps)

    def without_words(self) -> Self:
        """Return the timeline with the words removed, to pass it on."""
        return replace(self, turns=tuple(replace(turn, words=None) for turn in self.turns))


Content = TypeVar("Content", bound=TimelineContent)
MILLISECOND = 0.001


def round_to_milliseconds(timeline: Content) -> Content:
    """Round all times; each turn lasts at least a millisecond."""
    turns: list[TimelineTurn] = []
    for turn in timeline.turns:
        if turn.start is not None and turn.end is not None:
            start = round(turn.start, 3)
            turn = replace(turn, start=start, end=max(round(turn.end, 3), round(start + MILLISECOND, 3)))
        turns.append(turn)
    return replace(
        timeline,
        duration=None if timeline.duration is None else round(timeline.duration, 3),
        turns=tuple(turns),
        gaps=tuple(replace(gap, start=round(gap.start, 3), end=round(gap.end, 3)) for gap in timeline.gaps),
    )
