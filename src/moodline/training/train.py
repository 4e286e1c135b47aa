"""The folds of a run, trained one after the other in the run's folder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE
from moodline.conversation import note_misspelt, refuse_misspelt
from moodline.corpora.corpus import Corpus
from moodline.corpora.folds import Fold
from moodline.embeddings import EmbeddingsFile, refuse_unfit_embeddings
from moodline.io import write_json
from moodline.modeling.checkpoint import CONFIG_FILE, load_description
from moodline.modeling.text_encoder import fingerprint_model
from moodline.training.dataset import refuse_missing_audio, refuse_unlabelled, refuse_unread_words
from moodline.training.fold_training import FoldTrainer
from moodline.training.provenance import build_provenance, compute_origins, find_finished_stages, refuse_test_overlap
from moodline.training.run import (
    RUN_FILE,
    Run,
    license_models,
    lock_folder,
    refuse_foreign,
    refuse_other_run,
    remove_scores,
)
from moodline.training.trainer import Hardware, is_main_process


def train_folds(
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
    for note in note_misspelt(run.label_set, corpus.label_counts):
        console.print(f"Note: {note}", highlight=False, markup=False, soft_wrap=True)
    refuse_unfit_embeddings(
        run.recipe, given, [one.prepare_for_context(run.label_set, run.recipe.context) for one in corpus.conversations]
    )
    # Of all folds before the first one trains: a fold that cannot train is told at once.
    for fold in folds:
        refuse_test_overlap(fold, given)
    prepared = [
        (
            fold,
            fold.get_training_sets(run.label_set, run.recipe.context),
            build_provenance(run.recipe, run.label_set, corpus, fold, given),
        )
        for fold in folds
    ]
    if AUDIO_UTTERANCE in run.recipe.stages:
        refuse_missing_audio(one for _, sets, _ in prepared for one in (*sets.train, *sets.validation))
    bert_files = fingerprint_model(run.recipe.text_utterance.bert) if TEXT_UTTERANCE in run.recipe.stages else ""
    hashes = {encoder: file.hash for encoder, file in given.items()}
    refuse_foreign(run.folder)
    with lock_folder(run.folder):
        refuse_other_run(run)
        if is_main_process():
            run.remove_leftovers()
        for position, (fold, sets, provenance) in enumerate(prepared, start=1):
            origins = compute_origins(
                run.recipe,
                run.label_set,
                run.corpus_hash,
                fold.training_hash,
                hashes,
                bert_files,
                hardware.precision,
                run.words_hash,
            )
            training = FoldTrainer(
                sets,
                run.recipe,
                run.label_set,
                run.get_files(fold.name),
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
                    remove_former_scores(run, training)
                begin_run(run, training, reuse)
            if done:
                complete_model(training)
            else:
                for note in provenance.notes:
                    training.print_line(note)
                training.run(replace(provenance, licence=run.licence))


def remove_former_scores(run: Run, training: FoldTrainer) -> None:
    """Remove the run's scores where a whole model is replaced; a fold that joins others takes nothing from theirs."""
    if (training.files.model / CONFIG_FILE).is_file() and (gone := remove_scores(run.folder)):
        training.print_line(f"scores of the model that is replaced are removed: {', '.join(gone)}")


def begin_run(run: Run, training: FoldTrainer, reuse: Path | None) -> None:
    """Write what is run, and take over what others have finished."""
    write_json(run.folder / RUN_FILE, run.build_description())
    for change in license_models(run.folder, run.licence):
        training.console.print(change, highlight=False, soft_wrap=True)
    if reuse is not None:
        training.reuse(find_finished_stages(reuse))


def complete_model(training: FoldTrainer) -> None:
    """Give a model that was finished before what models have by now."""
    model = training.files.model
    training.print_line(f"model {model}: finished before")
    described = load_description(model)
    if not described.temperatures or described.conditions is None:
        lacked = "calibrated" if not described.temperatures else "told what its training sounds like"
        training.print_line(f"it is {lacked} now, and trained no more")
        training.describe(described.provenance)
