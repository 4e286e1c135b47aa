"""Small random encoders of each family that reads speech, as ``transformers`` builds them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from moodline.modeling import audio_backbone
from moodline.modeling.pretrained_audio import PretrainedAudio

LAYERS = 3
WIDTH = 32
SIZES = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 48}
CONVOLUTIONS = {
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 8, 4),
    "conv_stride": (5, 4, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 10,
    "initializer_range": 0.2,  # large enough for each layer to matter
}
NORMED = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
DATA2VEC = {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5}
WHISPER = {
    "d_model": WIDTH,
    "encoder_layers": LAYERS,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 48,
    "num_mel_bins": 8,
    "max_source_positions": 50,  # a second
    "vocab_size": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "init_std": 0.2,
}
WAV2VEC2_BERT = {
    "feature_projection_input_dim": 16,
    "conv_depthwise_kernel_size": 5,
    "left_max_position_embeddings": 4,
    "right_max_position_embeddings": 2,
    "initializer_range": 0.2,
}


def build_convolutional(name: str, **settings: Any) -> Callable[..., Any]:
    def build(**more: Any) -> Any:
        config = getattr(transformers, f"{name}Config")(**(SIZES | CONVOLUTIONS | settings | more))
        return getattr(transformers, f"{name}Model")(config)

    return build


def build_whisper(**more: Any) -> Any:
    return transformers.WhisperModel(transformers.WhisperConfig(**(WHISPER | more)))


def build_wav2vec2_bert(**more: Any) -> Any:
    config = transformers.Wav2Vec2BertConfig(**(SIZES | WAV2VEC2_BERT | more))
    return transformers.Wav2Vec2BertModel(config)


FAMILIES: dict[str, Callable[..., Any]] = {
    "wav2vec2": build_convolutional("Wav2Vec2"),
    "wav2vec2 with layer norms": build_convolutional("Wav2Vec2", **NORMED),
    "hubert": build_convolutional("Hubert"),
    "hubert with layer norms": build_convolutional("Hubert", **NORMED),
    "hubert with a batch norm": build_convolutional("Hubert", feat_extract_norm="layer", conv_pos_batch_norm=True),
    "wavlm": build_convolutional("WavLM"),
    "wavlm with layer norms": build_convolutional("WavLM", **NORMED),
    "data2vec": build_convolutional("Data2VecAudio", **DATA2VEC),
    "sew": build_convolutional("SEW"),
    "sew-d": build_convolutional("SEWD"),
    "unispeech": build_convolutional("UniSpeech", **NORMED),
    "unispeech-sat": build_convolutional("UniSpeechSat"),
    "conformer": build_convolutional("Wav2Vec2Conformer", conv_depthwise_kernel_size=5),
    "wav2vec2-bert": build_wav2vec2_bert,
    "whisper": build_whisper,
}


def build_model(family: str, **settings: Any) -> Any:
    """A model as its checkpoint has it, with random weights, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = FAMILIES[family](**settings).eval()
        with torch.no_grad():  # so that no gain is one and no offset zero
            for name, parameter in model.named_parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.2 * torch.randn(parameter.shape))
                assert parameter.isfinite().all(), name
    return model


def build_backbone(family: str, **settings: Any) -> Any:
    """The encoder of a family's model."""
    model = build_model(family, **settings)
    return model.get_encoder() if family == "whisper" else model


def build_extractor(family: str, **settings: Any) -> Any:
    if family == "whisper":
        return transformers.WhisperFeatureExtractor(**({"feature_size": 8, "chunk_length": 1} | settings))
    if family == "wav2vec2-bert":
        return transformers.SeamlessM4TFeatureExtractor(**({"feature_size": 8, "num_mel_bins": 8} | settings))
    return transformers.Wav2Vec2FeatureExtractor(**({"do_normalize": True} | settings))


def speech_like(samples: int, seed: int = 0) -> Tensor:
    """Noise around a constant, in syllables of different loudness."""
    generator = torch.Generator().manual_seed(seed)
    syllables = (torch.arange(samples) / 1600 + seed).sin().abs()
    return 0.1 * syllables * torch.randn(samples, generator=generator) + 0.02


def build_part(family: str, settings: dict[str, Any] | None = None, **arguments: Any) -> PretrainedAudio:
    backbone = build_backbone(family, **(settings or {}))
    torch.manual_seed(0)
    return PretrainedAudio(backbone, build_extractor(family), **({"classes": 4, "embedding": 6} | arguments))


@pytest.fixture(autouse=True)
def batch_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass holds several windows, as on other devices."""
    monkeypatch.setattr(audio_backbone, "UNBATCHED_DEVICES", frozenset())
