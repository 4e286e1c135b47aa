"""Times in files: to the millisecond, in every format, whatever sums they came from."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from praatio import textgrid

from moodline.timeline import FORMATS, Timeline
from tests.inference.timeline.talks import talk, timelines

Times = list[tuple[float, float]]
HALF = 0.0005 + 1e-9
LONG = re.compile(r"\d\.\d{4,}")


def of_json(text: str) -> tuple[Times, str]:
    turns = json.loads(text)["turns"]
    return [(turn["start"], turn["end"]) for turn in turns], str([(turn["start"], turn["end"]) for turn in turns])


def of_csv(text: str) -> tuple[Times, str]:
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    return [(float(row["start"]), float(row["end"])) for row in rows], str([(r["start"], r["end"]) for r in rows])


def of_srt(text: str) -> tuple[Times, str]:
    cues = pysubs2.SSAFile.from_string(text, format_="srt").events if text else []
    return [(cue.start / 1000, cue.end / 1000) for cue in cues], " ".join(re.findall(r"[\d:,]+ --> [\d:,]+", text))


def of_textgrid(text: str) -> tuple[Times, str]:
    read = textgrid.textgrid_io.parseTextgridStr(text, includeEmptyIntervals=False)
    entries = [entry for tier in read["tiers"] if tier["name"].startswith("emotion") for entry in tier["entries"]]
    written = re.findall(r"xm(?:in|ax) = (\S+)", text)
    return [(float(start), float(end)) for start, end, label in entries if label], " ".join(written)


def of_html(text: str) -> tuple[Times, str]:
    found = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    times = [(turn[0], turn[1]) for turn in data["turns"]]
    return times, str([times, data["duration"], data["gaps"]])


READERS: dict[str, Callable[[str], tuple[Times, str]]] = {
    "json": of_json,
    "csv": of_csv,
    "srt": of_srt,
    "textgrid": of_textgrid,
    "html": of_html,
}


def plain(one: Timeline) -> Timeline:
    """With labels and words that every reader takes as they are, and without what stands above."""
    turns = tuple(
        replace(turn, label="a", probabilities={"a": 1.0}, words="yes", speaker="ann", reasons=None)
        for turn in one.turns
    )
    bare = replace(one, turns=(), model=replace(one.model, notes=()), warnings=(), gaps=())
    return replace(bare, turns=turns, classes=("a",))


def each_format() -> Iterator[str]:
    assert READERS.keys() == FORMATS.keys()
    yield from READERS


@pytest.mark.parametrize("name", each_format())
@settings(max_examples=50, deadline=None)
@given(timelines(timed=st.just(True)).map(plain))
def test_what_is_read_back_is_within_half_a_millisecond_and_written_in_three_decimals(name, one):
    found, written = READERS[name](FORMATS[name](one))
    assert all(start < end for start, end in found)
    expected = [(turn.start, turn.end) for turn in one.turns]
    for which in (0, 1):  # each by itself, as turns that begin together have no order
        pairs = zip(sorted(time[which] for time in found), sorted(time[which] for time in expected), strict=True)
        assert all(abs(time - was) <= HALF for time, was in pairs)
    assert not LONG.search(written)


@pytest.mark.parametrize("name", each_format())
def test_what_voice_activity_sums_up_is_written_as_it_is_meant(name):
    said = (("ANA", 3 * 0.032, 204 * 0.032, "yes", "anger"), ("BEN", 204 * 0.032, 204 * 0.032 + 1e-5, "no", "anger"))
    assert 204 * 0.032 != 6.528
    bare = replace(talk(said=said, reasons=False), warnings=(), gaps=())
    found, _ = READERS[name](FORMATS[name](replace(bare, model=replace(bare.model, notes=()))))
    assert found == [(0.096, 6.528), (6.528, 6.529)]  # what is shorter than a millisecond lasts one
