import numpy as np
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from moodline.training.dataset import change_speed
from tests.rounding import rounding


@given(samples=st.integers(1, 400), speed=st.floats(0.5, 2.0))
@example(samples=400, speed=399 / 391)  # the last place is rounded onto the last sample
def test_it_is_linear_interpolation_at_the_new_speed(samples: int, speed: float) -> None:
    waveform = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    changed = change_speed(torch.from_numpy(waveform), speed)
    places = speed * np.arange(len(changed))
    # A place is off by its own rounding, which moves a value by as much of the difference to the next.
    allowed = rounding(4) * (1 + samples) * 2 * np.abs(waveform).max()
    np.testing.assert_allclose(changed.numpy(), np.interp(places, np.arange(samples), waveform), rtol=0, atol=allowed)
    assert changed.dtype == torch.float32
    assert abs(len(changed) - samples / speed) <= 1 / speed + 1


def test_a_tone_is_heard_higher_when_played_faster() -> None:
    rate, frequency, speed = 16000, 400.0, 1.25
    tone = torch.sin(2 * torch.pi * frequency * torch.arange(rate) / rate)
    faster = change_speed(tone, speed).numpy()
    spectrum = np.abs(np.fft.rfft(faster))
    loudest = spectrum.argmax() * rate / len(faster)
    assert abs(loudest - speed * frequency) < rate / len(faster)
    assert abs(len(faster) - rate / speed) <= 1
