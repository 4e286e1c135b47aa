"""The audio utterance encoder: a front-end's features, a CNN over them and an average over time.

Part one of the system of Dutta and Ganapathy, ICASSP 2022; the CNN is that of their released code, the linear layer
that gives the embedding is the paper's. Its front-end is LEAF; log-mel in its place shows what LEAF is worth.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moodline.modeling.batching import Encoding, build_length_mask, compute_masked_mean, repeat_full_length
from moodline.modeling.frontend import FrontEnd

CHANNELS = (32, 32, 64, 64, 128, 100)
KERNEL = 3
POOL = 2
MIN_RMS = 1e-8  # of a waveform that is scaled; what is quieter is silence
MIN_VARIANCE = 1e-3  # of a channel that is standardised: one that hardly moves is not blown up to its rounding errors


class LeafCnn(nn.Module):
    """Encodes utterances, each by itself: padding never changes a result.

    Six 3x3 convolutions without padding, each with batch normalisation and ReLU, 2x2 average pooling after each pair:
    the frequency rows shrink to one. The mean over time goes through a linear layer, which gives the embedding, and
    from there through another one to the classes. Utterances too short for the convolutions are lengthened by
    silence to the shortest that is not.

    Args:
        front_end: gives the features, one row a filter.
        classes: number of emotions.
        embedding: size of an utterance's embedding.
        channels: of the convolutions, an even number of them.
        dropout: on the embedding before the classes, in training.
        waveform_normalisation: scale each waveform to a root mean square of one.
        channel_normalisation: standardise each row of features over the utterance's frames.
        mask_channels, mask_frames: the most that each of two masks over the features covers in either direction, in
            training (SpecAugment, Park et al., Interspeech 2019, without warping); none at 0.
        shift_channels: the most that the features move up or down by in training, as they would with a shorter or a
            longer vocal tract (after Jaitly and Hinton, "Vocal tract length perturbation", ICML workshop 2013).

    Raises:
        ValueError: where the convolutions do not shrink the front-end's filters to one row.
    """

    def __init__(
        self,
        *,
        front_end: FrontEnd,
        classes: int,
        embedding: int = 100,
        channels: Sequence[int] = CHANNELS,
        dropout: float = 0.0,
        waveform_normalisation: bool = False,
        channel_normalisation: bool = False,
        mask_channels: int = 0,
        mask_frames: int = 0,
        shift_channels: int = 0,
    ) -> None:
        super().__init__()
        if len(channels) % 2 or not channels:
            raise ValueError(f"the convolutions come in pairs, received {len(channels)} numbers of channels")
        pairs = zip((1, *channels[1:-1:2]), channels[::2], channels[1::2], strict=True)
        self.pairs = nn.ModuleList(ConvolutionPair(*pair) for pair in pairs)
        rows = self._count_outputs(front_end.filters)
        if rows != 1:
            raise ValueError(
                f"{len(channels)} convolutions shrink {self._count_min_frames()} filters or a few more to one row, "
                f"but {front_end.filters} filters to {max(rows, 0)}"
            )
        self.front_end = front_end
        self.embedding = nn.Linear(channels[-1], embedding)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(embedding, classes)
        self.waveform_normalisation = waveform_normalisation
        self.channel_normalisation = channel_normalisation
        self.mask_channels = mask_channels
        self.mask_frames = mask_frames
        self.shift_channels = shift_channels

    def project(self) -> None:
        """Bring the front-end's parameters back into their ranges; to be called after each optimiser step."""
        self.front_end.project()

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Encoding:
        """Waveforms (B, T), lengths (B,) in samples -> embeddings (B, E), logits (B, classes)."""
        if lengths is None:
            lengths = repeat_full_length(waveforms)
        waveforms = waveforms.masked_fill(~build_length_mask(lengths, waveforms.shape[1]), 0.0)
        if self.waveform_normalisation:
            waveforms = scale_to_unit_rms(waveforms, lengths)
        shortest = self.front_end.count_min_samples(self._count_min_frames())
        waveforms = nn.functional.pad(waveforms, (0, max(0, shortest - waveforms.shape[1])))
        features, steps = self.front_end(waveforms, lengths.clamp(min=shortest))
        if self.channel_normalisation:
            features = standardise(features, steps)
        if self.training and self.shift_channels:
            features = shift_rows(features, self.shift_channels)
        if self.training and (self.mask_channels or self.mask_frames):
            features = mask_stripes(features, steps, self.mask_channels, self.mask_frames)
        values = features[:, None]  # (B, filters, F) -> (B, 1, filters, F)
        for pair in self.pairs:
            values, steps = pair(values, steps)
        mean = compute_masked_mean(values.flatten(1, 2).mT, steps)  # (B, C, 1, F') -> (B, F', C) -> (B, C)
        embeddings = self.embedding(mean)
        return Encoding(embeddings, self.classifier(self.dropout(embeddings)))

    def _count_outputs(self, size: int) -> int:
        """What the convolutions leave of so many rows or frames."""
        for _ in self.pairs:
            size = (size - 2 * (KERNEL - 1)) // POOL
        return size

    def _count_min_frames(self) -> int:
        """The fewest frames of which the convolutions leave one."""
        size = 1
        for _ in self.pairs:
            size = size * POOL + 2 * (KERNEL - 1)
        return size


