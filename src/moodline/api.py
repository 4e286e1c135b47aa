"""Train and evaluate from Python, as the commands ``moodline train`` and ``moodline evaluate`` do."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from moodline.corpora.asr_column import read_corpus_with_words
from moodline.corpora.protocols import build_folds, choose_fold
from moodline.corpora.storage import REFERENCE
from moodline.device import AUTO, FULL_PRECISION, Execution, Precision, choose_device
from moodline.embeddings import read_embeddings
from moodline.errors import MoodlineError, format_option
from moodline.evaluation.evaluate import EvaluationOutcome, evaluate_causally, evaluate_model, evaluate_run
from moodline.hub import locate_model
from moodline.inference.transcribe import ProgressCallback, no_progress
from moodline.io import convert_to_path, flatten_keys
from moodline.modeling.description import CONFIG_FILE
from moodline.recipe import note_idle_keys, parse_recipe, read_recipe, rename_keys
from moodline.training.run import EmbeddingsReference, Run, resolve_label_set, resolve_licence
from moodline.training.start import StartModel, read_start
from moodline.training.train import train_folds
from moodline.training.trainer import Hardware


def train(
    corpus: str | Path,
    out: str | Path,
    *,
    recipe: str | Path | None = None,
    protocol: str,
    fold: str | None = None,
    start: str | Path | None = None,
    device: str | torch.device = AUTO,
    words: str = REFERENCE,
    embeddings: Mapping[str, str | Path] | None = None,
    reuse: str | Path | None = None,
    licence: str | None = None,
    num_workers: int = 0,
    hardware: Hardware | None = None,
    console: Console | None = None,
    **keys: Any,
) -> tuple[Path, ...]:
    """Train a model for each fold of a corpus, and return the model folders; a second call resumes.

    Args:
        corpus: a corpus folder, as ``moodline prepare`` writes it
        out: the run's folder
        recipe: a YAML file, or the name of a recipe that comes with moodline; None takes that of ``start``
        protocol: which conversations train and which test: session5, cv5, official, all, ...
        fold: the only one to train
        start: a model folder, or org/name[@revision] on the hub, whose weights the parts start from; with other classes
            than its own, the last layers are new
        device: see ``moodline.load``
        words: reference or recognised
        embeddings: files of precomputed embeddings, by the encoder that they replace
        reuse: a folder of other runs, whose equal stages are taken over
        licence: of the models, one line
        num_workers: processes that read audio
        hardware: replaces ``device`` and ``num_workers``
        console: shows the progress; None shows none
        keys: keys of the recipe that replace its own, nested as mappings: ``fusion={"layers": 1}``

    Raises:
        MoodlineError: the corpus, the recipe, the protocol or the start cannot be used, or the folder holds another run
    """
    started = None if start is None else read_start(start)
    content, origin = choose_recipe(recipe, started)
    content, console = content | rename_keys(keys, "train"), console or Console(quiet=True)
    parsed = parse_recipe(content, str(origin))
    for note in note_idle_keys(content if recipe is not None else rename_keys(keys, "train"), parsed):
        console.print(f"Note: {note}", highlight=False, markup=False, soft_wrap=True)
    files = {encoder: read_embeddings(Path(file)) for encoder, file in (embeddings or {}).items()}
    parsed = parsed.with_precomputed({encoder: file.size for encoder, file in files.items()})
    corpus, folder = convert_to_path(corpus, "a corpus folder"), convert_to_path(out, "a run's folder")
    read = read_corpus_with_words(words, corpus)
    folds = choose_fold(build_folds(read, protocol), fold)
    run = Run(
        folder=folder,
        recipe_name=origin.stem if started is None or recipe is not None else started.name,
        recipe=parsed,
        protocol=protocol,
        corpus_folder=corpus.resolve(),
        corpus_hash=read.table_hash,
        label_set=resolve_label_set(parsed, folder, None if started is None else started.described),
        words=read.words,
        words_hash=read.recognition.words_hash if read.recognition else None,
        licence=resolve_licence(licence, folder, "" if started is None else started.described.provenance.licence),
        start={} if started is None else started.hashes,
        start_name="" if started is None else started.name,
        embeddings={
            encoder: EmbeddingsReference(file=file.path.resolve(), hash=file.hash) for encoder, file in files.items()
        },
    )
    if hardware is None:
        hardware = Hardware(num_workers=num_workers)
        if device != AUTO:
            hardware = Hardware.on(choose_device(device), num_workers=num_workers)
    train_folds(run, read, folds, files, hardware, console, None if reuse is None else Path(reuse), started)
    further = f"; moodline evaluate {out} scores it" if any(one.test for one in folds) else ""
    console.print(f"{out}: trained{further}", highlight=False, soft_wrap=True)
    return tuple(run.get_model_folder(one.name) for one in folds)


def choose_recipe(named: str | Path | None, start: StartModel | None) -> tuple[dict[str, Any], Path]:
    """Read a recipe, or take that of the model to start from -> its dotted keys and values, and where they are from."""
    if named is not None:
        return read_recipe(str(named))
    if start is None:
        needed = f"{format_option('recipe')}, or a model to start from, --from (in Python start)"
        raise MoodlineError(f"training needs {needed}: name one", code="option.missing")
    return flatten_keys(dataclasses.asdict(start.described.recipe)), start.folder / CONFIG_FILE


def evaluate(
    folder: str | Path,
    corpus: str | Path | None = None,
    out: str | Path | None = None,
    *,
    labels: str | None = None,
    words: str | None = None,
    embeddings: Mapping[str, str | Path] | None = None,
    device: str | torch.device = AUTO,
    precision: Precision = FULL_PRECISION,
    batch_seconds: float | None = None,
    with_audio: bool = False,
    quote: bool = True,
    causal: bool = False,
    progress: ProgressCallback = no_progress,
) -> EvaluationOutcome:
    """Score a run on its test folds, or a model on another corpus, and write the results and the report.

    Args:
        folder: a run's folder; or a model folder or org/name[@revision] on the hub, with the ``corpus`` folder that
            it is scored on
        out: the folder for a model's scores
        labels: the label set that maps the corpus's labels to the model's, a name or a YAML file
        words: reference or recognised; None for the words that trained a run, and for a model reference
        embeddings: files of precomputed embeddings, by the encoder that they replace
        device, precision, batch_seconds: see ``moodline.load``
        with_audio: include the audio of the shown errors in the report
        quote: let the report quote the corpus's words
        causal: of a run: label each turn without those after it, and write no report
        progress: receives what is scored, and how many conversations of how many are done

    Raises:
        MoodlineError: the folder, the corpus or the embeddings cannot be used
    """
    files = {encoder: Path(file) for encoder, file in (embeddings or {}).items()}
    execution = Execution(device, precision, batch_seconds).resolve()
    options: dict[str, Any] = {"execution": execution, "with_audio": with_audio, "quote": quote}
    if (corpus is None) != (out is None):
        raise MoodlineError("a model needs corpus and out, a run neither: give both or none", code="option.missing")
    if causal and corpus is not None:
        raise MoodlineError("only a run is scored causally: leave out corpus and out", code="option.unfit")
    place = convert_to_path(folder, "a run's or a model folder")
    if causal:
        return evaluate_causally(place, progress, files, words=words, execution=execution)
    if corpus is None or out is None:
        return evaluate_run(place, progress, files, words=words, **options)
    return evaluate_model(
        locate_model(folder), Path(corpus), Path(out), progress, files, labels, words=words or REFERENCE, **options
    )
