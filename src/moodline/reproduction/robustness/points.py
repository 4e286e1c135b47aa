"""The curves, and the points that they are drawn through."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from moodline.config import AUDIO_CONTEXT, AUDIO_UTTERANCE, FUSION, TEXT_CONTEXT, TEXT_UTTERANCE

INTERPOLATED, DRAWN, BABBLE, TELEPHONE = "interpolated", "drawn", "babble", "telephone"
# Whose input a curve alters, the parts of a system that this reaches, and how a reader is told of the curve.
ENCODER: Mapping[str, str] = {
    INTERPOLATED: TEXT_UTTERANCE,
    DRAWN: TEXT_UTTERANCE,
    BABBLE: AUDIO_UTTERANCE,
    TELEPHONE: AUDIO_UTTERANCE,
}
PARTS: Mapping[str, tuple[str, ...]] = {
    TEXT_UTTERANCE: (TEXT_CONTEXT, FUSION),
    AUDIO_UTTERANCE: (AUDIO_CONTEXT, FUSION),
}
NAMES: Mapping[str, str] = {
    INTERPOLATED: "Recognised words in a share of the utterances",
    DRAWN: "Words with errors drawn from the recogniser's confusions",
    BABBLE: "Speech in babble",
    TELEPHONE: "Speech in babble, through a telephone band",
}
CLEAN = math.inf  # dB: no babble
SHARES = tuple(tenth / 10 for tenth in range(11))
ERROR_RATES = tuple(tenth / 10 for tenth in range(8))
RATIOS = (20.0, 15.0, 10.0, 5.0, 0.0, -5.0)


@dataclass(frozen=True)
class Point:
    """A place on a curve.

    Attributes:
        x: of ``interpolated`` the share of utterances with recognised words, of ``drawn`` the WER that is aimed at, of
            ``babble`` and ``telephone`` the SNR in dB, CLEAN without babble
    """

    curve: str
    x: float

    @property
    def name(self) -> str:
        return f"{self.curve}{self.x:+g}"


def points_of_words() -> list[Point]:
    return [*(Point(INTERPOLATED, share) for share in SHARES), *(Point(DRAWN, rate) for rate in ERROR_RATES)]


def points_of_speech(*, with_babble: bool) -> list[Point]:
    ratios = (CLEAN, *RATIOS) if with_babble else (CLEAN,)
    return [Point(curve, ratio) for curve in (BABBLE, TELEPHONE) for ratio in ratios]


def clean_point(curve: str) -> Point:
    """What the points of a curve are compared with: nothing is altered."""
    return Point(BABBLE, CLEAN) if ENCODER[curve] == AUDIO_UTTERANCE else Point(curve, 0.0)
