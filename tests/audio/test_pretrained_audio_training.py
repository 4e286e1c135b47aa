"""Training the encoder of speech: which weights learn, and with what of the pretrained one."""

import pytest
import torch
from torch import nn

from moodline.modeling import audio_backbone
from moodline.modeling.pretrained import get_layers
from moodline.modeling.pretrained_audio import STAGE, PretrainedAudio
from tests.audio.speech_encoders import FAMILIES, LAYERS, batch_on_a_cpu, build_part, speech_like
from tests.refusals import refuses
from tests.rounding import assert_rounded_alike, count_operations

__all__ = ["batch_on_a_cpu"]
SAMPLES = 4_000
LENGTHS = torch.tensor([SAMPLES, 3_300])  # which share a pass where masks hold
# Weights that no hidden state depends on: behind the last layer, unused, or of the masking that is switched off.
UNREAD = {
    **dict.fromkeys([name for name in FAMILIES if "layer norms" in name], ("encoder.layer_norm.",)),
    "unispeech": ("encoder.layer_norm.",),
    "sew": ("encoder.upsample.",),
    "sew-d": ("encoder.upsample.",),
    "conformer": ("encoder.layer_norm.", "encoder.pos_conv_embed."),
}
BATCH_NORMED = {"hubert with a batch norm", "conformer"}  # which training normalises by the batch
DROPOUTS = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "conformer_conv_dropout")
WITHOUT_DROPOUT = dict.fromkeys((*DROPOUTS, "dropout"), 0.0)


def learn(part: PretrainedAudio) -> dict[str, torch.Tensor]:
    """The gradients of one backward pass in training, by parameter."""
    torch.manual_seed(1)
    waveforms = torch.stack([speech_like(SAMPLES, 0), speech_like(SAMPLES, 1)]).to(part.embed.weight.dtype)
    part.train()(waveforms, LENGTHS).logits.square().sum().backward()
    return {name: one.grad for name, one in part.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("pooling", ["mean_std", "attentive"])
@pytest.mark.parametrize("num_unfrozen_layers", [None, 0, 1, LAYERS])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_exactly_what_is_trained(family: str, num_unfrozen_layers: int | None, pooling: str) -> None:
    part = build_part(family, num_unfrozen_layers=num_unfrozen_layers, pooling=pooling)
    learning = learn(part)
    backbone = dict(part.backbone.named_parameters(prefix="backbone"))
    head = {name for name, _ in part.named_parameters()} - backbone.keys()
    if num_unfrozen_layers is None:
        unread = tuple(f"backbone.{name}" for name in (*UNREAD.get(family, ()), "masked_spec_embed"))
        expected = {name for name, one in backbone.items() if one.requires_grad and not name.startswith(unread)}
    else:
        layers = list(get_layers(part.backbone, STAGE))[LAYERS - num_unfrozen_layers :]
        trained = {id(one) for layer in layers for one in layer.parameters()}
        expected = {name for name, one in backbone.items() if id(one) in trained}
    assert set(learning) == head | expected
    for name, gradient in learning.items():
        assert gradient.isfinite().all(), name
    assert all(learning[name].abs().max() > 0 for name in head)
    assert part.is_frozen == (num_unfrozen_layers == 0)
    assert part.is_cacheable == (num_unfrozen_layers == 0 and pooling != "attentive")


def test_all_of_the_encoder_is_trained_but_for_fixed_positions() -> None:
    for family in FAMILIES:
        part = build_part(family, num_unfrozen_layers=None)
        fixed = {name for name, one in part.backbone.named_parameters() if not one.requires_grad}
        assert fixed == ({"embed_positions.weight"} if family == "whisper" else set())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_encoder_gives_the_same_statistics_in_training(family: str) -> None:
    part = build_part(family)
    waveform = speech_like(SAMPLES)[None]
    expected = part.eval().extract(waveform, LENGTHS[:1]).values
    assert part.train().extract(waveform, LENGTHS[:1]).values.equal(expected)
    assert not expected.requires_grad


@pytest.mark.parametrize("family", ["wavlm", "whisper", "wav2vec2-bert"])
def test_trained_layers_have_dropout_and_frozen_ones_do_not(family: str) -> None:
    part = build_part(family, WITHOUT_DROPOUT | {"hidden_dropout": 0.5, "dropout": 0.5}, num_unfrozen_layers=1).train()
    waveform = speech_like(SAMPLES)[None]
    one, other = (part.extract(waveform, LENGTHS[:1]).values[0] for _ in range(2))
    expected = part.eval().extract(waveform, LENGTHS[:1]).values[0]
    layers = list(get_layers(part.backbone, STAGE))
    assert not any(module.training for layer in layers[:-1] for module in layer.modules())
    assert (one[-1] - other[-1]).abs().max() > 1e-2
    assert (one[-1] - expected[-1]).abs().max() > 1e-2


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - BATCH_NORMED))
def test_training_leaves_out_no_layer_and_masks_no_frame(family: str) -> None:
    masks = {"mask_time_prob": 0.9, "mask_feature_prob": 0.9, "mask_time_length": 2, "mask_feature_length": 2}
    settings = WITHOUT_DROPOUT | masks | {"layerdrop": 0.9, "encoder_layerdrop": 0.9, "apply_spec_augment": True}
    part = build_part(family, settings, num_unfrozen_layers=None)
    waveform = speech_like(SAMPLES)[None]
    expected = part.eval().extract(waveform, LENGTHS[:1]).values
    assert_rounded_alike(part.train().extract(waveform, LENGTHS[:1]).values, expected, count_operations(part) + SAMPLES)


