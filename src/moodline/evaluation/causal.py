"""What it costs to label turns as they come: a run's test sets read causally beside as a whole. It never trains."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from moodline.config import AUDIO_CONTEXT, FUSION, STAGE_NAMES, TEXT_CONTEXT
from moodline.corpora.fold import Fold
from moodline.corpora.protocol import folds_of
from moodline.evaluation.evaluate import corpus_of, embeddings_of, folds_to_score, refuse_other_fold, told_of_run
from moodline.evaluation.predictions import Progress, opinion, refuse_seen, scored_turns, table_of
from moodline.evaluation.results import Evaluation
from moodline.evaluation.scores import rough_intervals, score
from moodline.files import write_json
from moodline.inference.causal import HISTORY, Talk, encode_causally
from moodline.inference.given import vectors_of
from moodline.inference.loaded import load
from moodline.inference.predictor import GivenEmbeddings
from moodline.training.data import refuse_unread_words
from moodline.training.run import Run, read_run
from moodline.training.score_files import CAUSAL_FILE, file_of

# The stages that hear more than the turn itself, as they are called where they hear what came before alone.
CAUSAL: Mapping[str, str] = {stage: f"{stage}_causal" for stage in (AUDIO_CONTEXT, TEXT_CONTEXT, FUSION)}
NAMES: Mapping[str, str] = {
    **STAGE_NAMES,
    **{causal: f"{STAGE_NAMES[stage].split(',')[0]}, causal" for stage, causal in CAUSAL.items()},
}
GAINS = tuple((causal, stage) for stage, causal in CAUSAL.items())


@dataclass(frozen=True, kw_only=True)
class CausalOutcome:
    """What was found, and where it is written."""

    results: Mapping[str, Any]
    evaluation: Evaluation
    file: Path


def evaluate_causally(
    folder: Path, progress: Progress, files: Mapping[str, Path] | None = None, *, words: str | None = None
) -> CausalOutcome:
    """Score a run's test sets twice, each turn from the whole conversation, and from itself and what came before.

    The encoders read each turn once. The results go into a file of their own beside the run's.

    Args and errors: as of ``evaluate_run``
    """
    run = read_run(folder)
    corpus = corpus_of(run, words or run.words)
    refuse_unread_words(run.recipe, corpus)
    all_folds = folds_of(corpus, run.protocol)
    folds = folds_to_score(run, all_folds)
    given = embeddings_of(run, files or {})
    embeddings = vectors_of(given)
    predictions = pa.concat_tables([both_ways(run, fold, embeddings, progress) for fold in folds])
    evaluation = score(predictions, run.label_set.classes, stages=NAMES, gains=GAINS)
    told = told_of_run(run, corpus, folds, len(all_folds), given)
    results = {
        **told,
        "notes": [*told["notes"], *rough_intervals(evaluation.scores)],
        "history": HISTORY,
        **dataclasses.asdict(evaluation),
    }
    file = file_of(CAUSAL_FILE, folder, corpus.words, run.words)
    write_json(file, results)
    return CausalOutcome(results=results, evaluation=evaluation, file=file)


def both_ways(run: Run, fold: Fold, embeddings: GivenEmbeddings, progress: Progress) -> pa.Table:
    """What a fold's model says of its test set, by stage, and by later stages causally: a row each, as in scores."""
    predictor = load(run.model_folder(fold.name)).with_embeddings(embeddings)
    refuse_other_fold(predictor, fold)
    refuse_seen(predictor.model.provenance, fold.test, fold.test_speaker)
    network, recipe = predictor.model.network, predictor.model.recipe
    read = [one.in_context(run.label_set, recipe.context) for one in fold.test]
    talks = [one for one in read if one.utterances]
    alone = []
    for done, talk in enumerate(talks, start=1):
        alone.append(predictor.encode_present(talk))
        progress(f"fold {fold.name}", done, len(talks))
    causally = encode_causally(
        network,
        recipe,
        [Talk(one.embeddings, talk.utterances) for talk, one in zip(talks, alone, strict=True)],
    )

    def rows() -> Iterator[dict[str, Any]]:
        for talk, one, newest in zip(talks, alone, causally, strict=True):
            whole = predictor.labelled(talk.utterances, predictor.encode_in_context(talk.utterances, one))
            causal = predictor.labelled(talk.utterances, {**one.encodings, **newest})
            for turn, facts in scored_turns(talk, run.label_set, fold.name, fold.test_speaker):
                for stage, probabilities in whole[turn].by_stage.items():
                    yield facts | opinion(stage, probabilities)
                for stage in [stage for stage in causal[turn].by_stage if stage in newest]:
                    yield facts | opinion(CAUSAL[stage], causal[turn].by_stage[stage])

    return table_of(rows(), run.label_set, len(talks), fold.test_speaker)
