"""moodline evaluate, plot, baselines, reproduce and robustness."""

from pathlib import Path
from typing import Any

from moodline.cli.options import (
    REFERENCE,
    Parser,
    add_corpus,
    add_device,
    add_embeddings,
    add_fold,
    add_no_words,
    add_out,
    add_words,
    chosen_device,
    collect_embeddings_files,
    require_at_least_one,
    resumable,
    show_progress,
)
from moodline.cli.train import TrainParser, add_protocol, resolve_recipe
from moodline.config import Recipe
from moodline.console import dump_json, print_line
from moodline.errors import MoodlineError

EVALUATE_HELP = "Score a run on its test folds, or a model on another corpus."


def add_evaluate(commands: Any) -> None:
    evaluate = Parser(prog="moodline evaluate", description=EVALUATE_HELP)
    evaluate.add_argument("run", nargs="?", type=Path, default=None, help="a run's folder")
    evaluate.add_argument("--model", type=Path, default=None, help="a model folder, to score on --corpus")
    evaluate.add_argument("--corpus", type=Path, default=None, help="a corpus folder that did not train the model")
    evaluate.add_argument(
        "--label-set", default=None, help="a label set's name or YAML file, which maps the corpus's labels to classes"
    )
    evaluate.add_argument("-o", "--out", type=Path, default=None, help="the folder of the scores of --model")
    add_embeddings(evaluate)
    add_words(evaluate, "to score; without it those that trained the run, or --corpus's reference words")
    add_device(evaluate)
    evaluate.add_argument("--format", choices=["table", "json"], default="table", help="the format of the scores")
    evaluate.add_argument("--with-audio", action="store_true", help="embed the speech of the report's errors in it")
    add_no_words(evaluate, "the report")
    evaluate.add_argument(
        "--causal", action="store_true", help="score a run that labels each turn without those after it"
    )
    commands.add_subcommand("evaluate", evaluate, help=EVALUATE_HELP)


def run_evaluate(options: Any, given: Any) -> None:
    elsewhere = (options.model, options.corpus, options.out)
    if (options.run is None) == (options.model is None) or (options.model and None in elsewhere):
        raise MoodlineError(
            "moodline evaluate takes a run's folder, or --model FOLDER --corpus OTHER -o OUT",
            code="option.contradiction",
        )
    if options.run is not None:
        refuse_model_options(options)
    if options.no_words and options.with_audio:
        raise MoodlineError(
            "--with-audio adds to the report the words that --no-words leaves out: give one",
            code="option.contradiction",
        )
    if options.causal:
        run_causally(options)
        return
    from moodline.evaluation.cross_corpus import evaluate_model
    from moodline.evaluation.evaluate import evaluate_run
    from moodline.evaluation.score_table import print_calibration, print_table

    files, device = collect_embeddings_files(options), chosen_device(options.device)
    shown = {"with_audio": options.with_audio, "quote": not options.no_words}
    if options.run is not None:
        outcome = evaluate_run(options.run, show_progress, files, **shown, words=options.words, device=device)
    else:
        outcome = evaluate_model(
            options.model,
            options.corpus,
            options.out,
            show_progress,
            files,
            options.label_set,
            **shown,
            words=options.words or REFERENCE,
            device=device,
        )
    if options.format == "json":
        print(dump_json(outcome.results, indent=2))
        return
    print_table(outcome.evaluation.scores, protocol=outcome.results["protocol"], notes=outcome.results["notes"])
    print_calibration(outcome.results["scores"])
    print_line(f"report: {outcome.file}")


def run_causally(options: Any) -> None:
    """Score a run that labels each turn without those after it; print the scores and what they differ by."""
    if options.run is None or options.with_audio or options.no_words:
        other = "--model" if options.run is None else "--with-audio" if options.with_audio else "--no-words"
        raise MoodlineError(
            f"--causal scores a run's folder, without a report: leave out {other}", code="option.contradiction"
        )
    from moodline.evaluation.evaluate import CAUSAL_STAGE_NAMES, evaluate_causally
    from moodline.evaluation.score_table import print_table

    device = chosen_device(options.device)
    outcome = evaluate_causally(
        options.run, show_progress, collect_embeddings_files(options), words=options.words, device=device
    )
    if options.format == "json":
        print(dump_json(outcome.results, indent=2))
        return
    protocol, notes = outcome.results["protocol"], outcome.results["notes"]
    print_table(outcome.evaluation.scores, protocol=protocol, notes=notes, names=CAUSAL_STAGE_NAMES)
    print_line("\ngain from later turns: causal minus usual, paired over conversations")
    for one in outcome.evaluation.differences:
        print_line(f"{CAUSAL_STAGE_NAMES[one.minus]:<21}  WA {one.wa}  UA {one.ua}")
    print_line(f"results: {outcome.file}")


def refuse_model_options(options: Any) -> None:
    """Refuse the options of ``--model`` beside a run."""
    reasons = {
        "label_set": "--label-set needs --model: a run is scored by the labels that it was trained with",
        "corpus": "--corpus needs --model: a run is scored on the corpus that it was trained on",
        "out": "-o needs --model: a run's scores are written to its own folder",
    }
    for option, reason in reasons.items():
        if options[option] is not None:
            raise MoodlineError(reason, code="option.unfit")


PLOT_HELP = "Draw the filters that a model learnt."
LEAF_HELP = "the LEAF front-end of a model, before and after training"


