"""The composed corpora: no voice speaks in two sessions, no dialogue is in the held-out tree and in another."""

import random
import sys
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from moodline.corpora import iemocap

pytestmark = pytest.mark.realdata
CORPORA = ("meld", "emorynlp", "topical-chat")
VOICES = 30


@pytest.fixture(scope="module")
def compose(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("compose")


@pytest.mark.parametrize("seed", range(3))
def test_each_voice_speaks_in_one_session(compose: ModuleType, shared: Path, seed: int) -> None:
    sessions = compose.cast_voices(compose.read_voices(shared / "corpora"), random.Random(seed))
    assert [len(pairs) for pairs in sessions] == [compose.PAIRS] * compose.SESSIONS
    voices = [voice for pairs in sessions for pair in pairs for voice in pair]
    assert len({voice.name for voice in voices}) == len(voices) == VOICES
    assert all(woman.is_woman and not man.is_woman for pairs in sessions for woman, man in pairs)
    takes = Counter(path for voice in voices for paths in voice.takes.values() for path in paths)
    assert set(takes.values()) == {1}
    assert all({"ang", "hap", "sad", "neu"} <= voice.takes.keys() for voice in voices)


def test_no_dialogue_of_the_held_out_tree_is_in_another(compose: ModuleType, shared: Path) -> None:
    def list_words(tree: str) -> Counter[str]:
        dialogues = compose.select_dialogues(tree, shared / "corpora")
        return Counter(" ".join(turn.words for turn in dialogue) for dialogue in dialogues)

    held_out = list_words(compose.HELD_OUT_TREE)
    assert held_out.total() == compose.HELD_OUT * len(CORPORA)
    for tree in CORPORA:
        found = list_words(tree)
        assert found.total() >= compose.DIALOGUES[tree] or tree == "emorynlp"  # which has fewer
        assert not held_out.keys() & found.keys()


@pytest.mark.parametrize("tree", ["inertia", "held-out-inertia"])
def test_emotions_of_a_chain_last(compose: ModuleType, shared: Path, tree: str) -> None:
    dialogues = compose.select_dialogues(tree, shared / "corpora")
    assert all(compose.FEWEST_TURNS <= len(dialogue) <= compose.MOST_TURNS for dialogue in dialogues)
    words = Counter((turn.label, turn.words) for dialogue in dialogues for turn in dialogue)
    assert set(words.values()) == {1}
    kept = total = 0
    for dialogue in dialogues:
        for side in (0, 1):
            labels = [turn.label for turn in dialogue if turn.side == side]
            kept += sum(one == other for one, other in pairwise(labels))
            total += len(labels) - 1
    # Kept by the chain, or drawn again: the main emotion or any with its share, which is between the smallest share and
    # 1. Five standard deviations of a binomial of the fewest kept.
    assert kept / total > compose.KEEP - 5 * (compose.KEEP * (1 - compose.KEEP) / total) ** 0.5
    assert kept < total


def test_a_tree_is_read_as_iemocap(
    compose: ModuleType, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(compose.DIALOGUES, "meld", 10)
    monkeypatch.setattr(
        sys, "argv", ["compose.py", "meld", str(tmp_path / "tree"), "--corpora", str(shared / "corpora")]
    )
    compose.main()
    corpus = iemocap.read(tmp_path / "tree")
    assert not corpus.faults
    assert not corpus.left_out
    assert Counter(one.session for one in corpus.conversations) == dict.fromkeys("12345", 2)
    for conversation in corpus.conversations:
        assert compose.FEWEST_TURNS <= len(conversation.utterances) <= compose.MOST_TURNS
        assert len(conversation.speakers) == 2
        for utterance in conversation.utterances:
            assert utterance.audio is not None
            assert utterance.audio.duration == pytest.approx((utterance.end or 0) - (utterance.start or 0), abs=1e-3)
    assert not list(tmp_path.glob("*.partial"))
