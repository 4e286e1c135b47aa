"""Classical systems under the same folds, labels and scores as the paper's: what a reader holds its figures against."""

from collections.abc import Mapping, Sequence

from moodline.errors import MoodlineError
from moodline.reproduction.baselines.baseline import Baseline
from moodline.reproduction.baselines.egemaps import EGEMAPS
from moodline.reproduction.baselines.predictions import baseline_predictions
from moodline.reproduction.baselines.sentence_embeddings import SENTENCE_EMBEDDINGS
from moodline.reproduction.baselines.tf_idf import TF_IDF

__all__ = ["BASELINES", "BASELINE_NAMES", "Baseline", "baseline_predictions", "chosen_baselines"]

BASELINES: Mapping[str, Baseline] = {one.key: one for one in (EGEMAPS, TF_IDF, SENTENCE_EMBEDDINGS)}
# As a table shows them; beside ``STAGES`` they let ``score`` take their predictions.
BASELINE_NAMES: Mapping[str, str] = {key: baseline.name for key, baseline in BASELINES.items()}


def chosen_baselines(named: str | None) -> Sequence[Baseline]:
    """The baselines that a list of their keys with commas between names; None names all.

    Raises:
        MoodlineError: there is no such baseline
    """
    keys = list(BASELINES) if named is None else [key.strip() for key in named.split(",")]
    for key in keys:
        if key not in BASELINES:
            raise MoodlineError(f"the baselines are {', '.join(BASELINES)}: {key!r} is none of them")
    return [BASELINES[key] for key in dict.fromkeys(keys)]
