"""Compare candidates for contexts and fusion on the validation sets of several corpora.

    .venv/bin/python benchmarks/dialogues/study.py study.yaml corpora/meld corpora/inertia -o studies/contexts --seeds 3

The study has a base, keys for all candidates, and each candidate's own keys:

    base: recipes/small.yaml
    all: {audio_utterance.encoder: faster-whisper, audio_utterance.pretrained: "wheel:tiny.en"}
    candidates:
      small: {}
      crossfit: {crossfit: 3}

Each is trained under cv5 (`--protocol`); stages of equal fingerprints are trained once, and features of frozen encoders
are computed once. Nothing is read of the test sets. UA (WA), the mean over seeds, is that of all validation
conversations together. "late" is the yardstick of every fusion: the product of the contexts' calibrated probabilities,
divided by the classes' shares. Each fusion's UA is compared with late's and with the fusions of the candidates before
it: differences have 95 % intervals of a paired bootstrap over conversations. The last rows pool all corpora.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

import moodline
from moodline.config import AUDIO_CONTEXT, CLASS_WEIGHTS, FUSION, STAGES, TEXT_CONTEXT
from moodline.corpora.corpus import read_corpus
from moodline.corpora.protocols import build_folds
from moodline.evaluation.predictions import build_schema, build_stage_columns, iter_scored_turns
from moodline.experiments.comparisons import PartPredictions, average_seeds, collect_predictions, compare_parts
from moodline.inference.feature_store import choose_feature_folder
from moodline.modeling.checkpoint import TrainedModel

LATE = "late"
COLUMNS = (*STAGES[:-1], LATE, STAGES[-1])
Found = Mapping[str, Sequence[PartPredictions]]
"""A candidate's predictions on one corpus by stage, of each seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("corpora", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--protocol", default="cv5")
    parser.add_argument("--only", nargs="*", help="candidates, of all that the study has")
    options = parser.parse_args()
    study = yaml.safe_load(options.study.read_text(encoding="utf-8"))
    if not isinstance(study, dict) or not {"base", "candidates"} <= set(study):
        parser.error(f"a study has a base and candidates, and {options.study} lacks one of them")
    candidates = {name: keys for name, keys in study["candidates"].items() if not options.only or name in options.only}
    if not candidates:
        parser.error(f"{options.study} has none of the candidates {', '.join(options.only)}")
    print_row("corpus", "candidate", *COLUMNS, *(f"fusion - {name}" for name in (LATE, *list(candidates)[:-1])))
    print_row(*["---"] * (len(COLUMNS) + len(candidates) + 2))
    results: dict[str, list[Found]] = {name: [] for name in candidates}
    for corpus in options.corpora:
        for number, (name, keys) in enumerate(candidates.items(), start=1):
            tables = [
                validate(study, name, keys, corpus, options.output, seed, options.protocol)
                for seed in range(options.seeds)
            ]
            classes = [column.removeprefix("p_") for column in tables[0].column_names if column.startswith("p_")]
            found = {stage: [collect_predictions(one, stage, classes) for one in tables] for stage in COLUMNS}
            results[name].append(found)
            print_scores(corpus.name, {one: results[one][-1] for one in islice(results, number)})
    if len(options.corpora) > 1:
        pooled = {name: pool(found) for name, found in results.items()}
        for number in range(1, len(pooled) + 1):
            print_scores("all", dict(islice(pooled.items(), number)))


def print_row(*cells: str) -> None:
    print("|", " | ".join(cells), "|", flush=True)


def print_scores(corpus: str, results: Mapping[str, Found]) -> None:
    """Print the row of the last candidate, compared with those before it."""
    *before, name = results
    found = results[name]
    means = {stage: average_seeds(found[stage]) for stage in COLUMNS}
    others = [found[LATE], *(results[one][FUSION] for one in before)]
    print_row(
        corpus,
        name,
        *(f"{means[stage]['ua'].value:.3f} ({means[stage]['wa'].value:.3f})" for stage in COLUMNS),
        *(str(compare_parts(found[FUSION], other).measures["ua"]) for other in others),
    )


def pool(corpora: Sequence[Found]) -> Found:
    """Pool a candidate's predictions on several corpora, seed by seed."""
    return {
        stage: [
            PartPredictions(
                [row for one in seed for row in one.utterances], np.concatenate([one.confusions for one in seed])
            )
            for seed in zip(*(found[stage] for found in corpora), strict=True)
        ]
        for stage in COLUMNS
    }


def validate(
    study: Mapping[str, Any], name: str, keys: Mapping[str, Any], corpus: Path, output: Path, seed: int, protocol: str
) -> pa.Table:
    """Train a candidate's folds that are not trained yet, and predict the validation sets of all."""
    run = output / corpus.name / f"{name.replace(' ', '-')}-{seed}"
    nested = nest_keys({**study.get("all", {}), **keys, "seed": seed})
    moodline.train(corpus, run, recipe=study["base"], protocol=protocol, reuse=output / corpus.name, **nested)
    tables: list[pa.Table] = []
    for fold in build_folds(read_corpus(corpus), protocol):
        model = moodline.load(run / f"fold-{fold.name}" / "model", device="cpu")
        label_set, context = model.model.label_set, model.model.recipe.context
        conversations = [one.prepare_for_context(label_set, context) for one in fold.validation]
        predictor = model.with_features(choose_feature_folder(corpus, run), conversations)
        rows: list[dict[str, Any]] = []
        for read, prediction in zip(conversations, predictor.predict_all(conversations), strict=True):
            by_stage = [one.by_stage for one in prediction.utterances]
            for turn, facts in iter_scored_turns(read, label_set, fold.name, fold.validation_speaker):
                rows += (facts | columns for columns in build_columns(model.model, by_stage[turn]))
        tables.append(pa.Table.from_pylist(rows, schema=build_schema(label_set.classes)))
    return pa.concat_tables(tables)


def nest_keys(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Convert keys that are joined by points to nested ones."""
    nested: dict[str, Any] = {}
    for key, value in keys.items():
        *sections, last = key.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return nested


def build_columns(model: TrainedModel, by_stage: Mapping[str, Mapping[str, float]]) -> Iterator[dict[str, Any]]:
    """Build a turn's columns of each stage, and of late fusion."""
    for stage, probabilities in by_stage.items():
        yield build_stage_columns(stage, probabilities)
    yield build_stage_columns(LATE, fuse_late(model, [by_stage[stage] for stage in (AUDIO_CONTEXT, TEXT_CONTEXT)]))


def fuse_late(model: TrainedModel, contexts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Multiply the contexts' probabilities, and divide by the classes' shares in the weighted training set."""
    classes = list(contexts[0])
    counts = np.array([model.provenance.class_counts[name] for name in classes], dtype=float)
    shares = counts ** (1 - CLASS_WEIGHTS[model.recipe.class_weights])
    products = np.prod([[one[name] for name in classes] for one in contexts], axis=0) / shares
    return dict(zip(classes, (products / products.sum()).tolist(), strict=True))


if __name__ == "__main__":
    main()
