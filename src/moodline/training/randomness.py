"""All randomness of training is a function of seed, stage and epoch."""

import zlib

import numpy as np
import torch


def seed_of(*parts: object) -> int:
    """A seed of 32 bits from seed, stage, epoch and so on; the same on every machine."""
    return zlib.crc32(repr(parts).encode())


def generator_of(*parts: object) -> np.random.Generator:
    return np.random.default_rng(seed_of(*parts))


def seed_torch(*parts: object) -> None:
    """Fix what initialises weights and drops units out from here on."""
    torch.manual_seed(seed_of(*parts))
