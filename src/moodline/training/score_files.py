"""A run's scores, in its folder: evaluation writes them, and training removes those of a model that it replaces."""

from pathlib import Path

from moodline.corpora.recognition import WORDS

PREDICTIONS_FILE = "predictions.parquet"
RESULTS_FILE = "results.json"
REPORT_FILE = "report.html"
CAUSAL_FILE = "results-causal.json"
CURVES_FILE = "robustness.parquet"
CURVES_REPORT_FILE = "robustness.html"
ALL = (PREDICTIONS_FILE, RESULTS_FILE, REPORT_FILE, CAUSAL_FILE, CURVES_FILE, CURVES_REPORT_FILE)


def file_of(name: str, out: Path, words: str, usual_words: str) -> Path:
    """Where one of an evaluation's files is: of other words than the usual ones, under a name that tells them."""
    path = out / name
    return path if words == usual_words else path.with_stem(f"{path.stem}-{words}")


def forget_scores(folder: Path) -> list[str]:
    """Remove the scores of a run, on whichever words, and return the names of the files that were there."""
    paths = [path for name in ALL for path in (folder / name, *(file_of(name, folder, one, "") for one in WORDS))]
    there = [path for path in paths if path.is_file()]
    for path in there:
        path.unlink()
    return [path.name for path in there]
