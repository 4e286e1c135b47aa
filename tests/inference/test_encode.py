from pathlib import Path

import numpy as np
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from moodline.config import (
    AUDIO_CONTEXT,
    AUDIO_UTTERANCE,
    FUSION,
    TEXT_UTTERANCE,
    AudioUtteranceConfig,
    ContextConfig,
    FusionConfig,
    Recipe,
    TextUtteranceConfig,
)
from moodline.conversation import AudioClip, Utterance
from moodline.experiments.paper_tables import change_config
from moodline.inference.encode import UtteranceEncoder, list_turns
from moodline.inference.windows import encode_conversations
from moodline.modeling.batching import Encoding
from moodline.modeling.model import build_stage
from moodline.modeling.text_encoder import Tokenizer, load_text_backbone
from tests.rounding import assert_rounded_alike, rounding
from tests.system import OPERATIONS
from tests.tiny import WORDS, tiny_bert

RATE = 16000
RECIPE = Recipe(
    audio_utterance=AudioUtteranceConfig(channels=(3, 4, 5, 6, 7, 8), embedding=5, dropout=0.3, batch_seconds=4.0),
    text_utterance=TextUtteranceConfig(hidden=8, embedding=6),
    audio_context=ContextConfig(hidden=7),
    text_context=ContextConfig(hidden=7),
    fusion=FusionConfig(hidden=12, heads=3, layers=2, feed_forward=16),
)


def build(stage: str, bert: object = None) -> nn.Module:
    torch.manual_seed(0)
    return build_stage(stage, RECIPE, 4, bert).train()  # encoding must put dropout to rest


def utterance(number: int, words: str = "", audio: AudioClip | None = None) -> Utterance:
    return Utterance(id=f"u{number}", speaker="F", words=words, audio=audio)


def assert_each_is_encoded_as_if_alone(
    stage: str, part: nn.Module, utterances: list[Utterance], tokenizer: Tokenizer | None
) -> None:
    together = UtteranceEncoder(stage, part, RECIPE, tokenizer).encode(list_turns(utterances, RECIPE))
    assert len(together.embeddings) == len(together.logits) == len(utterances)
    for index, one in enumerate(utterances):
        alone = UtteranceEncoder(stage, part, RECIPE, tokenizer).encode(list_turns([one], RECIPE))
        assert_rounded_alike(together.embeddings[index], alone.embeddings[0], OPERATIONS)
        assert_rounded_alike(together.logits[index], alone.logits[0], OPERATIONS)
    distances = torch.cdist(together.embeddings, together.embeddings).fill_diagonal_(1)
    assert distances.min() > 1e-4  # each has a result of its own, so that an exchange would be seen


def test_utterances_of_words_are_encoded_as_each_alone(tmp_path: Path) -> None:
    bert, tokenizer = load_text_backbone(str(tiny_bert(tmp_path)), 512)
    generator = np.random.default_rng(0)
    words = [word for word in WORDS if word.isalpha()]
    utterances = [
        utterance(number, " ".join(generator.choice(words, size=4 + size)))
        for number, size in enumerate(generator.integers(0, 12, size=40))
    ]
    utterances.insert(7, utterance(40))
    assert_each_is_encoded_as_if_alone(TEXT_UTTERANCE, build(TEXT_UTTERANCE, bert), utterances, tokenizer)


