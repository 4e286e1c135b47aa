"""moodline evaluate, plot, baselines, reproduce and robustness."""

from pathlib import Path
from typing import Any

from moodline.cli import options as embeddings
from moodline.cli import options as words
from moodline.cli.options import Parser, add_device, chosen_device, resumable, show_progress
from moodline.cli.train import TrainParser, resolve_recipe
from moodline.config import Recipe
from moodline.errors import MoodlineError, json_of, say

EVALUATE_HELP = "Score a run on its test folds, or a model on another corpus."


def add_evaluate(commands: Any) -> None:
    evaluate = Parser(prog="moodline evaluate", description=EVALUATE_HELP)
    evaluate.add_argument("run", nargs="?", type=Path, default=None, help="a run's folder")
    evaluate.add_argument("--model", type=Path, default=None, help="a model folder, to be scored on --corpus")
    evaluate.add_argument("--corpus", type=Path, default=None, help="a corpus folder that the model has not seen")
    evaluate.add_argument(
        "--labels", default=None, help="what the corpus's labels are to --model: a label set's name or YAML file"
    )
    evaluate.add_argument("-o", "--out", type=Path, default=None, help="where the scores of --model go")
    embeddings.add_embeddings(evaluate)
    words.add_words(evaluate, "that are scored; without it those that trained the run, or --corpus's reference words")
    add_device(evaluate)
    evaluate.add_argument("--format", choices=["table", "json"], default="table", help="what is printed")
    evaluate.add_argument(
        "--with-audio", action="store_true", help="put the speech of the errors that the report shows into it"
    )
    words.add_leaving_out(evaluate, "the report")
    evaluate.add_argument(
        "--causal", action="store_true", help="what a run loses where each turn is labelled from it and those before"
    )
    commands.add_subcommand("evaluate", evaluate, help=EVALUATE_HELP)


def run_evaluate(options: Any, given: Any) -> None:
    elsewhere = (options.model, options.corpus, options.out)
    if (options.run is None) == (options.model is None) or (options.model and None in elsewhere):
        raise MoodlineError("moodline evaluate takes a run's folder, or --model FOLDER --corpus OTHER -o OUT")
    if options.run is not None:
        refuse_model_options(options)
    if options.no_words and options.with_audio:
        raise MoodlineError("--with-audio lets the report say the words that --no-words leaves out: give one of them")
    if options.causal:
        run_causally(options)
        return
    from moodline.evaluation.cross_corpus import evaluate_model
    from moodline.evaluation.evaluate import evaluate_run
    from moodline.evaluation.score_table import print_calibration, print_table

    files, device = embeddings.collect_embeddings_files(options), chosen_device(options.device)
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
            options.labels,
            **shown,
            words=options.words or words.REFERENCE,
            device=device,
        )
    if options.format == "json":
        print(json_of(outcome.results, indent=2))
        return
    print_table(outcome.evaluation.scores, protocol=outcome.results["protocol"], notes=outcome.results["notes"])
    print_calibration(outcome.results["scores"])
    say(f"report: {outcome.report}")


def run_causally(options: Any) -> None:
    """Score a run from what came before each turn, and print that beside the usual scores, and the differences."""
    if options.run is None or options.with_audio or options.no_words:
        other = "--model" if options.run is None else "--with-audio" if options.with_audio else "--no-words"
        raise MoodlineError(f"--causal goes with a run's folder, and draws no report: leave out {other}")
    from moodline.evaluation.evaluate import CAUSAL_STAGE_NAMES, evaluate_causally
    from moodline.evaluation.score_table import print_table

    device = chosen_device(options.device)
    outcome = evaluate_causally(
        options.run, show_progress, embeddings.collect_embeddings_files(options), words=options.words, device=device
    )
    if options.format == "json":
        print(json_of(outcome.results, indent=2))
        return
    protocol, notes = outcome.results["protocol"], outcome.results["notes"]
    print_table(outcome.evaluation.scores, protocol=protocol, notes=notes, names=CAUSAL_STAGE_NAMES)
    say("\nwhat the turns that come later are worth: causal minus usual, paired over conversations")
    for one in outcome.evaluation.differences:
        say(f"{CAUSAL_STAGE_NAMES[one.minus]:<18}  WA {one.wa}  UA {one.ua}")
    say(f"results: {outcome.file}")


def refuse_model_options(options: Any) -> None:
    """Refuse what goes with ``--model`` alone beside a run."""
    reasons = {
        "labels": "--labels goes with --model: a run is scored by the labels that it was trained with",
        "corpus": "--corpus goes with --model: a run is scored on the corpus that it was trained on",
        "out": "-o goes with --model: a run's scores are written into its own folder",
    }
    for option, reason in reasons.items():
        if options[option] is not None:
            raise MoodlineError(reason)


PLOT_HELP = "Draw what a model learnt."
LEAF_HELP = "the LEAF front-end of a model of speech, before and after training"


