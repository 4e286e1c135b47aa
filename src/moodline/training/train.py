"""Train the folds of a run one after the other in the run's folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from moodline.config import AUDIO_UTTERANCE
from moodline.conversation import note_misspelt, refuse_misspelt
from moodline.corpora.corpus import Corpus
from moodline.corpora.protocols import Fold
from moodline.embeddings import EmbeddingsFile, refuse_unfit_embeddings
from moodline.training.crossfit import plan_crossfit
from moodline.training.dataset import (
    refuse_changed_audio,
    refuse_missing_audio,
    refuse_unlabelled,
    refuse_unread_words,
)
from moodline.training.fold_training import FoldTrainer
from moodline.training.provenance import build_provenance, fingerprint_encoders
from moodline.training.run import Run, lock_folder, refuse_foreign, refuse_other_run
from moodline.training.start import StartModel
from moodline.training.trainer import Hardware, is_main_process, isolate_training


@isolate_training()
def train_folds(
    run: Run,
    corpus: Corpus,
    folds: Sequence[Fold],
    precomputed: Mapping[str, EmbeddingsFile],
    hardware: Hardware,
    console: Console,
    reuse: Path | None = None,
    start: StartModel | None = None,
) -> None:
    """Train the folds of a run that are not finished.

    Args:
        precomputed: embeddings from files, by the encoder that they replace
        reuse: folder of other runs, whose finished stages are taken over where their fingerprints match
        start: the model whose weights the parts start from

    Raises:
        MoodlineError: a fold cannot train, the folder holds another run, another process trains in it, or the
            precomputed embeddings do not fit the recipe and the corpus
    """
    recipe, label_set = run.recipe, run.label_set
    hardware.check()
    refuse_unread_words(recipe, corpus)
    refuse_unlabelled(corpus)
    refuse_misspelt(label_set, corpus.label_counts)
    refuse_changed_audio(recipe, corpus)
    for note in note_misspelt(label_set, corpus.label_counts):
        console.print(f"Note: {note}", highlight=False, markup=False, soft_wrap=True)
    refuse_unfit_embeddings(
        recipe, precomputed, [one.prepare_for_context(label_set, recipe.context) for one in corpus.conversations]
    )
    # Check all folds before the first one trains.
    sets = [fold.get_training_sets(label_set, recipe.context) for fold in folds]
    provenances = [build_provenance(recipe, label_set, corpus, fold, precomputed, start) for fold in folds]
    if AUDIO_UTTERANCE in recipe.stages:
        refuse_missing_audio(talk for one in sets for talk in (*one.train, *one.validation))
    parts = [plan_crossfit(recipe, fold, one.train, label_set) for fold, one in zip(folds, sets, strict=True)]
    encoder_files = fingerprint_encoders(recipe, without=run.start)  # whose weights include the pretrained encoders'
    refuse_foreign(run.folder)
    with lock_folder(run.folder):
        refuse_other_run(run)
        if is_main_process():
            run.remove_leftovers()
        for number, fold in enumerate(folds):
            title = f"fold {fold.name} ({number + 1} of {len(folds)}), " if len(folds) > 1 else ""
            training = FoldTrainer(run, fold, sets[number], precomputed, hardware, console, title, parts[number], start)
            training.run_fold(provenances[number], encoder_files, reuse)
