"""Batches by seconds and tokens: their size, their results, and what happens where memory is too small for them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

import moodline
from moodline.audio.io import inspect_file
from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE, AudioUtteranceConfig, Recipe
from moodline.conversation import AudioClip, Conversation, Utterance
from moodline.errors import MoodlineError
from moodline.inference.embed import write_model_embeddings
from moodline.inference.encode import ENCODER_BATCH, TOKENS_PER_SECOND, UtteranceEncoder, list_turns
from moodline.inference.pipeline import Model
from moodline.modeling.batching import Encoding
from moodline.modeling.text_encoder import load_text_backbone
from tests.inference.tiny_models import write_model
from tests.rounding import rounding
from tests.system import SAME_PROBABILITY
from tests.tiny import tiny_bert

RATE = 16_000
RECIPE = Recipe(audio_utterance=AudioUtteranceConfig(batch_seconds=4.0))
DURATIONS = [0.25 * (1 + number % 7) for number in range(40)]


class Recorder(nn.Module):
    """Encodes ids or samples as their sum, and remembers the batches it read; more numbers exceed its memory."""

    def __init__(self, memory: float = float("inf")) -> None:
        super().__init__()
        self.anything = nn.Parameter(torch.zeros(()))
        self.memory = memory
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, values: Tensor, lengths: Tensor) -> Encoding:
        if values.numel() > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has little.")
        self.shapes.append(tuple(values.shape))
        sums = values.sum(dim=1, keepdim=True).float()
        return Encoding(sums, sums)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("batch_seconds")


@pytest.fixture(scope="module")
def spoken(place: Path) -> list[Utterance]:
    """Utterances of constant sound, so that the sum of an utterance is its duration."""
    path = place / "speech.wav"
    soundfile.write(path, np.full(2 * RATE, 0.5), RATE, subtype="FLOAT")
    clips = [AudioClip(path=path, duration=duration, sample_rate=RATE) for duration in DURATIONS]
    return [Utterance(id=f"u{number}", speaker="F", words="", audio=clip) for number, clip in enumerate(clips)]


def encode_speech(part: nn.Module, utterances: list[Utterance], batch_seconds: float | None) -> np.ndarray:
    """The durations that ``Recorder`` reads."""
    found = UtteranceEncoder(AUDIO_UTTERANCE, part, RECIPE, batch_seconds=batch_seconds).encode(
        list_turns(utterances, RECIPE)
    )
    return found.embeddings[:, 0].numpy() / (0.5 * RATE)


@pytest.mark.parametrize("batch_seconds", [1.0, 10.0, 30.0, 1e6])
def test_batches_of_speech_are_as_large_as_the_seconds_allow(spoken: list[Utterance], batch_seconds: float) -> None:
    part = Recorder()
    found = encode_speech(part, spoken, batch_seconds)
    np.testing.assert_allclose(found, DURATIONS, rtol=rounding(2 * RATE))
    padded = [rows * size / RATE for rows, size in part.shapes]
    assert all(total <= batch_seconds or rows == 1 for total, (rows, _) in zip(padded, part.shapes, strict=True))
    # Durations are sorted, so that one more utterance would have exceeded the limit.
    for (rows, size), (_, following) in zip(part.shapes, part.shapes[1:], strict=False):
        assert (rows + 1) * max(size, following) / RATE > batch_seconds
    if batch_seconds >= 30:
        assert max(rows for rows, _ in part.shapes) > ENCODER_BATCH


def test_without_seconds_batches_are_those_of_the_recipe(spoken: list[Utterance]) -> None:
    part = Recorder()
    encode_speech(part, spoken, None)
    limit = RECIPE.audio_utterance.batch_seconds
    assert all(rows <= ENCODER_BATCH and (rows == 1 or rows * size <= limit * RATE) for rows, size in part.shapes)


def test_batches_of_words_are_limited_in_padded_tokens(place: Path) -> None:
    _, tokenizer = load_text_backbone(str(tiny_bert(place / "bert")), 512)
    sizes = np.random.default_rng(0).integers(1, 20, size=60)
    turns = [
        Utterance(id=str(number), speaker="F", words=" ".join(["happy"] * size)) for number, size in enumerate(sizes)
    ]
    seconds, part = 2.0, Recorder()
    found = (
        UtteranceEncoder(TEXT_UTTERANCE, part, RECIPE, tokenizer, batch_seconds=seconds)
        .encode(list_turns(turns, RECIPE))
        .embeddings[:, 0]
    )
    expected = [float(ids.sum()) for ids in tokenizer([one.words for one in turns])]
    assert found.tolist() == expected
    assert all(rows * size <= seconds * TOKENS_PER_SECOND for rows, size in part.shapes)
    assert len(part.shapes) < len(turns) / 2


def test_a_batch_that_exceeds_memory_is_halved_once(spoken: list[Utterance]) -> None:
    whole, halves = Recorder(), Recorder(memory=6 * RATE)
    expected = encode_speech(whole, spoken, 10.0)
    found = encode_speech(halves, spoken, 10.0)
    np.testing.assert_array_equal(found, expected)
    assert max(rows * size for rows, size in halves.shapes) <= 6 * RATE
    assert len(whole.shapes) < len(halves.shapes) <= 2 * len(whole.shapes)


@pytest.mark.parametrize("number", [1, 40])
def test_a_half_that_exceeds_memory_is_one_sentence(spoken: list[Utterance], number: int) -> None:
    with pytest.raises(MoodlineError) as refused:
        encode_speech(Recorder(memory=RATE / 8), spoken[:number], 10.0)
    assert refused.value.code == "device.out_of_memory"
    for part in ("cpu", "2.00 GiB", "--batch-seconds"):
        assert part in str(refused.value)


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_seconds_that_hold_nothing_are_refused(place: Path, seconds: float) -> None:
    with pytest.raises(MoodlineError) as refused:
        moodline.load(place, batch_seconds=seconds)
    assert refused.value.code == "option.out_of_range"


@pytest.fixture(scope="module")
def model(place: Path) -> Path:
    return write_model(place / "plain", "both")


@pytest.fixture(scope="module")
def talks(place: Path) -> list[Conversation]:
    """Conversations of unlike turns, one of them without any."""
    generator, talks = np.random.default_rng(0), []
    for number, turns in enumerate([3, 1, 0, 4, 2]):
        utterances = []
        for turn in range(turns):
            file = place / f"{number}-{turn}.wav"
            soundfile.write(file, generator.normal(0, 0.1, RATE // 2 + 2_000 * (number + turn)), RATE)
            words = " ".join(generator.choice(["i", "am", "happy", "not", "sad", "no"], size=2 + turn))
            audio = inspect_file(file)
            utterances.append(Utterance(id=f"{number}-{turn}", speaker="FM"[turn % 2], words=words, audio=audio))
        talks.append(Conversation(id=str(number), utterances=tuple(utterances)))
    return talks


def count_batches(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the sizes of the batches of words that a model reads."""
    sizes: list[int] = []
    encode = model.model.network.parts[TEXT_UTTERANCE].forward

    def counted(tokens: Tensor, lengths: Tensor) -> Encoding:
        sizes.append(len(tokens))
        return encode(tokens, lengths)

    monkeypatch.setattr(model.model.network.parts[TEXT_UTTERANCE], "forward", counted)
    return sizes


