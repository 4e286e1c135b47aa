"""moodline evaluate, plot, baselines, reproduce and robustness."""

import re
from pathlib import Path
from typing import Any

from jsonargparse.typing import PositiveInt

from moodline.cli import options as cli
from moodline.cli.train import resolve_recipe
from moodline.console import dump_json, print_data, print_line
from moodline.errors import MoodlineError


def run_evaluate(options: Any, typed: Any) -> None:
    refuse_contradictions(options)
    from moodline.api import evaluate
    from moodline.evaluation.evaluate import CAUSAL_STAGE_NAMES
    from moodline.evaluation.score_table import STAGES, print_calibration, print_table

    outcome = evaluate(
        options.run or options.model,
        options.corpus,
        options.out,
        labels=options.label_set,
        words=options.words,
        embeddings=cli.collect_embeddings(options),
        **cli.select_execution(options)._asdict(),
        with_audio=options.with_audio,
        quote=not options.no_words,
        causal=options.causal,
        progress=cli.show_progress,
    )
    results, evaluation = outcome.results, outcome.evaluation
    if options.format == "json":
        print_data(dump_json(results, indent=2))
        return
    names = CAUSAL_STAGE_NAMES if options.causal else STAGES
    print_table(evaluation.scores, protocol=results["protocol"], notes=results["notes"], names=names)
    if options.causal:
        print_line("\ngain from later turns: causal minus usual, paired over conversations")
        for one in evaluation.differences:
            print_line(f"{CAUSAL_STAGE_NAMES[one.minus]:<21}  WA {one.wa}  UA {one.ua}")
    else:
        print_calibration(results["scores"])
    print_line(f"{'results' if options.causal else 'report'}: {outcome.file}")


def refuse_contradictions(options: Any) -> None:
    """Refuse options of ``moodline evaluate`` that do not go together."""
    run, model, fault, code = options.run is not None, options.model is not None, "", "option.contradiction"
    of_model = {"--label-set": options.label_set, "--corpus": options.corpus, "-o": options.out}
    of_report = {"--model": model, "--with-audio": options.with_audio, "--no-words": options.no_words}
    if run == model or (model and None in (options.corpus, options.out)):
        fault = "moodline evaluate takes a run's folder, or --model FOLDER --corpus OTHER -o OUT"
    elif unfit := [name for name, value in of_model.items() if run and value is not None]:
        code = "option.unfit"
        fault = f"{unfit[0]} needs --model: a run is scored on its own corpus, by its own labels, into its own folder"
    elif options.no_words and options.with_audio:
        fault = "--with-audio adds to the report the words that --no-words leaves out: give one"
    elif unfit := [name for name, value in of_report.items() if options.causal and value]:
        fault = f"--causal scores a run's folder, without a report: leave out {unfit[0]}"
    if fault:
        raise MoodlineError(fault, code=code)


def run_plot(options: Any, typed: Any) -> None:
    from moodline.evaluation.leaf_figures import plot_leaf
    from moodline.hub import locate_model

    chosen = options.leaf
    for path in plot_leaf(locate_model(chosen.model), chosen.out, chosen.audio, chosen.format):
        print_line(path)


@cli.resumable()
def run_baselines(options: Any, typed: Any) -> None:
    recipe, name = resolve_recipe(options.recipe, typed)
    from moodline.corpora.corpus import read_corpus
    from moodline.corpora.protocols import build_folds, choose_fold
    from moodline.evaluation.predictions import refuse_occupied
    from moodline.evaluation.score_table import print_table
    from moodline.experiments.baselines import score_baselines, select_baselines
    from moodline.experiments.paper_tables import PART_NAMES

    device = cli.select_device(options.device)
    baselines = select_baselines(options.only)
    refuse_occupied(options.out, "scores of baselines")
    corpus = read_corpus(options.corpus)
    folds = build_folds(corpus, options.protocol)
    chosen = choose_fold(folds, options.fold)
    features = options.features or options.out / "features"
    evaluation, notes = score_baselines(
        corpus, baselines, recipe, name, chosen, len(folds), features, options.out, device
    )
    print_table(evaluation.scores, protocol=options.protocol, notes=notes, names=PART_NAMES)


@cli.resumable()
def run_reproduce(options: Any, typed: Any) -> None:
    recipe, _ = resolve_recipe(options.recipe, typed)
    from moodline.console import create_console
    from moodline.experiments.reproduce import reproduce

    cli.select_execution(options)
    reproduce(
        options.corpus,
        recipe,
        options.out,
        create_console(),
        tables=split_list(options.tables, "--tables"),
        protocols=split_list(options.protocols, "--protocols"),
        sizes=[int(size) for size in split_list(options.sizes, "--sizes", r"0*[1-9]\d*", "whole numbers above 0")],
        seeds=options.seeds,
        fold=options.fold,
        jobs=options.jobs,
        quote=not options.no_words,
        device=options.device,
        precision=options.precision,
        dry=options.dry_run,
    )


