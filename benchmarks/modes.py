"""Compare each mode of one model in three modes with the fusion that was trained on that modality alone.

    .venv/bin/python benchmarks/modes.py --run RUN ... --audio RUN ... --text RUN ... --both RUN ...

Runs must be evaluated (`moodline evaluate`) on the same folds: --run with `fusion.modality_dropout`, --audio and --text
with `fusion.input_modalities`, --both with neither. Several runs with different seeds are averaged. Differences in UA
have 95 % intervals of a paired bootstrap over conversations.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from moodline.config import FUSION, SINGLE_MODALITY_FUSION
from moodline.evaluation.evaluate import PREDICTIONS_FILE
from moodline.experiments.comparisons import PartPredictions, average_seeds, collect_predictions, compare_parts
from moodline.io import read_json

STAGES = {"both": FUSION, **SINGLE_MODALITY_FUSION}


def collect_answers(runs: Sequence[Path], stage: str) -> list[PartPredictions]:
    """Collect a stage's predictions in each of these runs."""
    return [collect_predictions(read_predictions(run), stage, read_classes(run)) for run in runs]


def read_predictions(run: Path) -> pa.Table:
    return pq.read_table(run / PREDICTIONS_FILE)


def read_classes(run: Path) -> list[str]:
    return read_json(run / "run.json", "run")["label_set"]["classes"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, nargs="+", required=True, help="trained with modality dropout")
    for mode in STAGES:
        parser.add_argument(f"--{mode}", type=Path, nargs="+", help=f"trained on {mode} alone")
    options = parser.parse_args()
    print(f"{'mode':<6} {'UA':<22} {'trained on it alone':<22} difference")
    for mode, stage in STAGES.items():
        if runs := getattr(options, mode):
            one, single = collect_answers(options.run, stage), collect_answers(runs, FUSION)
            ua, alone = (average_seeds(side)["ua"] for side in (one, single))
            print(f"{mode:<6} {ua!s:<22} {alone!s:<22} {compare_parts(one, single).measures['ua']}")


if __name__ == "__main__":
    main()
