"""Words made worse: which utterances are recognised, and errors that are only those of the recogniser."""

import itertools
import re

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.conversation import Conversation, Utterance
from moodline.experiments.corruptions import (
    CURVES,
    DELETED,
    DRAWN,
    INTERPOLATED,
    CorruptionPoint,
    FoldWords,
    NormalisedWord,
    WordConfusions,
    WordCorruption,
    count_confusions,
    mix_words,
    split_texts,
)

PAIRS = [
    ("I am so happy today.", "i am so happy to day"),
    ("You are not my friend!", "you are my friend"),
    ("Well, what do you want?", "what do you want"),
    ("I want to go home now.", "i won to go comb now"),
    ("Go.", "go oh"),
    ("I come home.", "i come comb"),
    ("It's a well-known door.", "it's a well known door"),
]
SAID = [said for said, _ in PAIRS] * 40


def test_confusions_are_counted_word_by_word() -> None:
    found = count_confusions(PAIRS)
    assert {word: [other.spelling for other in others] for word, others in found.substitutes.items()} == {
        "today": ["day"],
        "not": [""],
        "well": [""],
        "want": ["won"],
        "home": ["comb", "comb"],
    }
    assert [word.spelling for word in found.inserted] == ["oh", "to"]
    assert (found.counts["you"], found.counts["home"], found.counts["known"]) == (2, 2, 1)
    # Of 5 + 5 + 5 + 6 + 1 + 3 + 5 words six are wrong.
    assert found.error_rate == pytest.approx(6 / 30)
    assert found.insertion_rate == pytest.approx(2 / 30)
    assert found.estimate_error_rate("home") == pytest.approx((2 + 6 / 30) / 3)
    assert found.estimate_error_rate("never said") == pytest.approx(6 / 30)


def test_what_is_heard_has_the_frequency_that_it_was_heard_with() -> None:
    """Over all places between 0 and 1: the word's own errors, and with the weight of the rate those of all words."""
    found = count_confusions(PAIRS)
    heard = [found.choose_substitute("home", place / 10_000).spelling for place in range(10_000)]
    shares = {word: heard.count(word) / 10_000 for word in set(heard)}
    weight = 6 / 30
    # Of all six errors two are comb, two are nothing.
    assert shares["comb"] == pytest.approx((2 + weight * 2 / 6) / (2 + weight), abs=1e-3)
    assert shares[""] == pytest.approx(weight * 2 / 6 / (2 + weight), abs=1e-3)
    assert shares["day"] == pytest.approx(weight / 6 / (2 + weight), abs=1e-3)


def test_a_word_is_never_misheard_as_itself() -> None:
    found = count_confusions(PAIRS)
    assert all(found.choose_substitute("comb", place / 999).normal != "comb" for place in range(999))
    only = WordConfusions(counts={"a": 2, "b": 1}, substitutes={"a": (NormalisedWord("b", "b"),)}, inserted=())
    assert only.choose_substitute("b", 0.5) == DELETED


@pytest.mark.parametrize("rate", CURVES[DRAWN].x)
def test_the_word_error_rate_is_reached_with_errors_that_were_seen(rate: float) -> None:
    confusions = count_confusions(PAIRS)
    texts = {f"u{number}": said for number, said in enumerate(SAID)}
    words = WordCorruption(texts, confusions, seed=3).corrupt_to_rate(rate)
    normal = [
        [re.sub(r"[^\w\s]", "", text.replace("-", " ")).lower() for text in side] for side in (SAID, words.values())
    ]
    assert jiwer.wer(*normal) == pytest.approx(rate, abs=0.005)  # 1200 words
    known = {word for said in normal[0] for word in said.split()}
    heard = {"day", "won", "comb", "to", "oh"}
    assert {word for text in normal[1] for word in text.split()} <= known | heard


