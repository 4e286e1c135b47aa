"""A model on another device predicts as on the CPU: all that it reads moves there, and results come back."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import moodline
from moodline.conversation import Conversation
from moodline.device import Precision, choose_device, move, run_on_device
from moodline.errors import MoodlineError
from moodline.experiments.baselines import pool_means
from moodline.inference.embed import write_model_embeddings
from moodline.inference.pipeline import Model
from moodline.inference.streaming import EncodedConversation, encode_causally
from moodline.inference.windows import WINDOW
from moodline.modeling.batching import Encoding
from moodline.modeling.text_encoder import load_text_backbone
from moodline.timeline.timeline import UtterancePrediction
from tests import accelerator as simulated
from tests.accelerator import Accelerator, Remote, accelerator
from tests.inference.test_precision import MORE_ROUNDINGS, compute_probabilities, measure_rounding_error
from tests.inference.tiny_models import conversation_of, predictor_of, recipe_of, write_model, write_talk
from tests.tiny import tiny_bert

__all__ = ["accelerator"]
AGREEMENT = 1e-4  # of probabilities on any two devices
RATE = 16_000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("device")


@pytest.fixture(scope="module")
def model(place: Path) -> Path:
    """A model folder with encoders of its own."""
    return write_model(place / "plain", "both")


@pytest.fixture(scope="module")
def model_of_three_modes(place: Path) -> Path:
    """The same, whose fusion was trained with modality dropout."""
    return write_model(place / "modes", "both", modality_dropout=0.3)


@pytest.fixture(scope="module")
def talk(place: Path) -> Conversation:
    """Turns of unlike length."""
    return write_talk(place)


def assert_agree(found: Sequence[UtterancePrediction], expected: Sequence[UtterancePrediction]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert list(one.by_stage) == list(other.by_stage)
        for stage, probabilities in other.by_stage.items():
            assert one.by_stage[stage] == pytest.approx(probabilities, abs=AGREEMENT)


def assert_same_reasons(found: Sequence[UtterancePrediction], expected: Sequence[UtterancePrediction]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.reasons is not None
        assert other.reasons is not None
        assert [one.reasons.speech, one.reasons.words] == pytest.approx(
            [other.reasons.speech, other.reasons.words], abs=2 * AGREEMENT
        )  # a difference of two probabilities
        assert [each.weight for each in one.reasons.context] == pytest.approx(
            [each.weight for each in other.reasons.context], abs=AGREEMENT
        )


def test_predictions_and_their_reasons_agree(model: Path, talk: Conversation, accelerator: Accelerator) -> None:
    expected = moodline.load(model, device="cpu").predict(talk, reasons=True).utterances
    with accelerator:
        loaded = moodline.load(model)
        found = loaded.predict(talk, reasons=True).utterances
        encodings = loaded.encode(talk)
    assert loaded.device == torch.device(simulated.NAME)
    assert accelerator.operations > 0
    assert not any(isinstance(values, Remote) for encoding in encodings.values() for values in encoding)
    assert_agree(found, expected)
    assert_same_reasons(found, expected)


def test_turns_without_audio_or_words_agree(
    model_of_three_modes: Path, talk: Conversation, accelerator: Accelerator
) -> None:
    first, second, *others = talk.utterances
    patchy = replace(talk, utterances=(first, replace(second, audio=None), *(replace(one, words="") for one in others)))
    expected = moodline.load(model_of_three_modes, device="cpu").predict_modes(patchy)
    with accelerator:
        found = moodline.load(model_of_three_modes).predict_modes(patchy)
    for mode, prediction in expected.items():
        assert_agree(found[mode].utterances, prediction.utterances)


def test_a_stream_agrees(model: Path, talk: Conversation, accelerator: Accelerator) -> None:
    stream = moodline.load(model, device="cpu").stream()
    expected = [stream.predict(one) for one in talk.utterances]
    with accelerator:
        stream = moodline.load(model).stream()
        found = [stream.predict(one) for one in talk.utterances]
    assert_agree(found, expected)


def test_a_recording_agrees(model: Path, place: Path, accelerator: Accelerator) -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, 6 * RATE)
    words = place / "words.csv"
    words.write_text("start,end,speaker,words\n0.5,2,F,i am so happy\n2.5,5.5,M,no\n", encoding="utf-8")

    def labelled(loaded: Model) -> list[float]:
        timeline = loaded.recognise(samples, sample_rate=RATE, transcript=words)
        return [value for turn in timeline.turns for value in turn.probabilities.values()]

    expected = labelled(moodline.load(model, device="cpu"))
    with accelerator:
        found = labelled(moodline.load(model))
    assert found == pytest.approx(expected, abs=AGREEMENT)


def test_a_conversation_of_several_windows_agrees(accelerator: Accelerator) -> None:
    talk = conversation_of(WINDOW + 20)
    predictor = predictor_of(recipe_of(), talk)
    expected = predictor.predict(talk).utterances
    with accelerator:
        found = predictor.to("auto").predict(talk).utterances
    assert_agree(found, expected)


def test_conversations_read_causally_agree(accelerator: Accelerator) -> None:
    talks = [conversation_of(turns) for turns in (4, 7)]
    predictor = predictor_of(recipe_of(), talks[1])

    def causal() -> list[torch.Tensor]:
        alone = [predictor.encode_present(talk).embeddings for talk in talks]
        pairs = [EncodedConversation(one, talk.utterances) for one, talk in zip(alone, talks, strict=True)]
        found = encode_causally(predictor.model.network, predictor.model.recipe, pairs)
        return [one["fusion"].logits for one in found]

    expected = causal()
    with accelerator:
        predictor.to("auto")
        found = causal()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=AGREEMENT)


def test_embeddings_of_one_model_share_a_folder(
    model: Path, talk: Conversation, tmp_path: Path, accelerator: Accelerator
) -> None:
    """What made a file is known by the weights, wherever they are."""
    write_model_embeddings(moodline.load(model, device="cpu"), [talk], "context", tmp_path)
    expected = {file.name: moodline.read_embeddings(file).vectors for file in tmp_path.iterdir()}
    with accelerator:
        write_model_embeddings(moodline.load(model), [talk], "context", tmp_path)
    for name, vectors in expected.items():
        found = moodline.read_embeddings(tmp_path / name).vectors
        for one in vectors:
            torch.testing.assert_close(found[one], vectors[one], rtol=0, atol=AGREEMENT)


def test_sentence_embeddings_agree(place: Path, accelerator: Accelerator) -> None:
    bert, tokenizer = load_text_backbone(str(tiny_bert(place / "sentences")), 24)
    words = ["i am so happy", "no", ""]
    expected = pool_means(words, bert, tokenizer)
    with accelerator:
        found = pool_means(words, bert.to(simulated.NAME), tokenizer)
    np.testing.assert_allclose(found, expected, rtol=0, atol=AGREEMENT)


def test_what_is_not_moved_is_refused_by_the_simulated_device(accelerator: Accelerator) -> None:
    part = torch.nn.Linear(2, 3)
    with accelerator, pytest.raises(RuntimeError, match="on one device"):
        part.to(simulated.NAME)(torch.ones(1, 2))


def test_tensors_move_within_what_holds_them() -> None:
    value = {"a": (torch.ones(2), [torch.zeros(1)], None, 3), "b": Encoding(torch.ones(1), torch.ones(2))}
    moved = move(value, torch.device(simulated.NAME))
    assert isinstance(moved["b"], Encoding)
    first, (second,), nothing, number = moved["a"]
    assert {one.device.type for one in (first, second, *moved["b"])} == {simulated.NAME}
    assert (nothing, number) == (None, 3)


@pytest.mark.parametrize(
    ("available", "named", "expected"),
    [
        (["cuda:0", "cuda:1", "cpu"], "auto", "cuda:0"),
        (["cuda:0", "cuda:1", "cpu"], "cuda", "cuda:0"),
        (["cuda:0", "cuda:1", "cpu"], "cuda:1", "cuda:1"),
        (["cuda:0", "cpu"], torch.device("cuda"), "cuda:0"),
        (["mps", "cpu"], "auto", "mps"),
        (["mps", "cpu"], torch.device("mps", 0), "mps"),
        (["mps", "cpu"], "cpu", "cpu"),
        (["cpu"], "auto", "cpu"),
    ],
)
def test_a_device_is_found_by_its_name(
    monkeypatch: pytest.MonkeyPatch, available: list[str], named: str | torch.device, expected: str
) -> None:
    monkeypatch.setattr("moodline.device.available_devices", lambda: available)
    assert choose_device(named) == torch.device(expected)


@pytest.mark.parametrize("named", ["cuda", "cuda:2", "mps", "gpu", "", torch.device("cuda", 2)])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch, model: Path, named: str | torch.device
) -> None:
    there = ["cpu"] if str(named) == "cuda" else ["cuda:0", "cuda:1", "cpu"]
    monkeypatch.setattr("moodline.device.available_devices", lambda: there)
    with pytest.raises(MoodlineError) as refused:
        moodline.load(model, device=named)
    assert repr(str(named)) in str(refused.value)
    assert ", ".join(there) in str(refused.value)


def read_cudnn_flags() -> tuple[bool, ...]:
    cudnn = torch.backends.cudnn
    return cudnn.allow_tf32, cudnn.enabled, cudnn.benchmark, cudnn.deterministic


def test_a_gpu_computes_in_single_precision_and_is_then_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    part, before = torch.nn.Linear(2, 3), read_cudnn_flags()
    assert before[0]
    assert run_on_device(part, function=read_cudnn_flags) == before
    on_gpu = SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setattr(part, "parameters", lambda: iter([on_gpu]))
    assert run_on_device(part, function=read_cudnn_flags) == (False, *before[1:])
    assert read_cudnn_flags() == before


def test_tensors_go_to_cuda_alone_from_pinned_memory() -> None:
    calls: list[object] = []

    class Recorded(torch.Tensor):
        def pin_memory(self, device: object = None) -> "Recorded":
            calls.append("pinned")
            return self

        def to(self, *arguments: object, **options: object) -> "Recorded":
            calls.append((*arguments, options))
            return self

    tensor, cuda, mps = torch.ones(2).as_subclass(Recorded), torch.device("cuda:1"), torch.device("mps")
    move([tensor], cuda)
    move({"a": tensor}, mps)
    assert calls == ["pinned", (cuda, {"non_blocking": True}), (mps, {})]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_on_cuda_is_off_by_as_much_as_rounding_all_layers(
    precision: Precision, model: Path, talk: Conversation
) -> None:
    expected = compute_probabilities(moodline.load(model, device="cpu"), talk)
    found = compute_probabilities(moodline.load(model, device="cuda", precision=precision), talk)
    error = (found - expected).abs().max().item()  # fp16 has more digits than bf16
    assert 0 < error <= AGREEMENT + MORE_ROUNDINGS * measure_rounding_error(model, talk)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("batch_seconds", [1.0, 600.0])
def test_batches_by_seconds_on_cuda_agree(batch_seconds: float, model: Path, talk: Conversation) -> None:
    expected = list(moodline.load(model, device="cpu").predict_all([talk, talk]))
    found = list(moodline.load(model, device="cuda", batch_seconds=batch_seconds).predict_all([talk, talk]))
    for one, other in zip(found, expected, strict=True):
        assert_agree(one.utterances, other.utterances)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_probabilities_on_cuda_are_those_of_the_cpu(model: Path, talk: Conversation) -> None:
    expected = moodline.load(model, device="cpu").predict(talk, reasons=True).utterances
    loaded = moodline.load(model, device="cuda")
    found = loaded.predict(talk, reasons=True).utterances
    assert loaded.device.type == "cuda"
    assert_agree(found, expected)
    assert_same_reasons(found, expected)
    stream = loaded.stream()
    streamed = [stream.predict(one) for one in talk.utterances]
    assert_agree(streamed[-1:], found[-1:])
