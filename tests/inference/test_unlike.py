"""A recording that is unlike its model's training is warned of in that, and in nothing else."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from moodline.audio.recording import Recording
from moodline.config import AudioUtteranceConfig, Recipe
from moodline.conversation import IEMOCAP4, AudioClip, Conversation, Segment, Utterance
from moodline.inference.domain_shift import (
    NORMALISATION_NOTE,
    TOLERANCES,
    compute_statistics,
    compute_training_statistics,
    find_domain_shift,
    is_beyond,
    measure_quality,
)
from moodline.inference.pipeline import Model, load
from moodline.inference.recordings import RecognitionOptions, recognise
from moodline.modeling.description import (
    BANDWIDTH,
    LOUDNESS,
    MEASURES,
    PIECES_PER_WORD,
    SIGNAL_TO_NOISE,
    UNKNOWN_PIECES,
    DataStatistics,
    ModelDescription,
    TrainingStatistics,
)
from moodline.modeling.pretrained_files import WHEEL_MINILM
from moodline.modeling.text_encoder import count_pieces, load_text_backbone
from moodline.timeline import Timeline
from moodline.transcripts.formats import write_transcript
from tests.inference.tiny_models import PROVENANCE, write_model

RATE = 16_000
RANGES = {
    BANDWIDTH: (7_000.0, 8_000.0),
    LOUDNESS: (-25.0, -15.0),
    SIGNAL_TO_NOISE: (20.0, 28.0),
    PIECES_PER_WORD: (1.05, 1.2),
    UNKNOWN_PIECES: (0.0, 0.01),
}
SAID = "i am so happy yes"  # what the tiny tokenizer has pieces for


def described(recipe: Recipe | None = None, ranges: dict[str, tuple[float, float]] | None = None) -> ModelDescription:
    conditions = TrainingStatistics(conversations=9, ranges=RANGES if ranges is None else ranges)
    return ModelDescription(recipe=recipe or Recipe(), label_set=IEMOCAP4, provenance=PROVENANCE, conditions=conditions)


def named(warnings: Sequence[str]) -> set[str]:
    """The measures that warnings are of."""
    return {measure for measure in MEASURES for warning in warnings if TOLERANCES[measure].finding in warning}


ANY_RANGE = st.tuples(st.floats(0.1, 9_000), st.floats(0.1, 9_000)).map(lambda two: (min(two), max(two)))


@given(st.dictionaries(st.sampled_from(MEASURES), ANY_RANGE), st.floats(0, 1))
def test_what_is_within_the_ranges_is_like_training(ranges: dict[str, tuple[float, float]], place: float) -> None:
    found = {measure: min(high, low + place * (high - low)) for measure, (low, high) in ranges.items()}
    assert find_domain_shift(found, described(ranges=ranges)) == ()


@given(st.fixed_dictionaries({measure: st.floats(0, 20_000) for measure in MEASURES}))
def test_each_measure_that_is_beyond_has_one_sentence(found: DataStatistics) -> None:
    beyond = {measure for measure in MEASURES if is_beyond(measure, found[measure], RANGES[measure])}
    warnings = find_domain_shift(found, described())
    assert len(warnings) == len(beyond)
    assert named(warnings) == beyond


@pytest.mark.parametrize("measure", MEASURES)
def test_what_could_not_be_measured_here_or_in_training_is_not_compared(measure: str) -> None:
    far = dict.fromkeys(MEASURES, 1e9)
    assert named(find_domain_shift({**far}, described(ranges={measure: RANGES[measure]}))) <= {measure}
    del far[measure]
    assert measure not in named(find_domain_shift(far, described()))


def test_an_older_model_says_nothing() -> None:
    assert find_domain_shift(dict.fromkeys(MEASURES, 1e9), replace(described(), conditions=None)) == ()


def test_a_sentence_has_the_value_the_range_and_the_reason() -> None:
    (warning,) = find_domain_shift({BANDWIDTH: 3_900.0}, described())
    assert "up to 3.9 kHz, in training 7.0 to 8.0 kHz: it lacks high frequencies" in warning
    (warning,) = find_domain_shift({PIECES_PER_WORD: 2.0}, described(), language="de")
    assert "2.00 pieces, in training 1.05 to 1.20 pieces" in warning
    assert "the language de" in warning


def test_a_range_of_one_number_is_that_number() -> None:
    (warning,) = find_domain_shift({BANDWIDTH: 3_900.0}, described(ranges={BANDWIDTH: (7_790.0, 7_810.0)}))
    assert "up to 3.9 kHz, in training 7.8 kHz: it lacks high frequencies" in warning


def test_of_loudness_a_model_that_evens_it_out_says_so() -> None:
    evening = Recipe(audio_utterance=AudioUtteranceConfig(waveform_normalisation=True))
    (plain,), (evened,) = (find_domain_shift({LOUDNESS: -60.0}, described(recipe)) for recipe in (Recipe(), evening))
    assert evened == plain + NORMALISATION_NOTE


def test_the_page_tells_the_tolerances_that_hold() -> None:
    page = (Path(__file__).parents[2] / "docs/recordings.md").read_text(encoding="utf-8")
    told = {
        BANDWIDTH: f"below {TOLERANCES[BANDWIDTH].least(1):g} times the lowest",
        LOUDNESS: f"by {TOLERANCES[LOUDNESS].most(0):g} dB, softer or louder",
        SIGNAL_TO_NOISE: f"by {-TOLERANCES[SIGNAL_TO_NOISE].least(0):g} dB, noisier alone",
        PIECES_PER_WORD: f"by {TOLERANCES[PIECES_PER_WORD].most(0):g}, more alone",
        UNKNOWN_PIECES: f"by {100 * TOLERANCES[UNKNOWN_PIECES].most(0):g} points, more alone",
    }
    assert [measure for measure in MEASURES if told[measure] not in page] == []
    assert TOLERANCES[LOUDNESS].least(0) == -TOLERANCES[LOUDNESS].most(0)
    assert TOLERANCES[BANDWIDTH].most(1) == 1 / TOLERANCES[BANDWIDTH].least(1)


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise (T,) whose power goes up and down by 40 dB, four times a second, as with syllables."""
    time = np.arange(round(seconds * RATE)) / RATE
    envelope = 10 ** ((-20 + 20 * np.sin(2 * np.pi * 4 * time)) / 20)
    return (0.2 * envelope * np.random.default_rng(seed).normal(0, 0.3, len(time))).astype(np.float32)


