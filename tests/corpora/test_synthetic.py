"""The demo corpus: IEMOCAP's layout, ten voices, and emotion that neither words nor voice show alone."""

import hashlib
import itertools
import json
import os
import random
import re
import signal
import threading
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

from moodline.corpora.synthetic import (
    CAST,
    DELIVERIES,
    MATERIAL,
    MOODS,
    ORIGIN_FILE,
    SCENES,
    SITUATIONS,
    Turn,
    draw_delivery,
    find_mood,
    generate,
    improvise,
    perform,
)
from moodline.corpora.tts import SAMPLE_RATE, Delivery, Synthesizer
from moodline.errors import MoodlineError
from tests.refusals import refuses

EVALUATION = re.compile(
    r"^\[(\d+\.\d{4}) - (\d+\.\d{4})\]\t(\S+)\t([a-z]{3})\t\[([1-5]\.\d{4}), ([1-5]\.\d{4}), ([1-5]\.\d{4})\]$", re.M
)
TRANSCRIPTION = re.compile(r"^(\S+) \[(\d{3}\.\d{4})-(\d{3}\.\d{4})\]: (\S.*)$", re.M)
NAME = re.compile(r"^Ses0([1-5])[FM]_(impro\d\d|script\d\d_\d)$")
TURN = re.compile(r"^(Ses0[1-5][FM]_(?:impro\d\d|script\d\d_\d))_([FM])(\d{3})$")
FOUR = {"ang": 0, "hap": 1, "exc": 1, "sad": 2, "neu": 3}


