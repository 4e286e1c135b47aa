"""Train the starter's models, and measure them on corpora that they have never seen.

    .venv/bin/python -m starter.train -o starter-build

Three trainings leave out a corpus of dialogues and a corpus of voices each, and are tested on those dialogues, spoken
by those voices: their scores are the card's. The model is then trained on all, and written to
starter/src/moodline_starter with its card. The same command resumes. It takes less than an hour on one core.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from sklearn.isotonic import IsotonicRegression

import moodline
from moodline.config import FUSION
from moodline.conversation import IEMOCAP4
from moodline.corpora.corpus import read_corpus, write_corpus
from moodline.corpora.protocols import build_folds
from moodline.corpora.table import read as read_table
from moodline.experiments.baselines import score_baselines, select_baselines
from moodline.io import FEATURES_FOLDER, open_replacement_folder, read_json, write_text
from moodline.modeling.checkpoint import load_model, save_model
from moodline.recipe import parse_recipe, read_recipe
from moodline.starter import STARTER
from starter.compose import LeftOut, compose, write_takes

HERE = Path(__file__).parent
PROTOCOL = "official"
LEFT_OUT = (LeftOut("meld", "ravdess"), LeftOut("emorynlp", "emodb"), LeftOut("topical-chat", "nemo"))
LICENCE = "CC-BY-NC-SA-4.0"
# Rows of the card: a name, and the stage of a run's scores.
ROWS = {
    "speech of one turn": "audio_utterance",
    "speech in context": "fusion_audio",
    "words of one turn": "text_utterance",
    "words in context": "fusion_text",
    "both": FUSION,
}
WORST_ACCURACY = 0.5  # of an answer: turns of a lower one are uncertain
SHARES = (1.0, 0.8, 0.6, 0.4)  # of the turns that are answered
LIMITS = """\
## What it is bad at, and not for

- Its voices are actors who speak given sentences in a given emotion, in English, Polish and German, in quiet rooms.
  People who talk show less, and what they show is mixed.
- Its words are English: scripts of television, subtitles, comments and chats. Irony, quoted speech and other languages
  mislead it.
- Speech and words of its training agree in emotion and not in content, since actors voice other people's dialogues.
- Four classes. Fear, surprise, disgust and all else that people feel get one of the four.
- Single turns say little about a person. Do not use it to decide about people: not about work, credit, health, school,
  insurance or the law. The EU's AI Act forbids emotion recognition at work and in education.

## Data and licence

Speech: RAVDESS (Livingstone & Russo, PLoS ONE 2018) and nEMO (Christop, LREC-COLING 2024), both CC BY-NC-SA 4.0, so
these weights are CC BY-NC-SA 4.0; EmoDB (Burkhardt et al., Interspeech 2005), CC0-1.0. Words: MELD (Poria et al.,
ACL 2019), GPL-3.0; EmoryNLP (Zahiri & Choi, 2018), Apache-2.0; Topical-Chat (Gopalakrishnan et al., Interspeech 2019),
CDLA-Sharing-1.0; XED (Öhman et al., COLING 2020) and GoEmotions (Demszky et al., ACL 2020), CC BY 4.0. The encoders
stay in their own packages: Whisper tiny.en (MIT) and all-MiniLM-L6-v2 (Apache-2.0).
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of takes, corpora and runs")
    parser.add_argument(
        "--corpora", type=Path, default=Path(os.environ.get("MOODLINE_SHARED", "../shared")) / "corpora"
    )
    options = parser.parse_args()
    if not options.corpora.is_dir():
        raise SystemExit(
            f"{options.corpora} is not a folder: --corpora names the one with meld, ravdess and the others"
        )
    console = Console()
    takes = write_takes(options.output / "takes", options.corpora)
    runs = {
        without: train(options.output, prepare(options.output, takes, options.corpora, without), console)
        for without in (*LEFT_OUT, None)
    }
    scored = {without: score(runs[without], options.output, without) for without in LEFT_OUT}
    threshold = find_threshold([pq.read_table(runs[one] / "predictions.parquet") for one in LEFT_OUT])
    write_starter(runs[None], scored, threshold)


def prepare(output: Path, takes: Mapping[Path, Sequence[Path]], corpora: Path, without: LeftOut | None) -> Path:
    """Compose a corpus, unless it is there; all corpora share the features of frozen encoders."""
    name = str(without or "all")
    folder, table = output / "corpora" / name, output / "tables" / f"{name}.csv"
    if not (folder / "corpus.json").is_file():
        compose(table, takes, corpora, without)
        write_corpus(read_table(table), folder)
    if not (folder / FEATURES_FOLDER).exists():
        (output / FEATURES_FOLDER).mkdir(exist_ok=True)
        (folder / FEATURES_FOLDER).symlink_to((output / FEATURES_FOLDER).resolve())
    return folder


def train(output: Path, corpus: Path, console: Console) -> Path:
    run = output / "runs" / corpus.name
    console.print(f"[bold]{corpus.name}[/bold]")
    moodline.train(corpus, run, recipe=HERE / "recipe.yaml", protocol=PROTOCOL, licence=LICENCE, console=console)
    return run