def test_conversations_share_batches_by_seconds(
    model: Path, talks: list[Conversation], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, together = (moodline.load(model, device="cpu", batch_seconds=seconds) for seconds in (None, 60.0))
    batches_alone, batches_together = count_batches(alone, monkeypatch), count_batches(together, monkeypatch)
    expected, found = (list(one.predict_all(talks)) for one in (alone, together))
    assert batches_alone == [3, 1, 4, 2]
    assert batches_together == [10]
    for one, other in zip(found, expected, strict=True):
        assert one.conversation_id == other.conversation_id
        for turn, same in zip(one.utterances, other.utterances, strict=True):
            assert turn.id == same.id
            for stage, probabilities in same.by_stage.items():
                assert turn.by_stage[stage] == pytest.approx(probabilities, abs=SAME_PROBABILITY)


def test_embeddings_by_seconds_are_those_of_each_conversation(
    model: Path, talks: list[Conversation], tmp_path: Path
) -> None:
    for name, seconds in (("alone", None), ("together", 60.0)):
        predictor = moodline.load(model, device="cpu", batch_seconds=seconds)
        write_model_embeddings(predictor, talks, "utterance", tmp_path / name)
    for file in (tmp_path / "alone").iterdir():
        expected = moodline.read_embeddings(file).vectors
        found = moodline.read_embeddings(tmp_path / "together" / file.name).vectors
        assert list(found) == list(expected) == [turn.id for one in talks for turn in one.utterances]
        for name, vector in expected.items():
            torch.testing.assert_close(found[name], vector, rtol=0, atol=SAME_PROBABILITY * vector.abs().max().item())


def test_a_conversation_that_cannot_be_read_is_named_among_others(model: Path, talks: list[Conversation]) -> None:
    silent = [replace(one, audio=None) for one in talks[3].utterances]
    conversations = [talks[0], replace(talks[3], utterances=tuple(silent))]
    with pytest.raises(MoodlineError) as refused:
        list(moodline.load(model, device="cpu", batch_seconds=60.0).predict_all(conversations))
    assert refused.value.code == "model.no_audio"
    assert talks[3].id in str(refused.value)


def test_a_model_with_given_embeddings_keeps_its_seconds(model: Path) -> None:
    assert moodline.load(model, device="cpu", batch_seconds=60.0).with_embeddings({}).batch_seconds == 60.0