def white(like: np.ndarray) -> np.ndarray:
    return (like + np.random.default_rng(1).normal(0, np.sqrt(np.mean(like**2)), len(like))).astype(np.float32)


def telephone(sound: np.ndarray) -> np.ndarray:
    return soxr.resample(soxr.resample(sound, RATE, 8_000), 8_000, RATE)


ALTERED: dict[str, tuple[Callable[[np.ndarray], np.ndarray], set[str]]] = {
    "as it is": (lambda sound: sound, set()),
    "half as loud": (lambda sound: sound / 2, set()),
    "by telephone": (telephone, {BANDWIDTH}),
    "40 dB softer": (lambda sound: sound / 100, {LOUDNESS}),
    "in noise": (white, {SIGNAL_TO_NOISE}),
}


def conversations_in(folder: Path, clips: Sequence[np.ndarray], words: str) -> list[Conversation]:
    """Conversations of five turns, each turn a file of its own."""
    turns = []
    for number, clip in enumerate(clips):
        path = folder / f"{number}.wav"
        soundfile.write(path, clip, RATE, subtype="FLOAT")
        audio = AudioClip(path=path, duration=len(clip) / RATE, sample_rate=RATE)
        turns.append(Utterance(id=f"t{number}", speaker="ann", words=words, audio=audio))
    parts = [tuple(turns[first : first + 5]) for first in range(0, len(turns), 5)]
    return [Conversation(id=f"c{number}", utterances=part) for number, part in enumerate(parts)]


