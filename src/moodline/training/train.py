"""The folds of a run, trained one after the other in the run's folder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from moodline.checkpoint import CONFIG_FILE, load_description
from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE
from moodline.corpora.corpus import Corpus
from moodline.corpora.fold import Fold
from moodline.embeddings import EmbeddingsFile
from moodline.files import remove_leftovers, write_json
from moodline.inference.given import refuse_unfit
from moodline.labels import notes_on_misspelt, refuse_misspelt
from moodline.text.pretrained import fingerprint_of
from moodline.training.data import refuse_silent, refuse_unlabelled, refuse_unread_words
from moodline.training.fold import FoldTraining
from moodline.training.licence import license_models
from moodline.training.lock import locked
from moodline.training.origin import origins_of
from moodline.training.provenance import provenance_of, refuse_seen_test
from moodline.training.run import RUN_FILE, Run, refuse_foreign, refuse_other_run
from moodline.training.score_files import forget_scores
from moodline.training.sharing import finished_stages
from moodline.training.stage import Hardware, is_main_process


def train(
    run: Run,
    corpus: Corpus,
    folds: Sequence[Fold],
    given: Mapping[str, EmbeddingsFile],
    hardware: Hardware,
    console: Console,
    reuse: Path | None = None,
) -> None:
    """Train the folds that are not trained yet; what is finished is kept.

    Args:
        given: embeddings from files, by the encoder whose place they take
        reuse: a folder of other runs, whose finished stages are taken over where they were made from the same

    Raises:
        MoodlineError: a fold cannot train, the folder is another run's, or another process trains in it; or the
            embeddings given are not those of the recipe and the corpus
    """
    hardware.check()
    refuse_unread_words(run.recipe, corpus)
    refuse_unlabelled(corpus)
    refuse_misspelt(run.label_set, corpus.label_counts)
    for note in notes_on_misspelt(run.label_set, corpus.label_counts):
        console.print(f"Note: {note}", highlight=False, markup=False, soft_wrap=True)
    refuse_unfit(run.recipe, given, [one.in_context(run.label_set, run.recipe.context) for one in corpus.conversations])
    # Of all folds before the first one trains: a fold that cannot train is told at once.
    for fold in folds:
        refuse_seen_test(fold, given)
    prepared = [
        (
            fold,
            fold.training_sets(run.label_set, run.recipe.context),
            provenance_of(run.recipe, run.label_set, corpus, fold, given),
        )
        for fold in folds
    ]
    if AUDIO_UTTERANCE in run.recipe.stages:
        refuse_silent(one for _, sets, _ in prepared for one in (*sets.train, *sets.validation))
    bert_files = fingerprint_of(run.recipe.text_utterance.bert) if TEXT_UTTERANCE in run.recipe.stages else ""
    hashes = {encoder: file.hash for encoder, file in given.items()}
    refuse_foreign(run.folder)
    with locked(run.folder):
        refuse_other_run(run)
        if is_main_process():
            remove_leftovers(run.folder)
        for position, (fold, sets, provenance) in enumerate(prepared, start=1):
            origins = origins_of(
                run.recipe,
                run.label_set,
                run.corpus_hash,
                fold.training_hash,
                hashes,
                bert_files,
                hardware.precision,
                run.words_hash,
            )
            training = FoldTraining(
                sets,
                run.recipe,
                run.label_set,
                run.files_of(fold.name),
                origins=origins,
                given=given,
                title=f"fold {fold.name} ({position} of {len(folds)}), " if len(folds) > 1 else "",
                hardware=hardware,
                console=console,
            )
            training.prepare()
            done = run.is_complete(fold.name) and all(map(training.is_finished, run.recipe.stages))
            if is_main_process():  # after all that may be refused: a refused command leaves a run as it was
                if not done:
                    forget_former_scores(run, training)
                begin(run, training, reuse)
            if done:
                complete(training)
            else:
                for note in provenance.notes:
                    training.say(note)
                training.run(replace(provenance, licence=run.licence))


def forget_former_scores(run: Run, training: FoldTraining) -> None:
    """Remove the run's scores where a whole model is replaced; a fold that joins others takes nothing from theirs."""
    if (training.files.model / CONFIG_FILE).is_file() and (gone := forget_scores(run.folder)):
        training.say(f"scores of the model that is replaced are removed: {', '.join(gone)}")


def begin(run: Run, training: FoldTraining, reuse: Path | None) -> None:
    """Write what is run, and take over what others have finished."""
    write_json(run.folder / RUN_FILE, run.description())
    for change in license_models(run.folder, run.licence):
        training.console.print(change, highlight=False, soft_wrap=True)
    if reuse is not None:
        training.reuse(finished_stages(reuse))


def complete(training: FoldTraining) -> None:
    """Give a model that was finished before what models have by now."""
    model = training.files.model
    training.say(f"model {model}: finished before")
    described = load_description(model)
    if not described.temperatures or described.conditions is None:
        lacked = "calibrated" if not described.temperatures else "told what its training sounds like"
        training.say(f"it is {lacked} now, and trained no more")
        training.describe(described.provenance)
