"""How a reader is told of every part that the ledger has numbers of."""

from collections.abc import Mapping

from moodline.evaluation.scores import STAGES
from moodline.reproduction.baselines import BASELINE_NAMES

PART_NAMES: Mapping[str, str] = {**STAGES, **BASELINE_NAMES}
