"""Where a fold keeps what its training makes."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moodline.checkpoint import CONFIG_FILE
from moodline.training.stage import LOGGERS


@dataclass(frozen=True)
class FoldFiles:
    """The files of one fold, in its folder:

    model/                  the model folder, complete when its config.json is there
    stages/<stage>.json     written last: the stage is finished, what it was made from, how its epochs went, and the
                            most memory that the process had held by then
    stages/<stage>.pt       Lightning's state of a stage that is not finished; loaded as weights only
    embeddings/             what the finished stages give, for the next ones
    logs/                   TensorBoard and CSV
    """

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def record(self, stage: str) -> Path:
        return self.folder / "stages" / f"{stage}.json"

    def origin(self, stage: str) -> Path:
        """What an unfinished stage is made from."""
        return self.folder / "stages" / f"{stage}.unfinished.json"

    def state(self, stage: str) -> Path:
        return self.folder / "stages" / f"{stage}.pt"

    def embeddings(self, stage: str) -> Path:
        return self.folder / "embeddings" / f"{stage}.parquet"

    def forget_unfinished(self, stage: str) -> None:
        """Remove what the stage could go on from."""
        # The state before the origin: a state without the origin it belongs to would be taken up by another.
        for file in (self.state(stage), self.origin(stage)):
            file.unlink(missing_ok=True)

    def forget(self, stages: Sequence[str]) -> None:
        """Remove what tells of these stages: they are to be trained again."""
        if stages:
            # The model first: without its description it is none, and a half-changed one must not pass for whole.
            (self.model / CONFIG_FILE).unlink(missing_ok=True)
        for stage in stages:
            self.record(stage).unlink(missing_ok=True)
            self.forget_unfinished(stage)
            # Loggers add to what is there: two trainings' curves would be drawn as one.
            for logger in LOGGERS:
                shutil.rmtree(self.logs / logger / stage, ignore_errors=True)