def add_plot(commands: Any) -> None:
    plot = Parser(prog="moodline plot", description=PLOT_HELP)
    commands.add_subcommand("plot", plot, help=PLOT_HELP)
    drawn = plot.add_subcommands(dest="what")
    leaf = Parser(prog="moodline plot leaf", description=f"Draw {LEAF_HELP}.")
    leaf.add_argument("model", type=Path, help="a model folder, or a run's fold")
    leaf.add_argument("--audio", type=Path, default=None, help="a recording: draw its features beside log-mel")
    leaf.add_argument("--format", choices=["svg", "png"], default="svg", help="the format of the pictures")
    add_out(leaf, "the pictures' folder")
    drawn.add_subcommand("leaf", leaf, help=LEAF_HELP)


def run_plot(options: Any, given: Any) -> None:
    from moodline.evaluation.leaf_figures import plot_leaf

    chosen = options[options.what]
    for path in plot_leaf(chosen.model, chosen.out, chosen.audio, chosen.format):
        print_line(path)


BASELINES_HELP = "Train and score classical baselines under a protocol."


def add_baselines(commands: Any) -> None:
    baselines = TrainParser(prog="moodline baselines", description=BASELINES_HELP)
    add_corpus(baselines)
    add_protocol(baselines)
    baselines.add_argument("--only", default=None, help="some baselines, such as tf_idf,sentence_embeddings")
    baselines.add_argument("--features", type=Path, default=None, help="the cache of features; default: OUT/features")
    add_device(baselines, "BERT runs on")
    add_out(baselines, "the folder of the scores")
    baselines.add_class_arguments(Recipe)
    commands.add_subcommand("baselines", baselines, help=BASELINES_HELP)


@resumable()
def run_baselines(options: Any, given: Any) -> None:
    recipe, name = resolve_recipe(options.recipe, given)
    from moodline.corpora.corpus import read_corpus
    from moodline.corpora.protocols import build_folds, choose_fold
    from moodline.evaluation.cross_corpus import refuse_occupied
    from moodline.evaluation.score_table import print_table
    from moodline.experiments.baselines import score_baselines, select_baselines
    from moodline.experiments.tables import PART_NAMES

    device = chosen_device(options.device)
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


REPRODUCE_HELP = "Train and score every system of the paper's tables, into one ledger."


def add_reproduce(commands: Any) -> None:
    reproduce = TrainParser(prog="moodline reproduce", description=REPRODUCE_HELP)
    add_corpus(reproduce)
    add_out(reproduce, "the ledger's folder")
    reproduce.add_argument("--recipe", default="iemocap", help="a YAML file, or the name of one of moodline's")
    reproduce.add_argument("--tables", default="1,2,3,4,baselines,released", help="some tables, such as 1,3,baselines")
    reproduce.add_argument("--protocols", default="session5,cv5,cv10", help="Tables 3 and 4: all; others: the first")
    add_fold(reproduce)
    reproduce.add_argument("--sizes", default="50,100,200", help="of the utterance embedding in Table 1")
    reproduce.add_argument("--seeds", type=int, default=5, help="how many, from the recipe's on")
    reproduce.add_argument("--jobs", type=int, default=1, help="folds and seeds in parallel")
    add_no_words(reproduce, "the runs' reports")
    add_device(reproduce, "the tasks run on")
    reproduce.add_argument("--dry-run", action="store_true", help="print the plan, and stop")
    reproduce.add_class_arguments(Recipe)
    commands.add_subcommand("reproduce", reproduce, help=REPRODUCE_HELP)


@resumable()
def run_reproduce(options: Any, given: Any) -> None:
    recipe, _ = resolve_recipe(options.recipe, given)
    require_at_least_one(options, "seeds", "jobs")
    from moodline.console import create_console
    from moodline.experiments.reproduce import ReproductionRequest, reproduce

    chosen_device(options.device)
    request = ReproductionRequest(
        tables=parse_names(options.tables, "--tables"),
        protocols=parse_names(options.protocols, "--protocols"),
        sizes=parse_numbers(options.sizes, "--sizes"),
        seeds=options.seeds,
        fold=options.fold,
        jobs=options.jobs,
        quote=not options.no_words,
        device=options.device,
    )
    reproduce(options.corpus, recipe, options.out, request, create_console(), dry=options.dry_run)


def parse_names(text: str, option: str) -> list[str]:
    """Parse names with commas between them, such as 1,baselines.

    Raises:
        MoodlineError: there is no name
    """
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise MoodlineError(f"{option} must be names with commas between them, not {text!r}", code="option.invalid")
    return found


def parse_numbers(text: str, option: str) -> list[int]:
    """Parse whole numbers above zero with commas between them, such as 1,3.

    Raises:
        MoodlineError: it is something else
    """
    try:
        found = [int(one) for one in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise MoodlineError(
            f"{option} must be whole numbers above 0 with commas between them, such as 1,3, not {text!r}",
            code="option.invalid",
        )
    return found


ROBUSTNESS_HELP = "Draw a run's scores over word errors, and in babble or over a telephone."


def add_robustness(commands: Any) -> None:
    robustness = Parser(prog="moodline robustness", description=ROBUSTNESS_HELP)
    robustness.add_argument("run", type=Path, help="a run's folder")
    add_embeddings(robustness)
    add_device(robustness)
    commands.add_subcommand("robustness", robustness, help=ROBUSTNESS_HELP)


@resumable()
def run_robustness(options: Any, given: Any) -> None:
    from moodline.experiments.robustness import draw_curves
    from moodline.experiments.robustness_curves import print_curves, write_page
    from moodline.training.run import CURVES_REPORT_FILE

    curves = draw_curves(
        options.run, show_progress, collect_embeddings_files(options), device=chosen_device(options.device)
    )
    write_page(curves, options.run / CURVES_REPORT_FILE)
    print_curves(curves)
    print_line(f"report: {options.run / CURVES_REPORT_FILE}")
