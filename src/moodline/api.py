"""Train and evaluate from Python, as the commands ``moodline train`` and ``moodline evaluate`` do."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from moodline.config import merge, parse_recipe, read_recipe
from moodline.corpora.asr_column import read_corpus_with_words
from moodline.corpora.protocols import build_folds, choose_fold
from moodline.corpora.storage import REFERENCE
from moodline.device import AUTO, choose_device
from moodline.embeddings import read_embeddings
from moodline.errors import MoodlineError
from moodline.evaluation.cross_corpus import evaluate_model
from moodline.evaluation.evaluate import EvaluationOutcome, evaluate_run
from moodline.training.run import EmbeddingsReference, Run, resolve_label_set, resolve_licence
from moodline.training.train import train_folds
from moodline.training.trainer import Hardware

if TYPE_CHECKING:
    import torch


def train(
    corpus: str | Path,
    out: str | Path,
    *,
    recipe: str | Path,
    protocol: str,
    fold: str | None = None,
    device: "str | torch.device" = AUTO,
    words: str = REFERENCE,
    embeddings: Mapping[str, str | Path] | None = None,
    reuse: str | Path | None = None,
    licence: str | None = None,
    num_workers: int = 0,
    **keys: Any,
) -> tuple[Path, ...]:
    """Train a model for each fold of a corpus, and return the model folders; a second call resumes.

    Args:
        corpus: a corpus folder, as ``moodline prepare`` writes it
        out: the run's folder
        recipe: a YAML file, or the name of a recipe that comes with moodline
        protocol: which conversations train and which test: session5, cv5, official, all, ...
        fold: train this fold alone
        device: see ``moodline.load``
        words: reference or recognised
        embeddings: files of precomputed embeddings, by the encoder that they replace
        reuse: a folder of other runs, whose finished stages are taken over where they are the same
        licence: of the models, one line
        num_workers: processes that read audio
        keys: keys of the recipe that replace its own, nested as mappings: ``fusion={"epochs": 1}``

    Raises:
        MoodlineError: the corpus, the recipe or the protocol cannot be used, or the folder holds another run
    """
    content, path = read_recipe(str(recipe))
    files = {encoder: read_embeddings(Path(file)) for encoder, file in (embeddings or {}).items()}
    parsed = parse_recipe(merge(content, keys), str(path)).with_precomputed(
        {encoder: file.size for encoder, file in files.items()}
    )
    read, folder = read_corpus_with_words(words, Path(corpus)), Path(out)
    folds = choose_fold(build_folds(read, protocol), fold)
    run = Run(
        folder=folder,
        recipe_name=path.stem,
        recipe=parsed,
        protocol=protocol,
        corpus_folder=Path(corpus).resolve(),
        corpus_hash=read.table_hash,
        label_set=resolve_label_set(parsed, folder),
        words=read.words,
        words_hash=read.recognition.words_hash if read.recognition else None,
        licence=resolve_licence(licence, folder),
        embeddings={
            encoder: EmbeddingsReference(file=file.path.resolve(), hash=file.hash) for encoder, file in files.items()
        },
    )
    hardware = Hardware(num_workers=num_workers)
    if device != AUTO:
        hardware = Hardware.on(choose_device(device), num_workers=num_workers)
    train_folds(run, read, folds, files, hardware, Console(quiet=True), None if reuse is None else Path(reuse))
    return tuple(run.get_model_folder(one.name) for one in folds)


def evaluate(
    folder: str | Path,
    corpus: str | Path | None = None,
    out: str | Path | None = None,
    *,
    labels: str | None = None,
    words: str | None = None,
    embeddings: Mapping[str, str | Path] | None = None,
    device: "str | torch.device" = AUTO,
) -> EvaluationOutcome:
    """Score a run on its test folds, or a model on another corpus, and write the results and the report.

    Args:
        folder: a run's folder; or a model folder, with ``corpus`` and ``out``
        corpus: the corpus folder that a model is scored on
        out: the folder for a model's scores
        labels: the label set that maps the corpus's labels to the model's, a name or a YAML file
        words: reference or recognised; None for the words that trained a run, and for a model reference
        embeddings: files of precomputed embeddings, by the encoder that they replace
        device: see ``moodline.load``

    Raises:
        MoodlineError: the folder, the corpus or the embeddings cannot be used
    """
    files = {encoder: Path(file) for encoder, file in (embeddings or {}).items()}
    if corpus is None and out is None:
        return evaluate_run(Path(folder), _ignore, files, words=words, device=device)
    if corpus is None or out is None:
        missing = "corpus" if corpus is None else "out"
        raise MoodlineError(
            f"{missing} is missing: a model needs a corpus and a folder for its scores, a run neither",
            code="option.missing",
        )
    return evaluate_model(
        Path(folder), Path(corpus), Path(out), _ignore, files, labels, words=words or REFERENCE, device=device
    )


def _ignore(*progress: object) -> None:
    """Report no progress."""
