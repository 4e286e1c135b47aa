"""Rules for the values of a recipe's keys."""

import math
from dataclasses import asdict
from operator import attrgetter
from typing import Any

from moodline.errors import MoodlineError
from moodline.io import flatten_keys

# Keys of any section whose numbers need not be greater than 0, and those with a value below 1.
NON_NEGATIVE_KEYS = frozenset(
    {"seed", "weight_decay", "max_grad_norm", "frontend_lr_scale", "num_unfrozen_layers", "crossfit"}
    | {"mask_channels", "mask_frames", "shift_channels", "context_words"}
)
NULLABLE_KEYS = frozenset({"num_unfrozen_layers", "revision"})
FRACTION_KEYS = frozenset(
    {"ema_decay", "label_smoothing", "dropout", "output_dropout", "modality_dropout", "speed_change"}
)


def require_ranges(recipe: Any) -> None:
    """Refuse null and numbers out of range; the rules are the same for a key of several sections."""
    for key, value in flatten_keys(asdict(recipe)).items():
        name = key.rpartition(".")[2]
        if value is None and name not in NULLABLE_KEYS:
            raise MoodlineError(f"{key} must have a value, not null; give it one or leave it out", code="recipe.null")
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if name in FRACTION_KEYS:
            require(recipe, key, 0 <= value < 1, "at least 0 and less than 1")
        elif name in NON_NEGATIVE_KEYS:
            require(recipe, key, value >= 0, "0 or greater")
        else:
            require(recipe, key, value > 0, "greater than 0")
        require(recipe, key, math.isfinite(value), "a finite number")


def require(recipe: Any, keys: str, rule: bool, meaning: str) -> None:
    """Refuse the values of one or more keys unless the rule holds."""
    if not rule:
        values = ", ".join(repr(attrgetter(key)(recipe)) for key in keys.split(", "))
        raise MoodlineError(
            f"{keys} must be {meaning}, not {values}; correct it in the recipe or in the command",
            code="recipe.bad_value",
        )
