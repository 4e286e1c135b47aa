"""Run pretrained speech encoders: from waveforms to the hidden states of all layers, padding without effect."""

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from moodline.device import WITHOUT_DOUBLE
from moodline.modeling.batching import build_length_mask, pad_sequences

SAMPLE_RATE = 16_000  # Hz, of nearly all encoders
WINDOW_SECONDS = 30  # the most that an encoder reads at once
PASS_SECONDS = 120  # of padded audio in one pass, at most: bounds the memory
MAX_PADDING = 1.25  # of a pass's longest window to its shortest, where masks hold
# Where a pass reads one window: the results within a layer for several exceed what malloc keeps for the next layer, and
# new memory costs more time than batches save.
UNBATCHED_DEVICES = frozenset({"cpu"})
NORMALISATION_EPSILON = 1e-7  # added to a waveform's variance, as transformers' Wav2Vec2FeatureExtractor does
# Families whose frames do not depend on padding behind a mask, but for group normalisation in the first convolution.
MASKED_FAMILIES = frozenset({"wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat"})
WAV2VEC2_BERT = "wav2vec2-bert"
WHISPER = "whisper"
FASTER_WHISPER = "faster-whisper"


class HiddenStates(NamedTuple):
    """Hold a batch's hidden states; frames beyond a window's own are arbitrary."""

    layers: Sequence[Tensor]  # (B, F, D) each: the first layer's input, then every layer's output
    frames: Tensor  # (B,)


class AudioReader:
    """Prepare waveforms for an encoder as its checkpoint's feature extractor does, and run the encoder.

    Args:
        config: the encoder's, from ``transformers``
        extractor: the checkpoint's feature extractor

    Attributes:
        sample_rate: of the waveforms, in Hz
        window: the most samples that are read at once
        shortest: the least number of samples with one frame
        num_states: number of hidden states: those of all layers, and the first layer's input
        width: of a hidden state
    """

    masks_hold = True
    settings: tuple[str, ...] = ()  # what hidden states depend on, beside the encoder and the extractor

    def __init__(self, config: Any, extractor: Any) -> None:
        self.extractor = extractor
        self.sample_rate: int = extractor.sampling_rate
        self.window = WINDOW_SECONDS * self.sample_rate
        self.shortest = 1
        self.num_states: int = config.num_hidden_layers + 1
        self.width: int = config.hidden_size

    def adapt(self, backbone: Any) -> None:
        """Change an encoder in place as ``encode`` needs it; its parameters keep their names."""

    def normalise(self, waveform: Tensor) -> Tensor:
        """Normalise an utterance's waveform (T,) over its own samples."""
        return waveform

    def encode(self, backbone: Any, windows: Sequence[Tensor]) -> HiddenStates:
        """Encode waveforms (T_i,) of ``shortest`` to ``window`` samples, of one length unless masks hold."""
        raise NotImplementedError

    def measure(self, samples: int) -> int:
        """Return the samples of a window that the encoder computes with."""
        return samples

    def split(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], list[int]]:
        """Split waveforms (B, T), lengths (B,) into windows (T_i,) of nearly equal length; count them by utterance."""
        windows: list[Tensor] = []
        counts: list[int] = []
        for waveform, length in zip(waveforms, lengths.tolist(), strict=True):
            pieces = self.normalise(waveform[:length]).tensor_split(max(1, math.ceil(length / self.window)))
            # An utterance that is too short is extended with silence.
            windows += [torch.nn.functional.pad(piece, (0, max(0, self.shortest - len(piece)))) for piece in pieces]
            counts.append(len(pieces))
        return windows, counts

    def group(self, windows: Sequence[Tensor]) -> list[list[int]]:
        """Group windows into passes of similar length, or of equal length unless masks hold; on a CPU, of one each."""
        if any(window.device.type in UNBATCHED_DEVICES for window in windows):
            return [[index] for index in range(len(windows))]
        sizes = [self.measure(len(window)) for window in windows]
        longer = MAX_PADDING if self.masks_hold else 1.0
        groups: list[list[int]] = []
        for index in sorted(range(len(sizes)), key=sizes.__getitem__):
            last, size = groups[-1] if groups else [], sizes[index]
            is_small = (len(last) + 1) * size <= PASS_SECONDS * self.sample_rate
            if last and is_small and size <= longer * sizes[last[0]]:
                last.append(index)
            else:
                groups.append([index])
        return groups


