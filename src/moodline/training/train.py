"""Train the folds of a run one after the other in the run's folder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
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
from moodline.training.fold_training import FoldDecision, FoldTrainer
from moodline.training.provenance import (
    build_provenance,
    compute_origins,
    find_finished_stages,
    refuse_test_overlap,
    resolve_bert_revision,
)
from moodline.training.run import (
    RUN_FILE,
    Run,
    license_models,
    lock_folder,
    refuse_foreign,
    refuse_other_run,
    remove_scores,
)
from moodline.training.trainer import Hardware, decide_together, is_main_process, isolate_training


@isolate_training()
def train_folds(
    run: Run,
    corpus: Corpus,
    folds: Sequence[Fold],
    given: Mapping[str, EmbeddingsFile],
    hardware: Hardware,
    console: Console,
    reuse: Path | None = None,
) -> None:
    """Train the folds of a run that are not finished.

    Args:
        given: precomputed embeddings, by the encoder that they replace
        reuse: folder of other runs, whose finished stages are taken over where their fingerprints match

    Raises:
        MoodlineError: a fold cannot train, the folder holds another run, another process trains in it, or the
            precomputed embeddings do not fit the recipe and the corpus
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
    # Check all folds before the first one trains.
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
            files = run.get_files(fold.name)
            origins = resolve_bert_revision(
                files.read_origin(TEXT_UTTERANCE),
                bert_files,
                partial(
                    compute_origins,
                    run.recipe,
                    run.label_set,
                    run.corpus_hash,
                    fold.training_hash,
                    hashes,
                    precision=hardware.precision,
                    recognised=run.words_hash,
                ),
            )
            training = FoldTrainer(
                sets,
                run.recipe,
                run.label_set,
                files,
                origins=origins,
                given=given,
                title=f"fold {fold.name} ({position} of {len(folds)}), " if len(folds) > 1 else "",
                hardware=hardware,
                console=console,
            )
            decision = decide_together(partial(begin_fold, run, fold.name, training, reuse))
            if decision.complete:
                complete_model(training)
            else:
                for note in provenance.notes:
                    training.print_line(note)
                training.run(decision, replace(provenance, licence=run.licence))


def begin_fold(run: Run, name: str, training: FoldTrainer, reuse: Path | None) -> FoldDecision:
    """Write the run's description, take over what other runs have finished, and decide what is left to train."""
    training.prepare()  # a refused command leaves a run as it was
    if is_main_process():
        if not run.is_complete(name) or not training.decide(complete=True).complete:
            remove_former_scores(run, training)
        write_json(run.folder / RUN_FILE, run.build_description())
        for change in license_models(run.folder, run.licence):
            training.console.print(change, highlight=False, soft_wrap=True)
        if reuse is not None:
            training.reuse(find_finished_stages(reuse))
    return training.decide(complete=run.is_complete(name))


def remove_former_scores(run: Run, training: FoldTrainer) -> None:
    """Remove the run's scores if a complete model is replaced; a further fold leaves the scores of the others."""
    if (training.files.model / CONFIG_FILE).is_file() and (gone := remove_scores(run.folder)):
        training.print_line(f"scores of the replaced model are removed: {', '.join(gone)}")


def complete_model(training: FoldTrainer) -> None:
    """Add what an older moodline left out of a finished model's description: temperatures, training statistics."""
    model = training.files.model
    training.print_line(f"model {model}: finished before")
    described = load_description(model)
    if not described.temperatures or described.conditions is None:
        added = "statistics of the training data added" if described.temperatures else "calibrated"
        training.print_line(f"{added}; weights unchanged")
        training.describe(described.provenance)
