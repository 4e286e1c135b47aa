"""Timelines for tests: one that was made up by hand, and any that there can be."""

from hypothesis import strategies as st

from moodline.timeline import UNCERTAIN, Gap, ModelFacts, Timeline, TimelineTurn
from moodline.timeline.timeline import Influence, Reasons

CLASSES = ("anger", "joy", "neutral", "sadness", "surprise")
SAID = (
    ("ANA", 0.5, 2.0, "You said five o'clock!", "anger"),
    ("BEN", 2.2, 3.1, "I know.", "neutral"),
    ("ANA", 3.0, 4.5, "And nobody called me, nobody.", UNCERTAIN),
    ("ANA", 4.0, 5.0, 'Not "soon", not "later".', "anger"),
    ("BEN", 5.5, 7.75, None, "sadness"),
    ("BEN", 8.0, 9.5, "I am sorry; here, these are for you.", "joy"),
)


def talk(timed: bool = True, said=SAID, classes: tuple[str, ...] = CLASSES, reasons: bool = True) -> Timeline:
    """Overlaps between speakers and of one with herself, a turn without words, one that is uncertain, a gap."""
    turns = tuple(
        TimelineTurn(
            start=start if timed else None,
            end=end if timed else None,
            speaker=speaker,
            words=words,
            label=label,
            probabilities=probabilities(label, classes),
            channel=position % 2,
            reasons=reasons_of(position) if reasons else None,
        )
        for position, (speaker, start, end, words, label) in enumerate(said)
    )
    return Timeline(
        recording="talk.wav",
        duration=10.0 if timed else None,
        turns=turns,
        classes=classes,
        model=ModelFacts(
            name="demo", trained_on="the demo corpus", licence="Apache-2.0", notes=("trained on synthetic voices",)
        ),
        turns_from="talk.srt (SRT)",
        words_from="talk.srt",
        modalities=("audio", "text"),
        threshold=0.5,
        warnings=("the recording is quiet",),
        gaps=(Gap(start=9.6, end=10.0, reason="cannot be decoded"),) if timed else (),
    )


def probabilities(label: str, classes: tuple[str, ...]) -> dict[str, float]:
    """The label's .82; where it is uncertain, the first class's .4."""
    top, value = (classes[0], 0.4) if label == UNCERTAIN else (label, 0.82)
    return {name: value if name == top else (1 - value) / (len(classes) - 1) for name in classes}


def reasons_of(position: int) -> Reasons:
    earlier = tuple(Influence(turn=turn, weight=0.5 / (position - turn)) for turn in reversed(range(position)))
    return Reasons(context=earlier[:3], speech=0.25, words=-0.125)


SENTENCES = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SHARES = st.floats(0, 1)
EITHER = st.booleans()


@st.composite
def timelines(draw: st.DrawFn, *, timed=EITHER, words=SENTENCES) -> Timeline:
    """Any: speakers and words of any letters, turns that overlap, classes of any names."""
    classes = tuple(draw(st.lists(words.filter(lambda name: name != UNCERTAIN), min_size=1, max_size=5, unique=True)))
    number, with_times = draw(st.integers(0, 6)), draw(timed)
    turns = tuple(draw(turn(classes, number, with_times, words)) for _ in range(number))
    return Timeline(
        recording=draw(words),
        duration=draw(st.floats(0.001, 1e5)) if with_times else None,
        turns=turns,
        classes=classes,
        model=ModelFacts(
            name=draw(words),
            trained_on=draw(words),
            licence=draw(words),
            notes=tuple(draw(st.lists(words, max_size=2))),
        ),
        turns_from=draw(words),
        words_from=draw(st.none() | words),
        modalities=tuple(draw(st.lists(words, max_size=2))),
        threshold=draw(st.none() | SHARES),
        warnings=tuple(draw(st.lists(words, max_size=2))),
        gaps=tuple(Gap(start=1.0, end=2.0, reason=reason) for reason in draw(st.lists(words, max_size=2))),
    )


@st.composite
def turn(draw: st.DrawFn, classes: tuple[str, ...], number: int, timed: bool, words) -> TimelineTurn:
    start, lasts = draw(st.floats(0, 1e4)), draw(st.floats(0.001, 100))
    influence = st.builds(Influence, turn=st.integers(0, number - 1), weight=SHARES)
    signed = st.none() | st.floats(-1, 1)
    return TimelineTurn(
        start=start if timed else None,
        end=start + lasts if timed else None,
        speaker=draw(words),
        words=draw(st.none() | words),
        label=draw(st.sampled_from((*classes, UNCERTAIN))),
        probabilities={name: draw(SHARES) for name in classes},
        channel=draw(st.none() | st.integers(0, 7)),
        reasons=draw(
            st.none()
            | st.builds(Reasons, context=st.lists(influence, max_size=3).map(tuple), speech=signed, words=signed)
        ),
    )