class GroupNormConvolutions(nn.Module):
    """Run an encoder's convolutions over waveforms of any length, in place of the ``feature_extractor`` of its family.

    Group normalisation, in the first layer alone, reads a whole waveform, so that layer reads each by itself. The
    others do not pad: their frames depend on no frame behind.
    """

    def __init__(self, conv_layers: nn.ModuleList) -> None:
        super().__init__()
        self.conv_layers = conv_layers

    def forward(self, waveforms: Iterable[Tensor]) -> Tensor:
        """Map waveforms (T_i,), or equally long ones (B, T), to frames (B, channels, F), arbitrary behind the data."""
        first, *others = self.conv_layers
        normalised = [first(waveform[None, None]) for waveform in waveforms]  # (1, channels, F_i)
        frames = normalised[0]
        if len(normalised) > 1:
            longest = max(one.shape[-1] for one in normalised)
            frames = torch.cat([nn.functional.pad(one, (0, longest - one.shape[-1])) for one in normalised])
        for layer in others:
            frames = layer(frames)
        return frames


class WaveformReader(AudioReader):
    """Run encoders that read waveforms by convolutions: wav2vec 2.0 and its successors."""

    def __init__(self, config: Any, extractor: Any) -> None:
        super().__init__(config, extractor)
        self.convolutions = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        # data2vec, SEW and conformers convolve across the end of the data, as a batch normalisation before the
        # positional convolution does.
        self.masks_hold = config.model_type in MASKED_FAMILIES and not getattr(config, "conv_pos_batch_norm", False)
        self.normalises_groups = self.masks_hold and config.feat_extract_norm == "group"
        self.shortest = getattr(config, "squeeze_factor", 1)  # frames, which SEW joins to one
        for kernel, stride in reversed(self.convolutions):
            self.shortest = (self.shortest - 1) * stride + kernel

    def adapt(self, backbone: Any) -> None:
        if self.normalises_groups:
            backbone.feature_extractor = GroupNormConvolutions(backbone.feature_extractor.conv_layers)

    def normalise(self, waveform: Tensor) -> Tensor:
        if not self.extractor.do_normalize or not len(waveform):
            return waveform
        variance, mean = torch.var_mean(waveform, correction=0)
        return (waveform - mean) / (variance + NORMALISATION_EPSILON).sqrt()

    def encode(self, backbone: Any, windows: Sequence[Tensor]) -> HiddenStates:
        batch, lengths = pad_sequences(windows)  # (B, T), (B,)
        lengths, mask = lengths.to(batch.device), None
        if self.masks_hold:
            mask = build_length_mask(lengths, batch.shape[1]).long()
        inputs = windows if self.normalises_groups else batch
        with warnings.catch_warnings(action="ignore"):  # PyTorch's about the two kinds of mask within WavLM
            layers = backbone(inputs, attention_mask=mask, output_hidden_states=True).hidden_states
        if mask is None:  # SEW has fewer frames than its convolutions give
            return HiddenStates(layers, torch.full_like(lengths, layers[0].shape[1]))
        return HiddenStates(layers, self.count_frames(lengths))

    def count_frames(self, samples: Tensor) -> Tensor:
        """Return the number of frames of waveforms with so many samples (B,)."""
        for kernel, stride in self.convolutions:
            samples = (samples - kernel) // stride + 1
        return samples