class ConvolutionPair(nn.Module):
    """Two convolutions without padding, each with batch normalisation and ReLU, and average pooling.

    Without padding a valid output sees valid frames alone, so that only batch normalisation need know the lengths.
    """

    def __init__(self, before: int, between: int, after: int) -> None:
        super().__init__()
        # The normalisation that follows has its own bias.
        self.first = nn.Conv2d(before, between, KERNEL, bias=False)
        self.first_norm = MaskedBatchNorm(between)
        self.second = nn.Conv2d(between, after, KERNEL, bias=False)
        self.second_norm = MaskedBatchNorm(after)
        self.pool = nn.AvgPool2d(POOL)

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Values (B, C, H, F), lengths (B,) in frames -> the same of what is left."""
        lengths = lengths - (KERNEL - 1)
        values = self.first_norm(self.first(values), lengths).relu()
        lengths = lengths - (KERNEL - 1)
        values = self.second_norm(self.second(values), lengths).relu()
        return self.pool(values), lengths // POOL


class MaskedBatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy, 2015) whose statistics leave out the padding."""

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, channels: int, *, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_variance", torch.ones(channels))
        self.momentum = momentum
        self.epsilon = epsilon

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Values (B, C, H, F), lengths (B,) in frames -> (B, C, H, F)."""
        if self.training:
            mean, variance = self._update_statistics(values.to(self.weight.dtype), lengths)
        else:
            mean, variance = self.running_mean, self.running_variance
        gain = self.weight * torch.rsqrt(variance + self.epsilon)
        offset = self.bias - mean * gain
        return torch.addcmul(offset[:, None, None], values, gain[:, None, None])

    def _update_statistics(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        padding = ~build_length_mask(lengths, values.shape[-1])[:, None, None]  # (B, 1, 1, F)
        count = lengths.sum() * values.shape[2]
        mean = values.masked_fill(padding, 0.0).sum(dim=(0, 2, 3)) / count
        deviations = (values - mean[:, None, None]).masked_fill(padding, 0.0)
        variance = deviations.square().sum(dim=(0, 2, 3)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_variance.lerp_(variance * count / (count - 1), self.momentum)
        return mean, variance


def scale_to_unit_rms(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Each waveform (T,) of (B, T), zero beyond its length, over its own root mean square; silence stays silence."""
    power = waveforms.square().sum(dim=1) / lengths.clamp(min=1)
    return waveforms / power.sqrt().clamp(min=MIN_RMS)[:, None]


def standardise(features: Tensor, lengths: Tensor) -> Tensor:
    """Each row of features (B, C, F) to zero mean and unit variance over its utterance's frames; zero beyond them."""
    mask = build_length_mask(lengths, features.shape[-1])[:, None]
    counts = lengths[:, None, None]
    mean = features.masked_fill(~mask, 0.0).sum(dim=-1, keepdim=True) / counts
    deviations = (features - mean).masked_fill(~mask, 0.0)
    variance = deviations.square().sum(dim=-1, keepdim=True) / counts
    return deviations * torch.rsqrt(variance + MIN_VARIANCE)


def shift_rows(features: Tensor, most: int) -> Tensor:
    """The rows of each utterance (B, C, F) moved by -most to most places; the outermost row fills what is left free."""
    count, channels, frames = features.shape
    shifts = torch.randint(-most, most + 1, (count, 1), device=features.device)
    rows = (torch.arange(channels, device=features.device) - shifts).clamp(0, channels - 1)  # (B, C)
    return features.gather(1, rows[:, :, None].expand(-1, -1, frames))


def mask_stripes(features: Tensor, lengths: Tensor, most_channels: int, most_frames: int) -> Tensor:
    """Two random stripes of channels and two of frames of each utterance (B, C, F) set to zero."""
    _, channels, frames = features.shape
    for _ in range(2):
        rows = draw_stripe(torch.full_like(lengths, channels), most_channels, channels)
        columns = draw_stripe(lengths, most_frames, frames)
        features = features.masked_fill(rows[:, :, None] | columns[:, None, :], 0.0)
    return features


def draw_stripe(sizes: Tensor, most: int, extent: int) -> Tensor:
    """A stripe of 0 to ``most`` places within each of sizes (B,): True there -> (B, extent)."""
    widths = (torch.rand(len(sizes), device=sizes.device) * (sizes.clamp(max=most) + 1)).long()
    starts = (torch.rand(len(sizes), device=sizes.device) * (sizes - widths + 1)).long()
    places = torch.arange(extent, device=sizes.device)
    return (places >= starts[:, None]) & (places < (starts + widths)[:, None])
