"""The audio utterance encoder over a pretrained one: a weighted sum of its layers, pooled over the utterance."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Self, TypeVar

import torch
from torch import Tensor, nn

from moodline.errors import MoodlineError
from moodline.modeling.audio_backbone import AudioReader, HiddenStates, build_reader, sum_powers
from moodline.modeling.batching import Encoding, Features, build_length_mask, pad_sequences, repeat_full_length
from moodline.modeling.pretrained import enable_checkpointing, freeze, is_frozen

Pooling = Literal["mean", "mean_std", "attentive"]
STAGE = "audio_utterance"  # of the recipe, which errors name
Item = TypeVar("Item")
MIN_VARIANCE = 1e-10  # below, a deviation has no gradient


class PretrainedAudio(nn.Module):
    """Map waveforms to an utterance embedding by a pretrained encoder; in eval mode padding never changes a result.

    With x_l (F x D) the hidden states of the encoder's layers over an utterance's F frames, l = 0 for the first layer's
    input, LN layer normalisation without parameters, and learned layer weights w = softmax(a):

        mean        s_l = mean over frames of x_l (D,)                 embedding = W sum_l w_l LN(s_l) + b (E,)
        mean_std    s_l = [mean; standard deviation] (2D,), LN of each
        attentive   h = sum_l w_l LN(x_l) (F x D), embedding = W sum_t softmax_t(v . tanh(U h_t + c)) h_t + b

    The sum over normalised layers is that of SUPERB (Yang et al., "SUPERB: Speech processing Universal PERformance
    Benchmark", Interspeech 2021) and s3prl's featuriser; attentive pooling is after Okabe et al. ("Attentive statistics
    pooling for deep speaker embedding", Interspeech 2018). What is not trained of the encoder stays in eval
    mode. Training leaves out no layers (LayerDrop) and masks no frames (SpecAugment).

    Args:
        backbone: an encoder of ``transformers`` that reads speech, or ``FasterWhisperEncoder``
        extractor: its feature extractor, which determines sample rate and normalisation
        dropout: on the embedding before the classes
        layers: indices of the hidden states that are read, or all
        num_unfrozen_layers: number of the encoder's last layers that are trained; None for all of the encoder
        gradient_checkpointing: keep only the layers' inputs for the backward pass, and compute the rest again

    Raises:
        MoodlineError: a layer does not exist, or more layers are to be trained than there are
    """

    def __init__(
        self,
        backbone: Any,
        extractor: Any,
        *,
        classes: int,
        embedding: int = 100,
        dropout: float = 0.0,
        layers: Literal["all"] | Sequence[int] = "all",
        pooling: Pooling = "mean",
        num_unfrozen_layers: int | None = 0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.reader: AudioReader = build_reader(backbone, extractor)
        self.layers = choose_layers(layers, self.reader.num_states)
        self.pooling: Pooling = pooling
        self.powers = 2 if pooling == "mean_std" else 1
        self.layer_weights = nn.Parameter(torch.zeros(len(self.layers)))
        self.attention = build_attention(self.reader.width, embedding) if pooling == "attentive" else None
        self.embed = nn.Linear(self.powers * self.reader.width, embedding)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(embedding, classes)
        if isinstance(backbone, nn.Module):
            prepare_training(backbone, num_unfrozen_layers, gradient_checkpointing)
        self.train(self.training)

    @property
    def sample_rate(self) -> int:
        """The sample rate of the waveforms in Hz."""
        return self.reader.sample_rate

    @property
    def is_frozen(self) -> bool:
        """Check whether no parameter of the pretrained encoder is trained."""
        return not isinstance(self.backbone, nn.Module) or is_frozen(self.backbone)

    @property
    def is_cacheable(self) -> bool:
        """Check whether an utterance's statistics never change: the encoder is frozen, and pooling has no weights."""
        return self.is_frozen and self.pooling != "attentive"

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        parts = self.backbone.modules() if isinstance(self.backbone, nn.Module) else ()
        for part in parts:
            if next(part.parameters(), None) is not None and is_frozen(part):
                part.eval()
        return self

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Encoding:
        """Map waveforms (B, T), lengths (B,) in samples to embeddings (B, E), logits (B, classes)."""
        if lengths is None:
            lengths = repeat_full_length(waveforms)
        if self.attention is None:
            return self.head(*self.extract(waveforms, lengths))
        return self._classify(self._attend(waveforms, lengths))

    @property
    def feature_settings(self) -> tuple[object, ...]:
        """The settings that the features of ``extract`` depend on, beside the encoder."""
        return (self.powers, self.reader.extractor.to_json_string(), *self.reader.settings)

    def extract(self, waveforms: Tensor, lengths: Tensor) -> Features:
        """Compute the statistics of each hidden state, chosen or not: (B, states, D), or (B, states, 2D); float32."""
        windows, counts = self.reader.split(waveforms, lengths)
        sums, frames = self._map_windows(windows, self._sum_layers)
        totals = torch.stack([torch.stack(some).sum(dim=0) for some in divide(sums, counts)])  # (B, L, powers, D)
        numbers = torch.tensor([sum(some) for some in divide(frames, counts)], device=totals.device)
        moments = totals / numbers[:, None, None, None]
        mean = moments[:, :, 0]  # (B, L, D)
        if self.powers == 1:
            return Features(mean.float(), repeat_full_length(mean))
        deviation = (moments[:, :, 1] - mean.square()).clamp(min=MIN_VARIANCE).sqrt()
        return Features(torch.cat([mean, deviation], dim=-1).float(), repeat_full_length(mean))

    def head(self, statistics: Tensor, lengths: Tensor | None = None) -> Encoding:
        """Map the statistics (B, states, D or 2D) of ``extract`` to embeddings (B, E), logits (B, classes)."""
        each = statistics[:, self.layers].unflatten(-1, (self.powers, -1))  # (B, L, powers, D)
        normalised = normalise_layer(each).flatten(-2)  # (B, L, powers D)
        return self._classify(self._weigh(normalised.unbind(dim=1)))

    def _weigh(self, layers: Sequence[Tensor]) -> Tensor:
        """Sum layers (..., D) by their learned weights."""
        weights = self.layer_weights.softmax(dim=0)
        return torch.stack([weight * layer for weight, layer in zip(weights, layers, strict=True)]).sum(dim=0)

    def _classify(self, pooled: Tensor) -> Encoding:
        embeddings = self.embed(pooled)
        return Encoding(embeddings, self.classify(self.dropout(embeddings)))

    def _attend(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Average each utterance's frames by attention: (B, D)."""
        assert self.attention is not None
        windows, counts = self.reader.split(waveforms, lengths)
        sequences, _ = self._map_windows(windows, self._mix_layers)
        values, frames = pad_sequences([torch.cat(some) for some in divide(sequences, counts)])  # (B, F, D), (B,)
        padding = ~build_length_mask(frames.to(values.device), values.shape[1])
        scores = self.attention(values).squeeze(-1).masked_fill(padding, -torch.inf)  # (B, F)
        return (scores.softmax(dim=1)[..., None] * values).sum(dim=1)

    def _map_windows(
        self, windows: Sequence[Tensor], function: Callable[[HiddenStates], Iterable[Tensor]]
    ) -> tuple[list[Tensor], list[int]]:
        """Encode windows (T_i,) and map their hidden states: a value and a number of frames for each, in order."""
        values: dict[int, Tensor] = {}
        frames: dict[int, int] = {}
        for group in self.reader.group(windows):
            with self._without_gradients_if_frozen():
                states = self.reader.encode(self.backbone, [windows[index] for index in group])
            values.update(zip(group, function(states), strict=True))
            frames.update(zip(group, states.frames.tolist(), strict=True))
        return [values[index] for index in range(len(windows))], [frames[index] for index in range(len(windows))]

    def _without_gradients_if_frozen(self) -> AbstractContextManager[Any]:
        return torch.no_grad() if self.is_frozen else nullcontext()

    def _sum_layers(self, states: HiddenStates) -> Iterable[Tensor]:
        """Sum frames over time: (layers, powers, D) of each window."""
        return torch.stack([sum_powers(layer, states.frames, self.powers) for layer in states.layers], dim=1).unbind()

    def _mix_layers(self, states: HiddenStates) -> list[Tensor]:
        """Sum normalised layers by their weights: (F_i, D) of each window's own frames."""
        mixed = self._weigh([normalise_layer(states.layers[layer]) for layer in self.layers])  # (B, F, D)
        return [one[:count] for one, count in zip(mixed, states.frames.tolist(), strict=True)]


def prepare_training(backbone: Any, num_unfrozen_layers: int | None, gradient_checkpointing: bool) -> None:
    """Freeze an encoder's first layers, and switch off what leaves out layers or frames in training."""
    freeze(backbone, num_unfrozen_layers, STAGE)
    backbone.config.layerdrop = 0.0
    backbone.config.apply_spec_augment = False
    backbone.layerdrop = 0.0  # Whisper's, which does not read its configuration again
    if gradient_checkpointing:
        enable_checkpointing(backbone, STAGE)


def build_attention(width: int, hidden: int) -> nn.Module:
    """Build v . tanh(U h + c): frames (..., width) to scores (..., 1)."""
    return nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))


def normalise_layer(values: Tensor) -> Tensor:
    """Standardise the last dimension, without learned parameters."""
    return nn.functional.layer_norm(values, values.shape[-1:])


def divide(items: list[Item], counts: Sequence[int]) -> list[list[Item]]:
    """Divide a sequence into consecutive pieces of these lengths."""
    ends = torch.tensor(counts).cumsum(dim=0).tolist()
    return [items[end - count : end] for end, count in zip(ends, counts, strict=True)]


def choose_layers(layers: Literal["all"] | Sequence[int], num_states: int) -> list[int]:
    """Return the indices of the hidden states to read, or raise MoodlineError."""
    if layers == "all":
        return list(range(num_states))
    for layer in layers:
        if not 0 <= layer < num_states:
            raise MoodlineError(
                f"audio_utterance.layers names layer {layer}, but the pretrained encoder has the layers 0 to "
                f"{num_states - 1}. Correct it, or write all.",
                code="recipe.unknown_layer",
            )
    if not layers or len(set(layers)) < len(layers):
        raise MoodlineError(
            f"audio_utterance.layers must name each layer once, and at least one, not {list(layers)}. Correct it, or "
            "write all.",
            code="recipe.repeated_layer",
        )
    return list(layers)
