"""JSON: all of a timeline and back, as docs/timeline.md describes it."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.errors import MoodlineError
from moodline.timeline import Timeline
from moodline.timeline.timeline import round_to_milliseconds
from moodline.timeline.writers import SCHEMA
from tests.inference.timeline.talks import talk, timelines
from tests.refusals import refuses

PAGE = Path(__file__).resolve().parents[3] / "docs" / "timeline.md"


@settings(max_examples=50, deadline=None)
@given(timelines())
def test_what_is_read_back_is_equal_to_the_millisecond(one):
    assert Timeline.from_json(one.to_json()) == round_to_milliseconds(one)


def test_a_newer_schema_is_refused_in_a_sentence():
    newer = talk().to_json().replace(f'"schema": {SCHEMA}', f'"schema": {SCHEMA + 1}')
    with refuses("timeline.newer_schema", f"schema {SCHEMA + 1}", f"up to {SCHEMA}"):
        Timeline.from_json(newer)


def paths(content, place=()):
    """Where there are values in nested JSON, each once."""
    if isinstance(content, dict | list):
        yield place
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from paths(value, (*place, key))
    else:
        yield place


PLACES = sorted(paths(json.loads(talk().to_json())), key=str)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(PLACES), st.sampled_from([None, "text", 7, True, [], {}, "missing"]))
def test_what_is_of_another_kind_is_refused_with_its_place_or_is_a_timeline(place, value):
    content = json.loads(talk().to_json())
    if not place:
        content = value
    else:
        *above, last = place
        inner = content
        for key in above:
            inner = inner[key]
        if value == "missing" and isinstance(inner, dict):
            del inner[last]
        else:
            inner[last] = value
    with contextlib.suppress(MoodlineError):
        assert json.loads(Timeline.from_json(json.dumps(content)).to_json()) == content


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "timeline.bad_json"),
        ("[", "timeline.bad_json"),
        ("{" * 100_000, "timeline.bad_json"),
        ("[]", "timeline.no_schema"),
        ("3", "timeline.no_schema"),
        ('{"schema": "1"}', "timeline.no_schema"),
        ('{"schema": true}', "timeline.no_schema"),
        (f'{{"schema": {SCHEMA}}}', "timeline.missing_key"),
    ],
)
def test_what_is_no_timeline_is_refused(text, code):
    with pytest.raises(MoodlineError) as refused:
        Timeline.from_json(text)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("was", "now", "place"),
    [
        ('"speaker": "ANA"', '"speaker": 3', "timeline.turns[0].speaker is 3"),
        ('"start": 0.5', '"start": "0.5"', "timeline.turns[0].start is '0.5'"),
        ('"anger": 0.82', '"anger": null', "timeline.turns[0].probabilities.anger is None"),
        ('"duration": 10.0', '"duration": NaN', "timeline.duration is nan"),
        ('"duration": 10.0', f'"duration": 1{"0" * 400}', "timeline.duration is 1000"),
        ('"channel": 1', '"channel": 1.5', "timeline.turns[1].channel is 1.5"),
        ('"notes": [', '"notes": ["", 1, ', "timeline.model.notes[1] is 1"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_place(was, now, place):
    with pytest.raises(MoodlineError) as refused:
        Timeline.from_json(talk().to_json().replace(was, now, 1))
    assert refused.value.code == "timeline.bad_value"
    assert place in str(refused.value)


def test_the_page_describes_every_key():
    told = PAGE.read_text(encoding="utf-8")
    named = {
        ".".join(key for key in place if isinstance(key, str))
        for place in PLACES
        if place and isinstance(place[-1], str) and "probabilities" not in place[:-1]
    }
    assert len(named) > 25
    assert [name for name in sorted(named) if f"| `{name}` |" not in told] == []
