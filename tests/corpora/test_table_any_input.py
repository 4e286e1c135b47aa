"""Tables of any content: what three formats hold alike is one corpus, and nothing ends in a traceback."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.corpora import table
from moodline.corpora.corpus import read_corpus, write_corpus
from moodline.tabular import parse_seconds
from tests.corpora.files import record, written
from tests.corpora.outcome import outcome

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip()) and text[0] != "\ufeff"
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "dialogue": st.sampled_from(["a", "b", "7"]),
            "text": TEXTS,
            "speaker": TEXTS,
            "emotion": st.none() | TEXTS,
            "start": st.integers(0, 9000).map(lambda tenths: tenths / 10),
        }
    ),
    min_size=1,
    max_size=8,
)


@given(rows=ROWS)
@settings(deadline=None)
def test_three_formats_of_the_same_rows_are_the_same_corpus(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("formats")
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=";")
    writer.writeheader()
    writer.writerows(rows)
    written(folder, text.getvalue())
    written(folder, "\n".join(map(json.dumps, rows)), "talks.jsonl")
    pq.write_table(pa.Table.from_pylist(rows), folder / "talks.parquet")
    first, *others = (table.read(folder / f"talks.{ending}") for ending in ("csv", "jsonl", "parquet"))
    assert all(replace(other, table="talks.csv") == first for other in others)
    expected = sorted((row["dialogue"], row["start"], row["text"].strip()) for row in rows)
    found = [(one.id, u.start, u.words) for one in first.conversations for u in one.utterances]
    assert sorted(found) == expected


CELLS = st.sampled_from(
    ["", "a", "1", "-1", "nan", "1:2", "a.wav", ".", "..", "test", '"', "\0", "\x85", "Hi\nyou"]
) | st.text(max_size=5)
HEADERS = st.lists(
    st.sampled_from(["text", "wav", "id", "dialogue", "start", "end", "offset", "duration", "split", "x", ""]),
    max_size=7,
)


@given(header=HEADERS, rows=st.lists(st.lists(CELLS, max_size=7), max_size=5), delimiter=st.sampled_from(",;\t"))
@settings(deadline=None)
def test_whatever_the_cells_hold_is_read_or_refused_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, header: list[str], rows: list[list[str]], delimiter: str
) -> None:
    folder = tmp_path_factory.mktemp("cells")
    record(folder / "a.wav", 0.1)
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([header, *rows])
    (folder / "talks.csv").write_bytes(text.getvalue().encode(errors="replace"))
    check(folder / "talks.csv")


@given(
    content=st.binary() | st.text().map(lambda text: text.encode(errors="replace")),
    ending=st.sampled_from(["csv", "jsonl", "parquet"]),
)
@settings(deadline=None)
def test_whatever_a_file_holds_is_read_or_refused_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str
) -> None:
    path = tmp_path_factory.mktemp("bytes") / f"talks.{ending}"
    path.write_bytes(content)
    check(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2),
)


@given(rows=st.lists(st.dictionaries(st.sampled_from(["text", "id", "start", "wav", "dialogue"]), JSON), max_size=4))
@settings(deadline=None)
def test_whatever_json_holds_is_read_or_refused_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    check(written(tmp_path_factory.mktemp("json"), "\n".join(map(json.dumps, rows)), "talks.jsonl"))


def check(path: Path) -> None:
    """What is read can be kept and read again, and its ids are its own."""
    corpus = outcome(table.read, path)
    if corpus is None:
        return
    ids = [utterance.id for utterance in corpus.utterances]
    assert ids
    assert len(ids) == len(set(ids))
    assert all(utterance.words or utterance.audio for utterance in corpus.utterances)
    write_corpus(corpus, path.with_name("out"))
    assert read_corpus(path.with_name("out")) == corpus


@given(seconds=st.integers(0, 10**7).map(lambda ms: ms / 1000), mark=st.sampled_from(",."))
def test_times_are_read_as_they_are_written(seconds: float, mark: str) -> None:
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    clock = f"{int(hours):02d}:{int(minutes):02d}:{rest:06.3f}".replace(".", mark)
    for text in (f"{seconds}".replace(".", mark), clock):
        found = parse_seconds(text)
        assert found is not None
        assert math.isclose(found, seconds, abs_tol=2e-3 if text == clock else 0)
    assert parse_seconds(f"{clock}x") is None
