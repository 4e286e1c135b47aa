"""How an emotion sounds: the means and the spread of its delivery, and how often a voice keeps it to itself.

The directions are those that Scherer sums up ("Vocal communication of emotion", Speech Communication 40, 2003):
anger and joy are faster, higher, louder and wider in range than neutral speech, sadness slower, lower, softer,
narrower and more halting.
"""

import math
import random
from collections.abc import Mapping

from moodline.corpora.demo.voice import Delivery

FLAT = 0.32  # share of turns whose voice tells nothing: they sound neutral, whatever is felt

MANNERS: Mapping[str, Delivery] = {
    "neu": Delivery(rate=1.00, pitch=0.0, range=0.80, loudness=0.0, pause=0.00),
    "ang": Delivery(rate=1.25, pitch=1.0, range=1.15, loudness=8.0, pause=0.00),
    "fru": Delivery(rate=1.10, pitch=0.5, range=1.00, loudness=5.0, pause=0.02),
    "hap": Delivery(rate=1.08, pitch=4.5, range=1.80, loudness=2.5, pause=0.00),
    "exc": Delivery(rate=1.18, pitch=5.5, range=1.98, loudness=4.0, pause=0.00),
    "sur": Delivery(rate=1.00, pitch=6.0, range=1.98, loudness=2.0, pause=0.01),
    "sad": Delivery(rate=0.75, pitch=-2.5, range=0.40, loudness=-7.0, pause=0.045),
}


def deliver(label: str, rng: random.Random) -> Delivery:
    """One turn's delivery, drawn around its label's manner (or, at times, around the neutral one)."""
    manner = MANNERS["neu" if rng.random() < FLAT else label]
    return Delivery(
        rate=manner.rate * math.exp(rng.gauss(0, 0.07)),
        pitch=manner.pitch + rng.gauss(0, 1.2),
        range=manner.range * math.exp(rng.gauss(0, 0.15)),
        loudness=manner.loudness + rng.gauss(0, 2.0),
        pause=max(0.0, manner.pause + rng.gauss(0, 0.015)),
    )