class Wav2Vec2BertReader(AudioReader):
    """Run Wav2Vec2-BERT, whose extractor computes mel energies, standardised over a window, two frames joined."""

    def __init__(self, config: Any, extractor: Any) -> None:
        super().__init__(config, extractor)
        self.shortest = len(extractor.window) + FBANK_STRIDE * (extractor.stride - 1)

    def encode(self, backbone: Any, windows: Sequence[Tensor]) -> HiddenStates:
        read = self.extractor(
            [window.cpu().numpy() for window in windows],
            sampling_rate=self.sample_rate,
            padding=True,
            return_tensors="pt",
        )
        features = read["input_features"].to(windows[0].device, torch.float32)  # (B, F, joined mel energies)
        mask = read["attention_mask"].to(features.device)  # (B, F)
        layers = backbone(features, attention_mask=mask, output_hidden_states=True).hidden_states
        return HiddenStates(layers, mask.sum(dim=1))


FBANK_STRIDE = 160  # samples, fixed in the extractor's code


class WhisperReader(AudioReader):
    """Run Whisper's encoder, which reads the log-mel spectrogram of 30 s, silence after shorter windows."""

    def __init__(self, config: Any, extractor: Any) -> None:
        super().__init__(config, extractor)
        self.window = extractor.n_samples
        self.stride = 2 * extractor.hop_length  # the second convolution halves the frames

    def measure(self, samples: int) -> int:
        return self.window

    def compute_features(self, windows: Sequence[Tensor]) -> Tensor:
        """Compute the log-mel spectrograms (B, mel filters, frames) on the CPU."""
        waveforms = [window.cpu().numpy() for window in windows]
        return self.extractor(waveforms, sampling_rate=self.sample_rate, return_tensors="pt")["input_features"]

    def count_frames(self, windows: Sequence[Tensor]) -> Tensor:
        return torch.tensor([math.ceil(len(window) / self.stride) for window in windows], device=windows[0].device)

    def encode(self, backbone: Any, windows: Sequence[Tensor]) -> HiddenStates:
        features = self.compute_features(windows).to(windows[0].device)
        return HiddenStates(backbone(features, output_hidden_states=True).hidden_states, self.count_frames(windows))


class FasterWhisperReader(WhisperReader):
    """Run Whisper's encoder by CTranslate2, which reads spectrograms of any length.

    A window is followed by one to two seconds of silence, up to whole seconds, instead of silence up to 30 s: most
    utterances are short, and a layer's attention costs the square of what it reads.
    """

    masks_hold = False
    settings = ("silence to whole seconds",)

    def measure(self, samples: int) -> int:
        return min((math.ceil(samples / self.sample_rate) + 1) * self.sample_rate, self.window)

    def compute_features(self, windows: Sequence[Tensor]) -> Tensor:
        frames = self.measure(max(map(len, windows))) // self.extractor.hop_length
        return super().compute_features(windows)[..., :frames]


READERS: dict[str, type[AudioReader]] = {
    WAV2VEC2_BERT: Wav2Vec2BertReader,
    WHISPER: WhisperReader,
    FASTER_WHISPER: FasterWhisperReader,
}


def build_reader(backbone: Any, extractor: Any) -> AudioReader:
    """Build the reader of an encoder's family, and adapt the encoder to it."""
    reader = READERS.get(backbone.config.model_type, WaveformReader)(backbone.config, extractor)
    reader.adapt(backbone)
    return reader


def sum_powers(values: Tensor, frames: Tensor, powers: int) -> Tensor:
    """Sum frames (B, F, D), and their squares if ``powers`` is 2, over each window's own: (B, powers, D)."""
    precise = torch.float32 if values.device.type in WITHOUT_DOUBLE else torch.float64
    own = values.to(precise).masked_fill(~build_length_mask(frames, values.shape[1])[..., None], 0.0)
    return torch.stack([own.pow(power).sum(dim=1) for power in range(1, powers + 1)], dim=1)