def digests(tree: Path) -> dict[str, str]:
    return {
        path.relative_to(tree).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in tree.glob("Session*/**/*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "tree"
    generate(out, conversations_per_session=2, seed=3)
    return out


@pytest.fixture(scope="module")
def dialogues() -> list[list[Turn]]:
    """Five thousand turns, without their sound."""
    rng = random.Random(0)
    improvised = [improvise(situation, rng) for _ in range(12) for situation in SITUATIONS]
    performed = [perform(lines, rng) for _ in range(32) for _, lines in SCENES]
    return improvised + performed


class TestTree:
    def test_one_seed_gives_one_tree_and_more_conversations_leave_the_first_as_they_are(
        self, tree: Path, tmp_path: Path
    ) -> None:
        generate(tmp_path / "first", conversations_per_session=1, seed=3)
        generate(tmp_path / "other", conversations_per_session=1, seed=4)
        whole, first, other = digests(tree), digests(tmp_path / "first"), digests(tmp_path / "other")
        assert first.items() <= whole.items()
        assert not set(first.values()) & set(other.values())

    def test_texts_are_those_of_every_earlier_version(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With speech of a fixed length, as espeak's own differs between its versions and with it the turns' times."""
        monkeypatch.setattr(Synthesizer, "speak", lambda *_: np.zeros(SAMPLE_RATE, dtype=np.int16))
        generate(tmp_path / "tree", conversations_per_session=2, seed=0)
        texts = {name: digest for name, digest in digests(tmp_path / "tree").items() if name.endswith(".txt")}
        assert len(texts) == 20
        whole = "".join(f"{name} {digest}\n" for name, digest in sorted(texts.items()))
        assert (
            hashlib.sha256(whole.encode()).hexdigest()
            == "1414682dc23870eb688c0368251f2f046b572792c3bcca8028fac7792075ed1f"
        )

    def test_folders_and_names_are_iemocaps(self, tree: Path) -> None:
        assert sorted(path.name for path in tree.iterdir()) == [*(f"Session{n}" for n in range(1, 6)), ORIGIN_FILE]
        for session in tree.glob("Session*"):
            evaluations = sorted(path.stem for path in (session / "dialog/EmoEvaluation").iterdir())
            assert evaluations == sorted(path.stem for path in (session / "dialog/transcriptions").iterdir())
            assert evaluations == sorted(path.name for path in (session / "sentences/wav").iterdir())
            matches = [NAME.match(name) for name in evaluations]
            assert all(match and match[1] == session.name[-1] for match in matches)
            assert {match[2][:5] for match in matches if match} == {"impro", "scrip"}

    def test_evaluations_transcriptions_and_recordings_agree(self, tree: Path) -> None:
        for evaluation in tree.glob("Session*/dialog/EmoEvaluation/*.txt"):
            session = evaluation.parents[2]
            text = evaluation.read_text()
            turns = EVALUATION.findall(text)
            words = TRANSCRIPTION.findall((session / "dialog/transcriptions" / evaluation.name).read_text())
            assert 10 <= len(turns) <= 16
            assert len(turns) == text.count("\n[") == text.count("C-E2:") == text.count("A-E4:")
            assert [(turn, float(start), float(end)) for start, end, turn, *_ in turns] == [
                (turn, float(start), float(end)) for turn, start, end, _ in words
            ]
            last, counts = 0.0, Counter()
            for start, end, turn, *_ in turns:
                conversation, role, number = TURN.match(turn).groups()  # pyright: ignore[reportOptionalMemberAccess]
                assert conversation == evaluation.stem
                assert int(number) == counts[role]
                counts[role] += 1
                recording = soundfile.info(session / "sentences/wav" / conversation / f"{turn}.wav")
                assert (recording.samplerate, recording.channels, recording.subtype) == (16_000, 1, "PCM_16")
                assert last < float(start)
                assert float(end) - float(start) == pytest.approx(recording.duration, abs=2e-4)
                last = float(end)

    def test_every_session_has_the_four_classes(self, tree: Path) -> None:
        for session in tree.glob("Session*"):
            labels = {
                label
                for path in (session / "dialog/EmoEvaluation").iterdir()
                for *_, label, _, _, _ in EVALUATION.findall(path.read_text())
            }
            assert {FOUR[label] for label in labels if label in FOUR} == {0, 1, 2, 3}

    def test_sessions_share_scripts_but_not_their_improvised_conversations(self, tree: Path) -> None:
        said = {
            path.stem: {words for *_, words in TRANSCRIPTION.findall(path.read_text())}
            for path in tree.glob("Session*/dialog/transcriptions/*impro*.txt")
        }
        assert len(said) == 5
        for one, other in itertools.combinations(said, 2):
            assert len(said[one] & said[other]) < len(said[one]) / 2

    def test_a_folder_that_exists_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("mine")
        with refuses("file.other_folder", tmp_path):
            generate(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

    @pytest.mark.parametrize("number", [0, -1, 10_000])
    def test_a_number_of_conversations_without_names_for_them_is_refused(self, tmp_path: Path, number: int) -> None:
        with refuses("option.out_of_range", number):
            generate(tmp_path / "tree", conversations_per_session=number)

    def test_a_failure_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        written = itertools.count()

        def fail_late(self: Synthesizer, words: str, *_: object) -> np.ndarray:
            if next(written) == 5:
                raise KeyboardInterrupt
            return np.ones(SAMPLE_RATE, dtype=np.int16)

        monkeypatch.setattr(Synthesizer, "speak", fail_late)
        with pytest.raises(KeyboardInterrupt):
            generate(tmp_path / "tree", conversations_per_session=1)
        assert not list(tmp_path.iterdir())


def pitches(samples: np.ndarray) -> np.ndarray:
    """Of the voiced frames of 50 ms, in semitones re 1 Hz, by autocorrelation: (F,)."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(float), 800)[::160] * np.hanning(800)  # (F, 800)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2048)) ** 2)[:, :320]  # (F, 320)
    shortest = SAMPLE_RATE // 500
    lags = shortest + correlation[:, shortest:].argmax(axis=1)
    voiced = correlation[np.arange(len(lags)), lags] > 0.5 * correlation[:, 0]
    loud = correlation[:, 0] > 0.05 * correlation[:, 0].max()
    return 12 * np.log2(SAMPLE_RATE / lags[voiced & loud])


def pitch_span(samples: np.ndarray) -> float:
    low, high = np.percentile(pitches(samples), [10, 90])
    return float(high - low)


def mean_spectrum(samples: np.ndarray) -> np.ndarray:
    """The long-term spectrum in 32 bands of 250 Hz, in dB about its mean: (32,)."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(float), 512)[::256] * np.hanning(512)  # (F, 512)
    power = (np.abs(np.fft.rfft(frames)) ** 2).mean(axis=0)[1:]  # (256,)
    bands = 10 * np.log10(power.reshape(32, 8).sum(axis=1))
    return bands - bands.mean()


def level(samples: np.ndarray) -> float:
    return 10 * np.log10(np.mean(samples.astype(float) ** 2))


class TestVoices:
    PEOPLE = tuple(speaker for cast in CAST for speaker in cast.values())
    ONE = "I saw the letter this morning, and I did not know what to say to anybody."
    OTHER = "We could ask our neighbours about the garden, since they were here all summer."

    def test_ten_people_a_woman_and_a_man_a_session(self) -> None:
        assert [set(cast) for cast in CAST] == [{"F", "M"}] * 5
        assert len({speaker.name for speaker in self.PEOPLE}) == 10

    def test_a_voice_is_recognised_among_ten_by_other_words(self) -> None:
        def traits(samples: np.ndarray) -> np.ndarray:
            return np.append(mean_spectrum(samples) / 4, np.median(pitches(samples)))

        with Synthesizer() as synthesizer:
            known = np.stack([traits(synthesizer.speak(self.ONE, speaker, Delivery())) for speaker in self.PEOPLE])
            later = np.stack([traits(synthesizer.speak(self.OTHER, speaker, Delivery())) for speaker in self.PEOPLE])
        distances = np.linalg.norm(later[:, None] - known[None], axis=2)  # (10, 10)
        assert distances.argmin(axis=1).tolist() == list(range(10))

    def test_what_was_said_before_changes_nothing(self) -> None:
        """So that a conversation does not depend on those made before it."""
        speaker, stranger = self.PEOPLE[4], self.PEOPLE[7]
        with Synthesizer() as synthesizer:
            first = synthesizer.speak(self.ONE, speaker, Delivery())
            for words in ("No!", "Nothing much, how about you?", self.OTHER):
                synthesizer.speak(words, stranger, Delivery(rate=1.3, pitch=5, range=1.9, loudness=9, pause=0.05))
                np.testing.assert_array_equal(synthesizer.speak(self.ONE, speaker, Delivery()), first)

    def test_what_is_raised_while_espeak_speaks_is_not_lost(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> np.ndarray:
            raise MemoryError

        with Synthesizer() as synthesizer:
            monkeypatch.setattr(np.ctypeslib, "as_array", fail)
            with pytest.raises(MemoryError):
                synthesizer.speak(self.ONE, self.PEOPLE[0], Delivery())

    def test_an_interruption_while_espeak_speaks_is_not_lost(self) -> None:
        """From another thread, as the callback may be entered only after it."""
        words = " ".join([self.ONE] * 100)
        interruption = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))

        def speak_until_interrupted(synthesizer: Synthesizer) -> None:
            interruption.start()
            while interruption.is_alive():
                synthesizer.speak(words, self.PEOPLE[0], Delivery())

        # What a shell starts in the background inherits that interruptions are ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with Synthesizer() as synthesizer, pytest.raises(KeyboardInterrupt):
                speak_until_interrupted(synthesizer)
        finally:
            signal.signal(signal.SIGINT, before)

    def test_a_delivery_does_what_it_says(self) -> None:
        speaker = self.PEOPLE[0]
        with Synthesizer() as synthesizer:

            def say(**delivery: float) -> np.ndarray:
                return synthesizer.speak(self.ONE, speaker, Delivery(**delivery))

            usual = say()
            assert len(usual) / len(say(rate=1.3)) == pytest.approx(1.3, rel=0.1)
            for semitones in (-3, 4):
                moved = np.median(pitches(say(pitch=semitones))) - np.median(pitches(usual))
                assert moved == pytest.approx(semitones, abs=0.5)
            assert pitch_span(say(range=1.8)) > 1.4 * pitch_span(usual) > 2 * pitch_span(say(range=0.4))
            assert level(say(loudness=6)) - level(usual) == pytest.approx(6, abs=0.2)
            assert mean_spectrum(say(loudness=6))[16:].mean() > mean_spectrum(usual)[16:].mean() + 1  # brighter
            gaps = self.ONE.count(" ")
            assert (len(say(pause=0.06)) - len(usual)) / SAMPLE_RATE == pytest.approx(0.06 * gaps, rel=0.5)

    def test_data_under_a_path_too_long_for_the_library_is_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import espeakng_loader

        far = tmp_path / ("d" * 120) / ("e" * 60) / "espeak-ng-data"
        far.parent.mkdir(parents=True)
        far.symlink_to(espeakng_loader.get_data_path(), target_is_directory=True)
        with Synthesizer() as synthesizer:
            near_voice = synthesizer.speak(self.ONE, self.PEOPLE[1], Delivery())
        monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(far))
        with Synthesizer() as synthesizer:
            np.testing.assert_array_equal(synthesizer.speak(self.ONE, self.PEOPLE[1], Delivery()), near_voice)

    def test_data_that_is_missing_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import espeakng_loader

        monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(tmp_path / "nowhere"))
        with pytest.raises(MoodlineError, match="nowhere"), Synthesizer():
            pass


class TestMaterial:
    def test_no_template_leaves_a_brace_or_a_slot_open(self, dialogues: list[list[Turn]]) -> None:
        for turn in itertools.chain.from_iterable(dialogues):
            assert re.fullmatch(r"[A-Z][A-Za-z,.?! '-]*[.?!]", turn.words), turn.words

    def test_every_template_is_well_formed(self) -> None:
        templates = [
            *MATERIAL["any_mood"],
            *itertools.chain.from_iterable([*mood["lines"], *mood["exclamations"]] for mood in MOODS.values()),
            *(words for _, lines in SCENES for line in lines for words in line.values()),
            *itertools.chain.from_iterable(
                [*situation["opening"], *situation["facts"], *itertools.chain(*situation["lines"].values())]
                for situation in SITUATIONS
            ),
        ]
        assert len(templates) > 400
        for template in templates:
            without_slots = re.sub(rf"<({'|'.join(MATERIAL['slots'])})>", "", template)
            assert not re.search(r"[<>(){}|]", re.sub(r"\([^()|]*(\|[^()|]*)+\)", "", without_slots)), template

    def test_every_table_knows_the_same_labels_and_moods(self) -> None:
        labels = {label for mood in MOODS.values() for label in mood["labels"]}
        assert labels == set(DELIVERIES) == set(MATERIAL["ratings"]) == {*FOUR, "fru", "sur"}
        assert {cue.split()[1] for _, lines in SCENES for line in lines for cue in line} <= labels
        for table in [*(mood["answers"] for mood in MOODS.values()), *(situation["moods"] for situation in SITUATIONS)]:
            assert set(table) == set(MOODS)
        assert {label: find_mood(label) for label in labels} == {mood: mood for mood in MOODS} | {
            "fru": "ang", "exc": "hap", "sur": "hap"
        }  # fmt: skip

    def test_five_thousand_turns_are_those_of_every_earlier_version(self, dialogues: list[list[Turn]]) -> None:
        digest = hashlib.sha256(json.dumps(dialogues).encode()).hexdigest()
        assert digest == "52bcc247ab6a8101b6fba77390fd9169018a9692439a50087aa8da501fa071fb"

    def test_labels_are_iemocaps_and_mostly_of_the_four_classes(self, dialogues: list[list[Turn]]) -> None:
        counts = Counter(turn.label for turn in itertools.chain.from_iterable(dialogues))
        assert set(counts) == {*FOUR, "fru", "sur", "xxx"}
        four = Counter(FOUR[label] for label in counts.elements() if label in FOUR)
        assert 0.8 < four.total() / counts.total() < 0.95
        assert min(four.values()) > 0.15 * four.total()


class TestEmotion:
    """On the four classes, from the generator's own values; a model also has to extract them from sound and text."""

    def test_words_alone_do_not_suffice(self, dialogues: list[list[Turn]]) -> None:
        """The best guess from a turn's exact words, made with the answers at hand, is far from right."""
        labels = defaultdict(Counter)
        for turn in itertools.chain.from_iterable(dialogues):
            if turn.label in FOUR:
                labels[turn.words][FOUR[turn.label]] += 1
        often = [counts for counts in labels.values() if counts.total() >= 10]
        right = sum(max(counts.values()) for counts in often) / sum(counts.total() for counts in often)
        assert 0.5 < right < 0.85

    def test_the_voice_alone_does_not_suffice(self) -> None:
        """A quadratic discriminant knows the delivery exactly, the speaker's own manner out of the way."""
        rng = random.Random(0)
        labels = [rng.choice(sorted(FOUR)) for _ in range(3000)]
        deliveries = [draw_delivery(label, rng) for label in labels]
        features = np.array([[d.rate, d.pitch, d.range, d.loudness] for d in deliveries])
        classes = np.array([FOUR[label] for label in labels])
        discriminant = QuadraticDiscriminantAnalysis().fit(features[:2000], classes[:2000])
        guessed = discriminant.predict(features[2000:])
        recalls = [np.mean(guessed[classes[2000:] == emotion] == emotion) for emotion in range(4)]
        assert 0.55 < np.mean(recalls) < 0.85

    def test_a_mood_lasts_and_is_answered(self, dialogues: list[list[Turn]]) -> None:
        """Given a speaker's last turn, and the partner's, the same emotion is likelier than by chance."""
        for distance in (1, 2):
            pairs = [
                (FOUR[earlier.label], FOUR[later.label])
                for turns in dialogues
                for earlier, later in zip(turns, turns[distance:], strict=False)
                if earlier.label in FOUR and later.label in FOUR
            ]
            shares = Counter(later for _, later in pairs)
            chance = sum((count / len(pairs)) ** 2 for count in shares.values())
            assert sum(earlier == later for earlier, later in pairs) / len(pairs) > chance + 0.1
