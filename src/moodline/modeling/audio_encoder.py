"""The audio utterance encoder (paper, section 2.1): a front-end, the CNN of the released code and an average."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moodline.modeling.batching import Encoding, build_length_mask, compute_masked_mean, repeat_full_length
from moodline.modeling.frontend import FrontEnd

CHANNELS = (32, 32, 64, 64, 128, 100)
KERNEL = 3
POOL = 2
EPSILON = 1e-5  # of batch normalisation
MIN_RMS = 1e-8  # of a waveform that is scaled; a quieter one is silence
MIN_VARIANCE = 1e-3  # of a channel that is standardised; keeps rounding errors of a constant one small


class LeafCnn(nn.Module):
    """Encode utterances; padding never changes a result.

    Pairs of 3x3 convolutions without padding, each with batch normalisation and ReLU, and 2x2 average pooling after
    each pair shrink the frequency rows to one; the mean over time gives the embedding by a linear layer, and the
    classes by another. Utterances that are too short for the convolutions are extended with silence.

    Args:
        dropout: on the embedding before the classes
        waveform_normalisation: scale each waveform to a root mean square of one
        channel_normalisation: standardise each row of features over the utterance's frames
        mask_channels, mask_frames: maximal widths of two masks in each direction in training (SpecAugment without
            warping: Park et al., Interspeech 2019)
        shift_channels: maximal shift of the rows in training, as by another length of the vocal tract (after Jaitly and
            Hinton, "Vocal tract length perturbation", ICML workshop 2013)

    Raises:
        ValueError: the convolutions do not shrink the front-end's filters to one row
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
            raise ValueError(f"channels must be an even number of convolutions, received {len(channels)}")
        pairs = zip((1, *channels[1:-1:2]), channels[::2], channels[1::2], strict=True)
        self.pairs = nn.ModuleList(ConvolutionPair(*pair) for pair in pairs)
        rows, self.min_frames = front_end.filters, 1
        for _ in self.pairs:
            rows = (rows - 2 * (KERNEL - 1)) // POOL
            self.min_frames = self.min_frames * POOL + 2 * (KERNEL - 1)
        if rows != 1:
            raise ValueError(
                f"{len(channels)} convolutions shrink {self.min_frames} filters or a few more to one row, "
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

    @property
    def sample_rate(self) -> int:
        """The sample rate of the waveforms in Hz."""
        return self.front_end.sample_rate

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Encoding:
        """Map waveforms (B, T), lengths (B,) in samples to embeddings (B, E), logits (B, classes)."""
        if lengths is None:
            lengths = repeat_full_length(waveforms)
        waveforms = waveforms.masked_fill(~build_length_mask(lengths, waveforms.shape[1]), 0.0)
        if self.waveform_normalisation:
            waveforms = scale_to_unit_rms(waveforms, lengths)
        shortest = self.front_end.count_min_samples(self.min_frames)
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


class ConvolutionPair(nn.Module):
    """Apply two convolutions without padding, each with batch normalisation and ReLU, and average pooling."""

    def __init__(self, before: int, between: int, after: int) -> None:
        super().__init__()
        # Without bias, which the normalisation has.
        self.first = nn.Conv2d(before, between, KERNEL, bias=False)
        self.first_norm = MaskedBatchNorm(between)
        self.second = nn.Conv2d(between, after, KERNEL, bias=False)
        self.second_norm = MaskedBatchNorm(after)
        self.pool = nn.AvgPool2d(POOL)

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map values (B, C, H, F), lengths (B,) in frames to the remaining ones."""
        for convolve, normalise in ((self.first, self.first_norm), (self.second, self.second_norm)):
            lengths = lengths - (KERNEL - 1)
            values = normalise(convolve(values), lengths).relu()
        return self.pool(values), lengths // POOL


class MaskedBatchNorm(nn.Module):
    """Apply batch normalisation (Ioffe and Szegedy, 2015) with statistics that exclude padding."""

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_variance", torch.ones(channels))
        self.momentum = 0.1

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Map values (B, C, H, F), lengths (B,) in frames to (B, C, H, F)."""
        mean, variance = self.running_mean, self.running_variance
        if self.training:
            mean, variance = self._update_statistics(values.to(self.weight.dtype), lengths)
        gain = self.weight * torch.rsqrt(variance + EPSILON)
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
    """Scale waveforms (B, T), zero beyond their lengths, to a root mean square of one; silence remains silence."""
    power = waveforms.square().sum(dim=1) / lengths.clamp(min=1)
    return waveforms / power.sqrt().clamp(min=MIN_RMS)[:, None]


def standardise(features: Tensor, lengths: Tensor) -> Tensor:
    """Standardise each row of features (B, C, F) over its utterance's frames; later frames become zero."""
    padding = ~build_length_mask(lengths, features.shape[-1])[:, None]
    counts = lengths[:, None, None]
    mean = features.masked_fill(padding, 0.0).sum(dim=-1, keepdim=True) / counts
    deviations = (features - mean).masked_fill(padding, 0.0)
    variance = deviations.square().sum(dim=-1, keepdim=True) / counts
    return deviations * torch.rsqrt(variance + MIN_VARIANCE)


def shift_rows(features: Tensor, most: int) -> Tensor:
    """Move each utterance's rows (B, C, F) by -most to most places at random, repeating the outermost row."""
    count, channels, frames = features.shape
    shifts = torch.randint(-most, most + 1, (count, 1), device=features.device)
    rows = (torch.arange(channels, device=features.device) - shifts).clamp(0, channels - 1)  # (B, C)
    return features.gather(1, rows[:, :, None].expand(-1, -1, frames))


def mask_stripes(features: Tensor, lengths: Tensor, most_channels: int, most_frames: int) -> Tensor:
    """Set two random stripes of channels and two of frames of each utterance (B, C, F) to zero."""
    _, channels, frames = features.shape
    for _ in range(2):
        rows = draw_stripe(torch.full_like(lengths, channels), most_channels, channels)
        columns = draw_stripe(lengths, most_frames, frames)
        features = features.masked_fill(rows[:, :, None] | columns[:, None, :], 0.0)
    return features


def draw_stripe(sizes: Tensor, most: int, extent: int) -> Tensor:
    """Draw a stripe of 0 to ``most`` places within each of sizes (B,): True there, (B, extent)."""
    widths = (torch.rand(len(sizes), device=sizes.device) * (sizes.clamp(max=most) + 1)).long()
    starts = (torch.rand(len(sizes), device=sizes.device) * (sizes - widths + 1)).long()
    places = torch.arange(extent, device=sizes.device)
    return (places >= starts[:, None]) & (places < (starts + widths)[:, None])