def score(run: Path, output: Path, without: LeftOut) -> dict[str, Any]:
    """Score a run and the words' baseline on what it left out."""
    results = run / "results.json"
    if not results.is_file():
        moodline.evaluate(run)
    out = output / "baselines" / str(without)
    if not (out / "results.json").is_file():
        corpus = read_corpus(output / "corpora" / str(without))
        content, origin = read_recipe(str(HERE / "recipe.yaml"))
        recipe, folds = parse_recipe(content, str(origin)), build_folds(corpus, PROTOCOL)
        score_baselines(
            corpus, select_baselines("tf_idf"), recipe, origin.stem, folds, 1, output / FEATURES_FOLDER, out
        )
    baseline = find_scores(read_json(out / "results.json", "results"), "tf_idf")
    return {**read_json(results, "results"), "baseline": baseline["pooled"]}


def find_threshold(predictions: Sequence[pa.Table]) -> float:
    """Find the probability from which on an answer is right at least in one of two cases, on unseen corpora.

    The probability of being right is fitted to the label's probability as a function that never falls.
    """
    classes = IEMOCAP4.classes
    table = pa.concat_tables(predictions)
    table = table.filter(pa.compute.equal(table["stage"], FUSION))
    probabilities = np.stack([table[f"p_{name}"].to_numpy() for name in classes], axis=1)
    right = np.array(classes)[probabilities.argmax(axis=1)] == np.array(table["label"].to_pylist())
    grid = np.linspace(0, 1, 101)
    fitted = IsotonicRegression(out_of_bounds="clip").fit(probabilities.max(axis=1), right.astype(float))
    return float(grid[fitted.predict(grid) >= WORST_ACCURACY][0])


def write_starter(run: Path, scored: Mapping[LeftOut, Mapping[str, Any]], threshold: float) -> None:
    """Write the model without the encoders that wheels ship, and its card."""
    trained = replace(load_model(run / f"fold-{PROTOCOL}" / "model"), threshold=threshold)
    with open_replacement_folder(HERE / "src" / "moodline_starter" / STARTER) as folder:
        save_model(folder, trained, STARTER, copy_encoders=False)
        card = folder / "README.md"
        write_text(card, f"{card.read_text(encoding='utf-8')}\n{describe_scores(scored, threshold)}")


def describe_scores(scored: Mapping[LeftOut, Mapping[str, Any]], threshold: float) -> str:
    """Describe how good the model is on corpora that it has never heard or read, and what it must not be used for."""
    lines = [
        "## How good it is",
        "",
        "Each column is a model that was trained without a corpus of dialogues and without a corpus of voices, and is",
        "scored on those dialogues, spoken by those voices in the same emotion. No speaker and no recording of the",
        "test trained it. MELD and EmoryNLP are scenes of the same television series, which other people labelled, so",
        "the words of their columns are not strange to it; those of Topical-Chat are. UA (WA) with 95 % intervals of",
        "UA over conversations. The first column was looked at to choose how voices are cast, so it is somewhat too",
        "high. Chance is a UA of .25. On a corpus of your own, train it further:",
        "`moodline train CORPUS --from starter`.",
        "",
        f"| | {' | '.join(f'{one.dialogues}, {one.voices}' for one in scored)} |",
        f"|---|{'---|' * len(scored)}",
    ]
    for name, stage in ROWS.items():
        cells = [format_score(find_scores(found, stage)["pooled"]) for found in scored.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append(f"| words of one turn, TF-IDF | {' | '.join(format_score(f['baseline']) for f in scored.values())} |")
    majority = [find_scores(found, "majority")["pooled"] for found in scored.values()]
    lines += [f"| the most frequent class | {' | '.join(format_score(one) for one in majority)} |", ""]
    lines += [
        "The recall of each class, both read:",
        "",
        f"| | {' | '.join(IEMOCAP4.classes)} |",
        "|---|---|---|---|---|",
    ]
    for without, found in scored.items():
        recalls = [find_scores(found, FUSION)["classes"][name]["recall"] for name in IEMOCAP4.classes]
        lines.append(f"| {without.dialogues}, {without.voices} | {' | '.join(f'{one:.2f}' for one in recalls)} |")
    errors = [find_scores(found, FUSION)["calibration"]["expected_calibration_error"] for found in scored.values()]
    lines += [
        "",
        f"The expected calibration error is {', '.join(f'{one:.3f}' for one in errors)}. An answer with a probability",
        f"below {threshold:.2f} is right in less than one of two cases there, so it is `uncertain`; `--threshold 0`",
        "answers always. Accuracy against coverage, both read:",
        "",
        f"| answered | {' | '.join(f'{one.dialogues}, {one.voices}' for one in scored)} |",
        f"|---|{'---|' * len(scored)}",
    ]
    for share in SHARES:
        cells = [format_coverage(found["coverage"]["points"], share) for found in scored.values()]
        lines.append(f"| {share:.0%} | {' | '.join(cells)} |")
    return "\n".join((*lines, "", LIMITS))


def find_scores(found: Mapping[str, Any], stage: str) -> Mapping[str, Any]:
    return next(one for one in found["scores"] if one["stage"] == stage)


def format_score(pooled: Mapping[str, Any]) -> str:
    low, high = pooled["ua"]["interval"]
    return f"{pooled['ua']['value']:.3f} ({pooled['wa']['value']:.3f}) [{low:.3f}, {high:.3f}]"


def format_coverage(points: Sequence[Mapping[str, Any]], share: float) -> str:
    """Format WA and the threshold of the point whose coverage is next to a share."""
    point = min(points, key=lambda one: abs(one["coverage"] - share))
    return f"WA {point['wa']['value']:.3f} from {point['threshold']:.2f}"


if __name__ == "__main__":
    main()