@given(
    st.lists(
        st.lists(st.sampled_from(["yes", "no", "Well,", "-", "[LAUGHTER]", "so-so"]), max_size=6).map(" ".join),
        min_size=1,
        max_size=6,
    ),
    st.floats(0, 1_000),
    st.integers(0, 5),
)
@settings(max_examples=80, deadline=None)
def test_errors_grow_on_those_that_are_there(texts: list[str], scale: float, seed: int) -> None:
    """Whatever the words: the same scale gives the same, none gives what was said, and marks are left alone."""
    named = {str(number): text for number, text in enumerate(texts)}
    confusions = count_confusions([("yes no well", "yes know well well"), ("so", "")])
    corruption = WordCorruption(named, confusions, seed)
    assert corruption.corrupt_texts(0) == named
    words = corruption.corrupt_texts(scale)
    assert words == WordCorruption(dict(reversed(named.items())), confusions, seed).corrupt_texts(scale)
    more = corruption.corrupt_texts(2 * scale)
    for name in named:
        assert words[name].count("[LAUGHTER]") == named[name].count("[LAUGHTER]")
        if more[name] == named[name]:
            assert words[name] == named[name]


def test_a_recogniser_that_always_hears_right_gives_no_errors() -> None:
    corruption = WordCorruption({"u": "go home"}, count_confusions([("go home", "go home")]), 0)
    assert corruption.corrupt_to_rate(0.7) == {"u": "go home"}


def test_an_utterance_without_an_error_stays_as_it_is_written() -> None:
    texts = {f"u{number}": f"  {said}  " for number, said in enumerate(SAID)}
    words = WordCorruption(texts, count_confusions(PAIRS), 0).corrupt_to_rate(0.1)
    kept = [name for name in texts if words[name] == texts[name]]
    assert 0 < len(kept) < len(texts)


def test_spelling_and_what_is_compared_go_together() -> None:
    (words,) = split_texts(["Well-known, isn't it... [LAUGHTER] -- Ja!"])
    assert words == [
        NormalisedWord("well", "well"),
        NormalisedWord("known", "known"),
        NormalisedWord("isn't", "isnt"),
        NormalisedWord("it...", "it"),
        NormalisedWord("[LAUGHTER]", ""),
        NormalisedWord("--", ""),
        NormalisedWord("Ja!", "ja"),
    ]


def fold_words(turns: int = 200, seed: int = 0) -> FoldWords:
    tested = [Utterance(id=f"t{number}", speaker="A", words=f"said {number}") for number in range(turns)]
    others = [Utterance(id=f"o{number}", speaker="B", words=said) for number, (said, _) in enumerate(PAIRS)]
    recognised = {turn.id: turn.words.replace("said", "sad") for turn in tested}
    recognised |= {turn.id: heard for turn, (_, heard) in zip(others, PAIRS, strict=True)}
    return FoldWords(tested, [Conversation(id="o", utterances=tuple(others))], recognised, seed)


def test_shares_of_recognised_utterances_are_nested_and_end_at_all() -> None:
    words = fold_words()
    assert words.build_words(CorruptionPoint(INTERPOLATED, 0.0)) == words.reference
    assert words.build_words(CorruptionPoint(INTERPOLATED, 1.0)) == words.recognised
    sets = [
        {
            name
            for name, said in words.build_words(CorruptionPoint(INTERPOLATED, share)).items()
            if said == words.recognised[name]
        }
        for share in CURVES[INTERPOLATED].x
    ]
    assert all(smaller <= larger for smaller, larger in itertools.pairwise(sets))
    for share, chosen in zip(CURVES[INTERPOLATED].x, sets, strict=True):
        assert len(chosen) == pytest.approx(200 * share, abs=4 * (200 * share * (1 - share)) ** 0.5)


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_a_mixture_takes_each_utterance_from_one_of_the_two(texts: dict[str, str], share: float, other: float) -> None:
    recognised = {name: text + "!" for name, text in texts.items()}
    small, large = (mix_words(texts, recognised, one, 0) for one in sorted((share, other)))
    for name, text in texts.items():
        assert small[name] in (text, recognised[name])
        assert large[name] == recognised[name] or small[name] == text


def test_confusions_are_learned_from_what_is_not_tested() -> None:
    words = fold_words()
    assert "said" not in words.confusions.counts
    assert words.build_words(CorruptionPoint(DRAWN, 0.0)) == words.reference
    assert (
        words.build_words(CorruptionPoint(DRAWN, 0.5))
        == fold_words().build_words(CorruptionPoint(DRAWN, 0.5))
        != words.reference
    )
    assert words.build_words(CorruptionPoint(DRAWN, 0.5)) != fold_words(seed=1).build_words(CorruptionPoint(DRAWN, 0.5))
