"""moodline evaluate: honest scores of a run, or of one model on another corpus."""

import json
from pathlib import Path
from typing import Any

from moodline.cli import embeddings, words
from moodline.cli.parser import Parser
from moodline.cli.progress import show
from moodline.errors import MoodlineError

HELP = "Score a run on its test folds, or a model on another corpus."


def add_to(commands: Any) -> None:
    evaluate = Parser(prog="moodline evaluate", description=HELP)
    evaluate.add_argument("run", nargs="?", type=Path, default=None, help="a run's folder")
    evaluate.add_argument("--model", type=Path, default=None, help="a model folder, to be scored on --corpus")
    evaluate.add_argument("--corpus", type=Path, default=None, help="a corpus folder that the model has not seen")
    evaluate.add_argument(
        "--labels", default=None, help="what the corpus's labels are to --model: a label set's name or YAML file"
    )
    evaluate.add_argument("-o", "--out", type=Path, default=None, help="where the scores of --model go")
    embeddings.add_to(evaluate)
    words.add_to(evaluate, "that are scored; without it those that trained the run, or --corpus's reference words")
    evaluate.add_argument("--format", choices=["table", "json"], default="table", help="what is printed")
    evaluate.add_argument(
        "--with-audio", action="store_true", help="put the speech of the errors that the report shows into it"
    )
    evaluate.add_argument(
        "--causal", action="store_true", help="what a run loses where each turn is labelled from it and those before"
    )
    commands.add_subcommand("evaluate", evaluate, help=HELP)


def run(options: Any, given: Any) -> None:
    elsewhere = (options.model, options.corpus, options.out)
    if (options.run is None) == (options.model is None) or (options.model and None in elsewhere):
        raise MoodlineError("moodline evaluate takes a run's folder, or --model FOLDER --corpus OTHER -o OUT")
    if options.run is not None:
        refuse_elsewhere(options)
    if options.causal:
        run_causally(options)
        return
    from moodline.evaluation.elsewhere import evaluate_model
    from moodline.evaluation.evaluate import evaluate_run
    from moodline.evaluation.table import print_calibration, print_table

    files = embeddings.chosen(options)
    if options.run is not None:
        outcome = evaluate_run(options.run, show, files, with_audio=options.with_audio, words=options.words)
    else:
        outcome = evaluate_model(
            options.model,
            options.corpus,
            options.out,
            show,
            files,
            options.labels,
            with_audio=options.with_audio,
            words=options.words or words.REFERENCE,
        )
    if options.format == "json":
        print(json.dumps(outcome.results, indent=2))
        return
    print_table(outcome.evaluation.scores, protocol=outcome.results["protocol"], notes=outcome.results["notes"])
    print_calibration(outcome.results["scores"])
    print(f"report: {outcome.report}")


def run_causally(options: Any) -> None:
    """Score a run from what came before each turn, and print that beside the usual scores, and the differences."""
    if options.run is None or options.with_audio:
        other = "--with-audio" if options.run is not None else "--model"
        raise MoodlineError(f"--causal goes with a run's folder, and draws no report: leave out {other}")
    from moodline.evaluation.causal import NAMES, evaluate_causally
    from moodline.evaluation.table import print_table

    outcome = evaluate_causally(options.run, show, embeddings.chosen(options), words=options.words)
    if options.format == "json":
        print(json.dumps(outcome.results, indent=2))
        return
    protocol, notes = outcome.results["protocol"], outcome.results["notes"]
    print_table(outcome.evaluation.scores, protocol=protocol, notes=notes, names=NAMES)
    print("\nwhat the turns that come later are worth: causal minus usual, paired over conversations")
    for one in outcome.evaluation.differences:
        print(f"{NAMES[one.minus]:<18}  WA {one.wa}  UA {one.ua}")
    print(f"results: {outcome.file}")


def refuse_elsewhere(options: Any) -> None:
    """Refuse what goes with ``--model`` alone beside a run."""
    reasons = {
        "labels": "--labels goes with --model: a run is scored by the labels that it was trained with",
        "corpus": "--corpus goes with --model: a run is scored on the corpus that it was trained on",
        "out": "-o goes with --model: a run's scores are written into its own folder",
    }
    for option, reason in reasons.items():
        if options[option] is not None:
            raise MoodlineError(reason)