def add_plot(commands: Any) -> None:
    plot = Parser(prog="moodline plot", description=PLOT_HELP)
    commands.add_subcommand("plot", plot, help=PLOT_HELP)
    drawn = plot.add_subcommands(dest="what")
    leaf = Parser(prog="moodline plot leaf", description=f"Draw {LEAF_HELP}.")
    leaf.add_argument("model", type=Path, help="a model folder, or a run's fold")
    leaf.add_argument("--audio", type=Path, default=None, help="a recording, whose features are drawn beside log-mel")
    leaf.add_argument("--format", choices=["svg", "png"], default="svg", help="what is written")
    leaf.add_argument("-o", "--out", type=Path, required=True, help="the pictures' folder")
    drawn.add_subcommand("leaf", leaf, help=LEAF_HELP)


def run_plot(options: Any, given: Any) -> None:
    from moodline.evaluation.leaf_figures import plot_leaf

    chosen = options[options.what]
    for path in plot_leaf(chosen.model, chosen.out, chosen.audio, chosen.format):
        say(path)


BASELINES_HELP = "Train and score classical baselines under a protocol."


def add_baselines(commands: Any) -> None:
    baselines = TrainParser(prog="moodline baselines", description=BASELINES_HELP)
    baselines.add_argument("corpus", type=Path, help="a corpus folder")
    baselines.add_argument("--recipe", required=True, help="label set, context, class weights and BERT are its own")
    baselines.add_argument("--protocol", required=True, help="as of moodline train")
    baselines.add_argument("--fold", type=str, default=None, help="score this fold alone")
    baselines.add_argument("--only", default=None, help="these alone, as tf_idf,sentence_embeddings")
    baselines.add_argument("--features", type=Path, default=None, help="keeps what takes long; without it OUT/features")
    add_device(baselines, "BERT runs on")
    baselines.add_argument("-o", "--out", type=Path, required=True, help="where the scores go")
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
    reproduce.add_argument("corpus", type=Path, help="a corpus folder")
    reproduce.add_argument("-o", "--out", type=Path, required=True, help="the ledger's folder")
    reproduce.add_argument("--recipe", default="iemocap", help="a YAML file, or the name of one of moodline's")
    reproduce.add_argument("--tables", default="1,2,3,4,baselines,released", help="which, as 1,3,baselines")
    reproduce.add_argument("--protocols", default="session5,cv5,cv10", help="Tables 3 and 4: all; others: the first")
    reproduce.add_argument("--fold", type=str, default=None, help="train this fold of each protocol alone")
    reproduce.add_argument("--sizes", default="50,100,200", help="of the utterance embedding, in Table 1")
    reproduce.add_argument("--seeds", type=int, default=5, help="how many, from the recipe's on")
    reproduce.add_argument("--jobs", type=int, default=1, help="folds and seeds side by side")
    words.add_leaving_out(reproduce, "the reports of the runs")
    add_device(reproduce, "the tasks run on")
    reproduce.add_argument("--dry-run", action="store_true", help="print the plan, and stop")
    reproduce.add_class_arguments(Recipe)
    commands.add_subcommand("reproduce", reproduce, help=REPRODUCE_HELP)


@resumable()
def run_reproduce(options: Any, given: Any) -> None:
    recipe, _ = resolve_recipe(options.recipe, given)
    for name in ("seeds", "jobs"):
        if options[name] < 1:
            raise MoodlineError(f"--{name} is 1 or more, not {options[name]}")
    from moodline.errors import terminal
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
    reproduce(options.corpus, recipe, options.out, request, terminal(), dry=options.dry_run)


def parse_names(text: str, option: str) -> list[str]:
    """Names, as 1,baselines.

    Raises:
        MoodlineError: there is none
    """
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise MoodlineError(f"{option} takes names with commas between: there is none in {text!r}")
    return found


def parse_numbers(text: str, option: str) -> list[int]:
    """Whole numbers above zero, as 1,3.

    Raises:
        MoodlineError: it is something else
    """
    try:
        found = [int(one) for one in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise MoodlineError(f"{option} takes whole numbers with commas between, as 1,3: not {text!r}")
    return found


ROBUSTNESS_HELP = "Draw how a run's scores fall as words are misheard, and speech is in babble or on a telephone."


def add_robustness(commands: Any) -> None:
    robustness = Parser(prog="moodline robustness", description=ROBUSTNESS_HELP)
    robustness.add_argument("run", type=Path, help="a run's folder")
    embeddings.add_embeddings(robustness)
    add_device(robustness)
    commands.add_subcommand("robustness", robustness, help=ROBUSTNESS_HELP)


@resumable()
def run_robustness(options: Any, given: Any) -> None:
    from moodline.experiments.robustness import draw_curves
    from moodline.experiments.robustness_curves import print_curves, write_page
    from moodline.training.run import CURVES_REPORT_FILE

    curves = draw_curves(
        options.run, show_progress, embeddings.collect_embeddings_files(options), device=chosen_device(options.device)
    )
    write_page(curves, options.run / CURVES_REPORT_FILE)
    print_curves(curves)
    say(f"report: {options.run / CURVES_REPORT_FILE}")