def split_list(text: str, option: str, pattern: str = ".+", meaning: str = "names") -> list[str]:
    """Split values with commas between them, each of the pattern."""
    values = [value.strip() for value in text.split(",") if value.strip()]
    if not values or not all(re.fullmatch(pattern, value) for value in values):
        raise MoodlineError(f"{option} must be {meaning} with commas between them, not {text!r}", code="option.invalid")
    return values


@cli.resumable()
def run_robustness(options: Any, typed: Any) -> None:
    from moodline.experiments.robustness import draw_curves
    from moodline.experiments.robustness_page import print_curves, write_page
    from moodline.training.run import CURVES_REPORT_FILE

    files, page = cli.collect_embeddings(options), options.run / CURVES_REPORT_FILE
    curves = draw_curves(options.run, cli.show_progress, files, device=cli.select_device(options.device))
    write_page(curves, page)
    print_curves(curves)
    print_line(f"report: {page}")


COMMANDS = {
    "evaluate": cli.Command(
        help="Score a run on its test folds, or a model on another corpus.",
        run=run_evaluate,
        shared=(*cli.EMBEDDINGS, cli.WORDS, cli.NO_WORDS, cli.DEVICE, cli.PRECISION, cli.BATCH_SECONDS),
        options=(
            cli.option("run", nargs="?", type=Path, default=None, help="a run's folder"),
            cli.option("--model", type=str, help=f"{cli.MODEL_NAME}, to score on --corpus"),
            cli.option("--corpus", type=Path, help="a corpus folder that did not train the model"),
            cli.option("--label-set", help="maps the corpus's labels to classes: a label set's name, or a YAML file"),
            cli.out("the folder for the scores of --model"),
            cli.option("--format", choices=["table", "json"], default="table", help="the format of the scores"),
            cli.flag("--with-audio", "embed the speech of the report's errors in it"),
            cli.flag("--causal", "label each turn of a run's test without later turns, as a stream does"),
        ),
    ),
    "plot": cli.Command(
        help="Draw the filters that a model learnt.",
        run=run_plot,
        commands={
            "leaf": cli.Command(
                help="Draw the LEAF front-end of a model, before and after training.",
                options=(
                    cli.option("model", type=str, help=f"{cli.MODEL_NAME}, or a run's fold"),
                    cli.option("--audio", type=Path, help="a recording: draw its features beside log-mel"),
                    cli.option("--format", choices=["svg", "png"], default="svg", help="the format of the pictures"),
                    cli.out("the pictures' folder", required=True),
                ),
            )
        },
    ),
    "baselines": cli.Command(
        help="Train and score classical baselines under a protocol.",
        run=run_baselines,
        takes_recipe=True,
        shared=(cli.CORPUS, cli.RECIPE, cli.PROTOCOL, cli.FOLD, cli.DEVICE),
        options=(
            cli.option("--only", help="some of the baselines, such as tf_idf,sentence_embeddings"),
            cli.option("--features", type=Path, help="the folder that caches features (default: OUT/features)"),
            cli.out("the folder of the scores", required=True),
        ),
    ),
    "reproduce": cli.Command(
        help="Train and score every system of the paper's tables, into one ledger.",
        run=run_reproduce,
        takes_recipe=True,
        shared=(cli.CORPUS, cli.FOLD, cli.NO_WORDS, cli.DEVICE, cli.PRECISION),
        options=(
            cli.out("the ledger's folder", required=True),
            cli.option("--recipe", default="iemocap", help="a YAML file, or the name of one that comes with moodline"),
            cli.option("--tables", default="1,2,3,4,baselines,released", help="which tables, such as 1,3,baselines"),
            cli.option("--protocols", default="session5,cv5,cv10", help="of Tables 3 and 4; others use the first"),
            cli.option("--sizes", default="50,100,200", help="sizes of the utterance embedding in Table 1"),
            cli.option("--seeds", type=PositiveInt, default=5, help="number of seeds, from the recipe's on"),
            cli.option("--jobs", type=PositiveInt, default=1, help="number of folds and seeds that run in parallel"),
            cli.flag("--dry-run", "print the plan, and stop"),
        ),
    ),
    "robustness": cli.Command(
        help="Draw a run's scores over word errors, and in babble or over a telephone.",
        run=run_robustness,
        shared=(cli.RUN, *cli.EMBEDDINGS, cli.DEVICE),
    ),
}