def test_utterances_of_speech_are_encoded_as_each_alone(tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    generator = np.random.default_rng(0)
    loudness = np.repeat(generator.uniform(0.01, 0.3, size=60), RATE // 10)
    soundfile.write(path, loudness * generator.standard_normal(len(loudness)), RATE, subtype="FLOAT")
    stretches = [(0.0, 1.5), (2.0, 0.02), (1.0, 5.0), (3.0, 0.8), (4.5, 1.5), (0.3, 2.2)]
    utterances = [
        utterance(number, audio=AudioClip(path=path, offset=offset, duration=duration, sample_rate=RATE))
        for number, (offset, duration) in enumerate(stretches)
    ]
    assert_each_is_encoded_as_if_alone(AUDIO_UTTERANCE, build(AUDIO_UTTERANCE), utterances, None)


def test_zeros_around_an_utterance_change_its_encoding_under_released_padding_alone(tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    speech = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE)
    soundfile.write(path, speech, RATE, subtype="FLOAT")
    one, longest = (
        utterance(number, audio=AudioClip(path=path, duration=duration, sample_rate=RATE))
        for number, duration in enumerate((1.5, 2.0))
    )
    part = build(AUDIO_UTTERANCE)

    def encoded(padding: str, seconds: float, *utterances: Utterance) -> Tensor:
        changes = {"audio_utterance.padding": padding, "audio_utterance.padded_seconds": seconds}
        recipe = change_config(RECIPE, changes)
        return UtteranceEncoder(AUDIO_UTTERANCE, part, recipe, None).encode(list_turns(utterances, recipe)).embeddings

    alone = encoded("masked", 1.5, one)[0]
    masked = torch.stack([encoded("masked", 3.0, one)[0], encoded("masked", 3.0, one, longest)[0]])
    assert_rounded_alike(masked, alone.expand_as(masked), OPERATIONS)
    assert_rounded_alike(encoded("released", 1.5, one)[0], alone, OPERATIONS)  # nothing to add
    three, six = (encoded("released", seconds, one)[0] for seconds in (3.0, 6.0))
    padded = torch.from_numpy(np.pad(speech[: 3 * RATE // 2], (0, 3 * RATE // 2))).float()
    with torch.no_grad():
        expected = part.eval()(padded[None]).embeddings[0]  # as speech of three seconds
    assert_rounded_alike(three, expected, OPERATIONS)
    assert min(torch.dist(first, second) for first, second in ((alone, three), (three, six))) > 2e-4


class Recorder(nn.Module):
    """Encodes ids or samples as their sum, and remembers the batches it read."""

    def __init__(self) -> None:
        super().__init__()
        self.anything = nn.Parameter(torch.zeros(()))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, values: Tensor, lengths: Tensor) -> Encoding:
        self.shapes.append(tuple(values.shape))
        sums = values.sum(dim=1, keepdim=True).float()
        return Encoding(sums, sums)


def test_no_batch_of_speech_is_longer_than_the_recipe_allows(tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    soundfile.write(path, np.full(6 * RATE, 0.5), RATE, subtype="FLOAT")
    durations = [1.0, 5.0, 1.5, 0.5, 2.0, 2.5, 0.25, 1.0]
    utterances = [
        utterance(number, audio=AudioClip(path=path, duration=duration, sample_rate=RATE))
        for number, duration in enumerate(durations)
    ]
    part = Recorder()
    found = (
        UtteranceEncoder(AUDIO_UTTERANCE, part, RECIPE, None).encode(list_turns(utterances, RECIPE)).embeddings[:, 0]
    )
    np.testing.assert_allclose(found.numpy() / (0.5 * RATE), durations, rtol=rounding(6 * RATE))
    allowed = RECIPE.audio_utterance.batch_seconds
    totals = [rows * size / RATE for rows, size in part.shapes]
    assert all(total <= allowed or rows == 1 for total, (rows, _) in zip(totals, part.shapes, strict=True))
    assert max(rows for rows, _ in part.shapes) > 1


def sequences(lengths: list[int], size: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, size, generator=generator) for length in lengths]


CONTEXT, TRANSFORMER = build(AUDIO_CONTEXT), build(FUSION)


@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=40))
def test_conversations_are_encoded_as_each_alone(lengths: list[int]) -> None:
    embeddings = sequences(lengths, 5)
    audio, text = sequences(lengths, 14), sequences(lengths, 14, seed=1)
    for part, inputs in ((CONTEXT, (embeddings,)), (TRANSFORMER, (audio, text))):
        together = encode_conversations(part, *inputs)
        assert [len(encoding.embeddings) for encoding in together] == lengths
        for index in range(len(lengths)):
            (alone,) = encode_conversations(part, *([each[index]] for each in inputs))
            assert_rounded_alike(together[index].embeddings, alone.embeddings, OPERATIONS)
            assert_rounded_alike(together[index].logits, alone.logits, OPERATIONS)
