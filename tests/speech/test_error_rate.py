"""The word error rate against counts made by hand and by a distance of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodline.metrics import WordErrors, build_normalisation, count_word_errors

WORDS = st.lists(st.sampled_from(["yes", "no", "well"]), max_size=6)


def distance(one: list[str], other: list[str]) -> int:
    """Levenshtein's, row by row."""
    row = list(range(len(other) + 1))
    for i, word in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, heard in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != heard))
    return row[-1]


def test_the_kinds_of_error_are_counted_over_all_utterances() -> None:
    errors = count_word_errors(
        ["Kids are talking.", "By the door!", "Oh."], ["kids were talking", "by door", "oh well"]
    )
    assert errors == WordErrors(substitutions=1, deletions=1, insertions=1, words=7)
    assert errors.rate == pytest.approx(3 / 7)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_errors_are_the_distance_of_each_utterance_over_the_words_said(
    pairs: list[tuple[list[str], list[str]]],
) -> None:
    errors = count_word_errors([" ".join(said) for said, _ in pairs], [" ".join(heard) for _, heard in pairs])
    expected = sum(distance(said, heard) for said, heard in pairs)
    assert errors.substitutions + errors.deletions + errors.insertions == expected
    assert errors.words == sum(len(said) for said, _ in pairs)
    assert errors.rate == (expected / errors.words if errors.words else None)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("It's \u201ctwenty-one\u201d \u2014 DON'T stop, don\u2019t!", "its twenty one dont stop dont"),
        ("[LAUGHTER] Well...I <unk> see…you", "well i see you"),
        (" two\tlines\nof  it ", "two lines of it"),
        ("Wir hören \u2013 ÄRGER", "wir hören ärger"),
        ("?!...", ""),
        ("room 20, and/or $5", "room 20 and or $5"),
    ],
)
def test_case_punctuation_and_marks_are_no_errors(text: str, normal: str) -> None:
    """As docs/recordings.md says."""
    assert build_normalisation()([text]) == [normal]
    assert count_word_errors([text], [normal]) == WordErrors(
        substitutions=0, deletions=0, insertions=0, words=len(normal.split())
    )