@pytest.fixture(scope="module")
def untold(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model with random weights that does not know how its training sounded."""
    return load(write_model(tmp_path_factory.mktemp("model"), "both"))


@pytest.fixture(scope="module")
def trained(untold: Model, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The same as if clips of ``speech`` had trained it."""
    clips = [speech(1 + seed / 40, seed) for seed in range(40)]
    conversations = conversations_in(tmp_path_factory.mktemp("clips"), clips, SAID)
    model = untold.model
    conditions = compute_training_statistics(conversations, model.recipe, model.tokenizer)
    assert set(conditions.ranges) == set(MEASURES)
    return Model(replace(model, conditions=conditions), name="told")


def timeline(predictor: Model, sound: np.ndarray, place: Path, words: str, **how: object) -> Timeline:
    """Of a recording whose turns, of 1.5 s, fill all but half a second between them."""
    starts = np.arange(0.25, len(sound) / RATE - 2, 2)
    write_transcript(place / "t.srt", [Segment(start=start, end=start + 1.5, words=words) for start in starts.tolist()])
    options = RecognitionOptions(transcript=place / "t.srt", **how)  # type: ignore[arg-type]
    return recognise(predictor, Recording.from_samples(sound, RATE), options)


@pytest.mark.parametrize("how", list(ALTERED))
def test_a_recording_that_is_altered_is_warned_of_by_that_alone(trained: Model, tmp_path: Path, how: str) -> None:
    alter, expected = ALTERED[how]
    found = timeline(trained, alter(speech(20)), tmp_path, SAID)
    assert named(found.warnings) == expected
    assert len(found.warnings) == len(expected)


def test_speech_at_a_telephones_rate_is_warned_of(trained: Model, tmp_path: Path) -> None:
    slow = soxr.resample(speech(20), RATE, 8_000)
    write_transcript(
        tmp_path / "t.srt",
        [Segment(start=1, end=4, words=SAID), Segment(start=5, end=9, words=f"{SAID} {SAID} {SAID}")],
    )
    found = recognise(trained, Recording.from_samples(slow, 8_000), RecognitionOptions(transcript=tmp_path / "t.srt"))
    assert named(found.warnings) == {BANDWIDTH}


def test_a_model_of_telephone_calls_has_never_heard_more(untold: Model, tmp_path: Path) -> None:
    clips = [telephone(speech(1.5)) for _ in range(10)]
    model = untold.model
    conditions = compute_training_statistics(conversations_in(tmp_path, clips, SAID), model.recipe, model.tokenizer)
    by_telephone = Model(replace(model, conditions=conditions))
    assert named(timeline(by_telephone, speech(20), tmp_path, SAID).warnings) == {BANDWIDTH}
    assert timeline(by_telephone, telephone(speech(20)), tmp_path, SAID).warnings == ()


def test_words_that_the_encoder_does_not_know_are_warned_of_where_they_are_read(trained: Model, tmp_path: Path) -> None:
    sound = speech(20)
    unknown = timeline(trained, sound, tmp_path, "nigdy tego nie mówiłam")
    assert named(unknown.warnings) == {UNKNOWN_PIECES}
    assert timeline(trained, sound, tmp_path, "nigdy tego nie mówiłam", modalities="audio").warnings == ()
    assert named(timeline(trained, white(sound), tmp_path, "nigdy", modalities="text").warnings) == set()  # too few
    assert named(timeline(trained, white(sound), tmp_path, "nigdy tego", modalities="text").warnings) == {
        UNKNOWN_PIECES
    }


def test_all_outputs_that_say_something_show_it(trained: Model, untold: Model, tmp_path: Path) -> None:
    sound = telephone(speech(20))
    found = timeline(trained, sound, tmp_path, SAID)
    (warning,) = found.warnings
    assert warning in found.notices
    assert warning in Timeline.from_json(found.to_json()).warnings
    assert warning.split(":")[1] in found.to_html()
    assert timeline(untold, sound, tmp_path, SAID).warnings == ()


def test_long_recordings_are_measured_in_a_part_of_their_turns(
    trained: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    monkeypatch.setattr(
        "moodline.inference.domain_shift.measure_quality", lambda waveform, rate: measured.append(len(waveform)) or {}
    )
    monkeypatch.setattr("moodline.inference.recordings.MAX_MEASURED_TURNS", 4)
    timeline(trained, speech(40), tmp_path, SAID)
    assert len(measured) == 4


@pytest.mark.realdata
@pytest.mark.parametrize("how", list(ALTERED))
def test_real_voices_are_warned_of_by_what_was_done_to_them_alone(shared: Path, tmp_path: Path, how: str) -> None:
    """RAVDESS's first three actors train, the fourth is heard."""
    files = sorted((shared / "corpora/ravdess").rglob("*.flac"))
    clips = {path: soundfile.read(path, dtype="float32")[0] for path in files}
    others = [clip for path, clip in clips.items() if path.stem[-2:] != "04"]
    fourth = [clip for path, clip in clips.items() if path.stem[-2:] == "04"]
    conversations = conversations_in(tmp_path, others, "")
    recipe = Recipe(modalities="audio")
    alter, expected = ALTERED[how]
    statistics = compute_statistics(measure_quality(alter(clip), RATE) for clip in fourth[::4])
    model = replace(described(recipe), conditions=compute_training_statistics(conversations, recipe, None))
    assert named(find_domain_shift(statistics, model)) == expected


@pytest.mark.realdata
def test_real_words_are_warned_of_in_another_language_alone(shared: Path) -> None:
    """MELD's sentences, of which one half trains; and nEMO's Polish ones."""
    import csv

    with (shared / "corpora/meld/train_sent_emo.csv").open(encoding="utf-8") as file:
        english = [row["Utterance"] for row in csv.DictReader(file)]
    with (shared / "corpora/nemo/data.tsv").open(encoding="utf-8") as file:
        polish = sorted({row["text"] for row in csv.DictReader(file, delimiter="\t")})
    tokenizer, recipe = load_text_backbone(WHEEL_MINILM, 64)[1], Recipe(modalities="text")
    talks = [
        Conversation(id=str(first), utterances=tuple(Utterance(id=str(n), speaker="a", words=text) for n, text in part))
        for first in range(0, 4_000, 10)
        for part in [list(enumerate(english[first : first + 10]))]
    ]
    model = replace(described(recipe), conditions=compute_training_statistics(talks[::2], recipe, tokenizer))

    def warned(texts: Sequence[str]) -> set[str]:
        return named(find_domain_shift(compute_statistics(counts=count_pieces(texts, tokenizer)), model))

    wrong = [talk for talk in talks[1::2] if warned([turn.words for turn in talk.utterances])]
    assert len(wrong) <= len(talks) / 2 / 50  # 2 %
    assert {frozenset(warned(polish[first : first + 5])) for first in range(0, len(polish) - 5, 5)} == {
        frozenset({PIECES_PER_WORD})
    }
