import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from moodline.modeling.audio_encoder import (
    MIN_VARIANCE,
    LeafCnn,
    MaskedBatchNorm,
    draw_stripe,
    mask_stripes,
    scale_to_unit_rms,
    shift_rows,
    standardise,
)
from moodline.modeling.batching import Encoding
from moodline.modeling.frontend import LogMel
from moodline.modeling.leaf import Leaf
from tests.gradients import assert_every_weight_learns
from tests.rounding import assert_rounded_alike, count_operations, rounding

SHORTEST = 35 * 480 + 1  # 36 frames of 30 ms


def speech_like(samples: int, seed: int = 0) -> Tensor:
    """Noise in syllables of different loudness."""
    generator = np.random.default_rng(seed)
    time = np.arange(samples) / 16000
    syllables = np.abs(np.sin(2 * np.pi * 1.7 * time + seed)) ** 3
    return torch.tensor(0.1 * syllables * generator.standard_normal(samples), dtype=torch.float32)


def encoder(**arguments) -> LeafCnn:
    """One whose batch normalisation knows the data, so that small differences are not shrunk further."""
    torch.manual_seed(0)
    model = LeafCnn(front_end=arguments.pop("front_end", None) or Leaf(), classes=4, **arguments)
    norms = [module for module in model.modules() if isinstance(module, MaskedBatchNorm)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.momentum = 1.0
    with torch.no_grad():
        model(torch.stack([speech_like(20000, seed) for seed in range(4)]))
    return model.eval()


def encode(model: LeafCnn, waveforms: Tensor, lengths: list[int] | None = None) -> Encoding:
    with torch.no_grad():
        return model(waveforms, None if lengths is None else torch.tensor(lengths))


def padded(waveforms: list[Tensor], size: int, fill: float = torch.nan) -> Tensor:
    batch = torch.full((len(waveforms), size), fill)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return batch


ENCODERS = {
    "plain": encoder(),
    "normalised": encoder(waveform_normalisation=True, channel_normalisation=True, dropout=0.2, mask_frames=9),
    "same padding": encoder(front_end=Leaf(padding="same")),
    "log-mel": encoder(front_end=LogMel()),
}
# The front-end's sums go over the filters' taps and over the pooling windows.
OPERATIONS = count_operations(ENCODERS["normalised"]) + 2 * Leaf().window
# Mean, variance and their gradients sum over a channel's values.
NORM_OPERATIONS = 4 * (4 * 5 * 6)


@pytest.mark.parametrize("name", ENCODERS)
@settings(max_examples=6, deadline=None)
@given(
    lengths=st.lists(st.sampled_from([0, 1, 480, 7000, 16800, 16801, 16802, 21000, 33333]), min_size=1, max_size=4),
    excess=st.integers(0, 20000),
)
def test_padding_never_changes_a_result(name: str, lengths: list[int], excess: int) -> None:
    model = ENCODERS[name]
    waveforms = [speech_like(length, seed) for seed, length in enumerate(lengths)]
    batch = encode(model, padded(waveforms, max(lengths) + excess), lengths)
    for index, waveform in enumerate(waveforms):
        alone = encode(model, waveform[None])
        assert_rounded_alike(batch.embeddings[index], alone.embeddings[0], OPERATIONS)
        assert_rounded_alike(batch.logits[index], alone.logits[0], OPERATIONS)


def test_utterances_have_results_of_their_own() -> None:
    waveforms = torch.stack([speech_like(20000, seed) for seed in range(3)])
    for model in ENCODERS.values():
        logits = encode(model, waveforms).logits
        assert torch.cdist(logits, logits).fill_diagonal_(1).min() > 0.02


@pytest.mark.parametrize("length", [0, 1, 5000, SHORTEST - 1])
def test_a_short_utterance_counts_as_followed_by_silence(length: int) -> None:
    waveform = speech_like(length)
    expected = encode(ENCODERS["plain"], padded([waveform], SHORTEST, fill=0.0))
    for found, other in zip(encode(ENCODERS["plain"], waveform[None]), expected, strict=True):
        assert_rounded_alike(found, other, OPERATIONS)


def test_the_network_is_the_stock_modules_on_one_utterance() -> None:
    model = ENCODERS["plain"]
    layers: list[nn.Module] = []
    for pair in model.pairs.children():
        for convolution, norm in ((pair.first, pair.first_norm), (pair.second, pair.second_norm)):
            stock = nn.BatchNorm2d(len(norm.weight))
            stock.weight, stock.bias = norm.weight, norm.bias
            stock.running_mean, stock.running_var = norm.running_mean, norm.running_variance
            layers += [convolution, stock.eval(), nn.ReLU()]
        layers.append(nn.AvgPool2d(2))
    waveform = speech_like(40000)
    with torch.no_grad():
        features, _ = model.front_end(waveform[None])
        maps = nn.Sequential(*layers)(features[:, None])
        assert maps.shape[1:3] == (100, 1)
        expected = model.classifier(model.embedding(maps.mean(dim=(2, 3))))
    assert_rounded_alike(encode(model, waveform[None]).logits, expected, OPERATIONS)


def test_sizes_are_the_arguments() -> None:
    model = LeafCnn(front_end=Leaf(), classes=6, embedding=50, channels=(4, 5, 6, 7, 8, 9)).eval()
    encoding = encode(model, speech_like(20000)[None])
    assert encoding.embeddings.shape == (1, 50)
    assert encoding.logits.shape == (1, 6)


@pytest.mark.parametrize("filters", [1, 35, 44])
def test_filters_that_do_not_shrink_to_one_row_are_refused(filters: int) -> None:
    with pytest.raises(ValueError, match=f"{filters} filters"):
        LeafCnn(front_end=Leaf(filters=filters), classes=4)


def test_convolutions_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channels .* received 3"):
        LeafCnn(front_end=Leaf(), classes=4, channels=(8, 8, 8))


def test_waveform_normalisation_takes_loudness_out() -> None:
    waveform = speech_like(20000)
    model = ENCODERS["normalised"]
    quiet, loud = encode(model, 0.01 * waveform[None]), encode(model, 30 * waveform[None])
    assert_rounded_alike(quiet.logits, loud.logits, OPERATIONS)


def test_waveforms_are_scaled_over_their_own_samples() -> None:
    waveforms = padded([speech_like(300), torch.zeros(200), torch.zeros(0)], 400, fill=0.0)
    scaled = scale_to_unit_rms(waveforms, torch.tensor([300, 200, 0]))
    assert scaled[0, :300].square().mean().item() == pytest.approx(1.0, rel=rounding(2 * 300))
    assert (scaled[1:] == 0).all()


def test_channels_are_standardised_over_their_own_frames() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 3, 50) * 2 + 7
    features[1, :, 20:] = torch.nan
    standardised = standardise(features, torch.tensor([50, 20]))
    for own in (standardised[0], standardised[1, :, :20]):
        # A mean's error is one of the features before it is taken from them.
        allowed = rounding(2 * 50) * features.nan_to_num().abs().max().item()
        torch.testing.assert_close(own.mean(dim=-1), torch.zeros(3), rtol=0, atol=allowed)
        torch.testing.assert_close(own.std(dim=-1, correction=0), torch.ones(3), rtol=0, atol=allowed + MIN_VARIANCE)
    assert (standardised[1, :, 20:] == 0).all()


