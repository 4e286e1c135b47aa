"""moodline baselines: what simpler systems reach under the same folds."""

from pathlib import Path
from typing import Any

from moodline.cli.interruption import going_on
from moodline.cli.train import TrainParser, chosen_recipe
from moodline.config import Recipe

HELP = "Train and score classical baselines under a protocol."


def add_to(commands: Any) -> None:
    baselines = TrainParser(prog="moodline baselines", description=HELP)
    baselines.add_argument("corpus", type=Path, help="a corpus folder")
    baselines.add_argument("--recipe", required=True, help="label set, context, class weights and BERT are its own")
    baselines.add_argument("--protocol", required=True, help="as of moodline train")
    baselines.add_argument("--fold", type=str, default=None, help="score this fold alone")
    baselines.add_argument("--only", default=None, help="these alone, as tf_idf,sentence_embeddings")
    baselines.add_argument("--features", type=Path, default=None, help="keeps what takes long; without it OUT/features")
    baselines.add_argument("-o", "--out", type=Path, required=True, help="where the scores go")
    baselines.add_class_arguments(Recipe)
    commands.add_subcommand("baselines", baselines, help=HELP)


@going_on()
def run(options: Any, given: Any) -> None:
    recipe, name = chosen_recipe(options.recipe, given)
    from moodline.corpora.corpus import read_corpus
    from moodline.corpora.protocol import choose_fold, folds_of
    from moodline.evaluation.elsewhere import refuse_taken
    from moodline.evaluation.table import print_table
    from moodline.reproduction.baselines import chosen_baselines
    from moodline.reproduction.baselines.scoring import score_baselines
    from moodline.reproduction.names import PART_NAMES

    baselines = chosen_baselines(options.only)
    refuse_taken(options.out, "scores of baselines")
    corpus = read_corpus(options.corpus)
    folds = folds_of(corpus, options.protocol)
    chosen = choose_fold(folds, options.fold)
    features = options.features or options.out / "features"
    evaluation, notes = score_baselines(corpus, baselines, recipe, name, chosen, len(folds), features, options.out)
    print_table(evaluation.scores, protocol=options.protocol, notes=notes, names=PART_NAMES)
