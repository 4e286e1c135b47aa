"""What a model saw of a corpus: the work grows with the corpus, not with its square."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from moodline.conversation import Conversation, Utterance, find_training_overlap
from moodline.corpora.protocols import balance_parts
from moodline.timeline import Timeline
from moodline.timeline.writers import to_textgrid
from tests.inference.timeline.talks import talk


class Counted(Sequence[str]):
    """Texts that count how often one of them is read."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts, self.read = texts, 0

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, place):
        self.read += 1
        return self.texts[place]


class CountedTurns(tuple[Utterance, ...]):
    """Turns that count how often one of them is read."""

    read = 0

    def __iter__(self):
        for turn in super().__iter__():
            CountedTurns.read += 1
            yield turn


@dataclass(frozen=True)
class Sight:
    trained_on: Sequence[str]
    selected_on: Sequence[str]
    selected_on_turns: Sequence[str] = ()


def turn(number: int, speaker: str = "") -> Utterance:
    return Utterance(id=f"turn{number}", speaker=speaker or f"speaker{number}", words=f"Turn {number}.", start=number)


def one_turn_conversations(count: int, start: int = 0) -> list[Conversation]:
    return [Conversation(id=f"talk{number}", utterances=(turn(number),)) for number in range(start, start + count)]


def test_each_fingerprint_is_read_once_however_many_conversations_are_scored() -> None:
    seen = [one.fingerprint for one in one_turn_conversations(100)]
    sight = Sight(Counted(seen), Counted(seen), Counted(seen))
    scored = one_turn_conversations(100, start=100)
    assert list(find_training_overlap(sight, scored, None)) == []
    for fingerprints in (sight.trained_on, sight.selected_on, sight.selected_on_turns):
        assert isinstance(fingerprints, Counted)
        assert fingerprints.read <= len(seen) + 1  # the last read finds the end


@pytest.mark.parametrize("speaker", [None, "speaker0"])
def test_turns_are_read_a_bounded_number_of_times_however_many_people_speak(speaker: str | None) -> None:
    def reads_a_turn(count: int) -> float:
        turns = CountedTurns(turn(number) for number in range(count))
        conversation = Conversation(id="crowd", utterances=turns)
        CountedTurns.read = 0
        assert not list(find_training_overlap(Sight((), (), ("other",)), [conversation], speaker))
        return CountedTurns.read / count

    assert reads_a_turn(100) == reads_a_turn(10)


def test_parts_of_a_corpus_count_each_conversation_once() -> None:
    class CountedConversation(Conversation):
        counted = 0

        def __getattribute__(self, name: str):
            if name == "utterances":
                CountedConversation.counted += 1
            return super().__getattribute__(name)

    def reads_a_conversation(count: int) -> float:
        groups = [[CountedConversation(id=one.id, utterances=one.utterances)] for one in one_turn_conversations(count)]
        CountedConversation.counted = 0
        parts = balance_parts(groups, 5)
        assert sorted(map(len, parts)) == [count // 5] * 5
        return CountedConversation.counted / count

    assert reads_a_conversation(100) == reads_a_conversation(10)


@pytest.mark.parametrize("output", ["to_html", "to_textgrid"])
def test_a_timelines_speakers_are_found_once_for_all_its_turns(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    speakers = Timeline.speakers
    assert isinstance(speakers, property)
    monkeypatch.setattr(Timeline, "speakers", property(lambda one: read.append(1) or speakers.fget(one)))  # type: ignore[misc]

    def reads(count: int) -> tuple[int, float]:
        short = talk(reasons=False)
        turns = CountedTurns(
            replace(short.turns[0], start=float(n), end=n + 0.5, speaker=f"S{n}") for n in range(count)
        )
        timeline = replace(short, turns=turns, duration=float(count), gaps=())
        monkeypatch.setattr("moodline.timeline.html.round_to_milliseconds", lambda one: one)
        monkeypatch.setattr("moodline.timeline.writers.round_to_milliseconds", lambda one: one)
        read.clear()
        CountedTurns.read = 0
        timeline.to_html() if output == "to_html" else to_textgrid(timeline)
        return len(read), CountedTurns.read / count

    (few, few_each), (many, many_each) = reads(10), reads(60)
    assert many == few
    assert many_each <= few_each