def test_silence_and_its_gradients_are_finite() -> None:
    torch.manual_seed(0)
    model = LeafCnn(front_end=Leaf(), classes=4, waveform_normalisation=True, channel_normalisation=True)
    encoding = model(torch.zeros(2, 20000), torch.tensor([20000, 0]))
    encoding.logits.square().sum().backward()
    assert encoding.logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("front_end", [Leaf, LogMel])
def test_training_reaches_every_parameter_and_never_what_lies_beyond_an_utterance(front_end: type) -> None:
    torch.manual_seed(0)
    model = LeafCnn(front_end=front_end(), classes=4, waveform_normalisation=True, channel_normalisation=True)
    waveforms, lengths = [speech_like(20000), speech_like(30000, 1)], torch.tensor([20000, 30000])
    logits = model(padded(waveforms, 31000), lengths).logits
    nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert_every_weight_learns(model)
    assert_rounded_alike(model(padded(waveforms, 50000), lengths).logits, logits, OPERATIONS)


def test_mixed_precision_stays_close() -> None:
    model = ENCODERS["normalised"]
    waveforms = torch.stack([speech_like(20000), speech_like(20000, 1)])
    expected = encode(model, waveforms).embeddings
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeddings = encode(model, waveforms).embeddings
    assert ((embeddings.float() - expected).norm() / expected.norm()).item() < 0.03