@pytest.mark.parametrize("num_unfrozen_layers", [None, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_computes_layers_again_and_changes_no_gradient(
    family: str, num_unfrozen_layers: int | None
) -> None:
    calls: dict[bool, int] = {}
    gradients: dict[bool, dict[str, torch.Tensor]] = {}
    for checkpointing in (False, True):
        part = build_part(family, num_unfrozen_layers=num_unfrozen_layers, gradient_checkpointing=checkpointing)
        count: list[nn.Module] = []
        first = next(
            module for module in get_layers(part.backbone, STAGE)[-1].modules() if isinstance(module, nn.Linear)
        )
        first.register_forward_hook(lambda module, *_, count=count: count.append(module))
        gradients[checkpointing] = learn(part)
        calls[checkpointing] = len(count)
    assert calls[True] == 2 * calls[False]
    assert gradients[True].keys() == gradients[False].keys()
    for name, gradient in gradients[True].items():
        torch.testing.assert_close(gradient, gradients[False][name], rtol=0, atol=0)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm", "wavlm with layer norms", "unispeech-sat"])
def test_gradients_of_a_padded_pass_are_those_of_each_window_alone(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In double precision, to the unit roundoff of single: above all that rounding does, below any leak of padding.

    A key's offset has no gradient but rounding, so all are compared with the largest.
    """
    gradients: list[dict[str, torch.Tensor]] = []
    for unbatched in ("", "cpu"):
        monkeypatch.setattr(audio_backbone, "UNBATCHED_DEVICES", frozenset({unbatched}))
        part = build_part(family, WITHOUT_DROPOUT, num_unfrozen_layers=None, pooling="attentive").double()
        gradients.append(learn(part))
    together, alone = gradients
    assert together.keys() == alone.keys()
    largest = max(gradient.abs().max() for gradient in alone.values())
    for name, gradient in alone.items():
        assert (together[name] - gradient).abs().max() <= largest * torch.finfo(torch.float32).eps / 2, name


def test_more_trained_layers_than_there_are_are_refused() -> None:
    with refuses("recipe.too_many_layers", f"{STAGE}.num_unfrozen_layers", LAYERS, LAYERS + 1):
        build_part("wavlm", num_unfrozen_layers=LAYERS + 1)