class TestMaskedBatchNorm:
    def test_without_padding_it_is_the_stock_one(self) -> None:
        torch.manual_seed(0)
        ours, stock = MaskedBatchNorm(3), nn.BatchNorm2d(3)
        with torch.no_grad():
            for parameter in (ours.weight, stock.weight):
                parameter.copy_(torch.tensor([0.5, 1.0, 2.0]))
            for parameter in (ours.bias, stock.bias):
                parameter.copy_(torch.tensor([-1.0, 0.0, 1.0]))
        for _ in range(3):
            values = torch.randn(4, 3, 5, 6) * 3 + 1
            inputs = [values.clone().requires_grad_() for _ in range(2)]
            outputs = [ours(inputs[0], torch.full((4,), 6)), stock(inputs[1])]
            assert_rounded_alike(*outputs, NORM_OPERATIONS)
            for output in outputs:
                (output * values).square().sum().backward()
            assert_rounded_alike(inputs[0].grad, inputs[1].grad, NORM_OPERATIONS)
        assert_rounded_alike(ours.weight.grad, stock.weight.grad, NORM_OPERATIONS)
        assert_rounded_alike(ours.bias.grad, stock.bias.grad, NORM_OPERATIONS)
        assert_rounded_alike(ours.running_mean, stock.running_mean, NORM_OPERATIONS)
        assert_rounded_alike(ours.running_variance, stock.running_var, NORM_OPERATIONS)
        values = torch.randn(1, 3, 5, 6)
        assert_rounded_alike(ours.eval()(values, torch.tensor([6])), stock.eval()(values), NORM_OPERATIONS)

    def test_with_padding_it_is_the_stock_one_on_what_is_no_padding(self) -> None:
        torch.manual_seed(0)
        ours, stock = MaskedBatchNorm(3), nn.BatchNorm2d(3)
        lengths = [6, 1, 4]
        values = torch.randn(3, 3, 5, 6)
        joined = torch.cat([row[..., :length] for row, length in zip(values, lengths, strict=True)], dim=-1)
        expected = stock(joined[None])[0]
        for row, length in zip(values, lengths, strict=True):
            row[..., length:] = 1e3
        output = ours(values, torch.tensor(lengths))
        kept = torch.cat([row[..., :length] for row, length in zip(output, lengths, strict=True)], dim=-1)
        assert_rounded_alike(kept, expected, NORM_OPERATIONS)
        assert_rounded_alike(ours.running_mean, stock.running_mean, NORM_OPERATIONS)
        assert_rounded_alike(ours.running_variance, stock.running_var, NORM_OPERATIONS)

    def test_gradients_are_those_of_finite_differences(self) -> None:
        torch.manual_seed(0)
        norm = MaskedBatchNorm(2).double()
        values = torch.randn(2, 2, 2, 3, dtype=torch.float64, requires_grad=True)
        lengths = torch.tensor([3, 2])

        def valid(values: Tensor, *_: Tensor) -> Tensor:
            output = norm(values, lengths)
            return torch.cat([output[0].flatten(), output[1, ..., :2].flatten()])

        assert torch.autograd.gradcheck(valid, (values, norm.weight, norm.bias))


class TestMasking:
    @settings(max_examples=30, deadline=None)
    @given(
        sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
        most=st.integers(0, 50),
        seed=st.integers(0, 1000),
    )
    def test_a_stripe_is_one_run_within_its_utterance(self, sizes: list[int], most: int, seed: int) -> None:
        torch.manual_seed(seed)
        for size, stripe in zip(sizes, draw_stripe(torch.tensor(sizes), most, 45), strict=True):
            places = stripe.nonzero().flatten().tolist()
            assert len(places) <= min(most, size)
            assert all(place < size for place in places)
            assert places == list(range(places[0], places[0] + len(places))) if places else True

    def test_stripes_take_every_width_and_place(self) -> None:
        torch.manual_seed(0)
        stripes = draw_stripe(torch.full((4000,), 6), 3, 6)
        assert torch.bincount(stripes.sum(dim=1)).tolist() == pytest.approx([1000] * 4, rel=0.15)
        assert stripes.float().mean(dim=0).min() > 0.05

    def test_masked_features_are_zero_and_the_others_untouched(self) -> None:
        torch.manual_seed(0)
        features = torch.rand(20, 12, 30) + 1
        lengths = torch.full((20,), 30)
        masked = mask_stripes(features, lengths, 3, 5)
        gone = masked == 0
        assert torch.equal(masked[~gone], features[~gone])
        rows, columns = gone.all(dim=2), gone.all(dim=1)
        assert torch.equal(gone, rows[:, :, None] | columns[:, None])
        assert 3 < rows.sum(dim=1).max() <= 6  # two masks of at most three
        assert 5 < columns.sum(dim=1).max() <= 10
        assert not mask_stripes(features, lengths, 0, 5).eq(0).all(dim=2).any()

    def test_only_training_masks(self) -> None:
        torch.manual_seed(0)
        model = LeafCnn(front_end=Leaf(), classes=4, mask_channels=20, mask_frames=20)
        waveforms = torch.stack([speech_like(20000), speech_like(20000, 1)])
        assert not torch.equal(model(waveforms).logits, model(waveforms).logits)
        model.eval()
        assert torch.equal(encode(model, waveforms).logits, encode(model, waveforms).logits)

    def test_rows_move_together_and_the_outermost_fills_up(self) -> None:
        torch.manual_seed(0)
        features = torch.rand(400, 6, 5)
        found = set()
        for before, after in zip(features, shift_rows(features, 2), strict=True):
            expected = {
                shift: torch.stack([before[min(max(row - shift, 0), 5)] for row in range(6)]) for shift in range(-2, 3)
            }
            (shift,) = [shift for shift, rows in expected.items() if torch.equal(rows, after)]
            found.add(shift)
        assert found == {-2, -1, 0, 1, 2}

    def test_only_training_shifts(self) -> None:
        torch.manual_seed(0)
        model = LeafCnn(front_end=Leaf(), classes=4, shift_channels=5)
        waveforms = torch.stack([speech_like(20000)] * 8)
        assert not torch.allclose(*model(waveforms).logits.split(4), atol=1e-3)
        model.eval()
        assert_rounded_alike(*encode(model, waveforms).logits.split(4), OPERATIONS)
