"""Classical baselines, trained and scored on the same folds, labels and measures as the paper's system."""

import dataclasses
import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from moodline.config import CLASS_WEIGHTS, Recipe
from moodline.conversation import Conversation, LabelSet, Utterance, find_label_set
from moodline.corpora.corpus import Corpus
from moodline.corpora.protocols import Fold
from moodline.corpora.storage import REFERENCE
from moodline.device import AUTO, CPU, choose_device, run_on_device
from moodline.embeddings import read_embeddings, write_embeddings
from moodline.errors import MoodlineError, format_install_hint, get_first_line
from moodline.evaluation.predictions import build_stage_columns, build_table, iter_scored_turns
from moodline.evaluation.results import Evaluation, collect_notes, count_fold, describe_evaluation
from moodline.evaluation.scores import STAGES, note_few_conversations, score_predictions
from moodline.inference.encode import read_waveform
from moodline.io import hash_file, open_atomic_file, report_write_errors, write_json
from moodline.metrics import compute_confusion, compute_unweighted_accuracy
from moodline.modeling.batching import build_length_batches, build_length_mask, compute_masked_mean, pad_sequences
from moodline.modeling.pretrained_files import fingerprint_model
from moodline.modeling.text_encoder import KEY, Tokenizer, load_text_backbone
from moodline.training.dataset import refuse_unlabelled, select_scored
from moodline.training.lightning_module import compute_rarity_weights
from moodline.training.provenance import build_provenance
from moodline.training.run import PREDICTIONS_FILE, RESULTS_FILE

REGULARISATION_STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)  # scikit-learn's C, from strong to weak
MAX_ITERATIONS = {LinearSVC: 10_000, LogisticRegression: 2000}
WORD_PATTERN = r"\w+|[!?]"  # includes words of one letter ("I") and expressive punctuation
SENTENCE_BATCH_SIZE = 32
BATCH_SIZE = 500  # features computed between two writes, which is what a killed process loses

Features = Sequence[str] | NDArray[np.float32]
"""The words of N utterances (N,), or their vectors (N, D)."""
Examples = tuple[Features, Sequence[str]]
"""The features of utterances, and their classes (N,)."""
FeatureReader = Callable[[Sequence[Utterance]], Features]


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A deterministic system: fixed features and a scikit-learn classifier."""

    key: str  # its stage in a table of predictions
    name: str
    # Creates the function that computes features, which it caches in a folder; refuses a missing package or model.
    reader: Callable[[Recipe, Path, torch.device], FeatureReader]
    # Creates the untrained scikit-learn classifier from its C and the weight of each class.
    classifier: Callable[[float, Mapping[str, float]], Any]

    def select(self, train: Examples, validation: Examples, class_weights: Mapping[str, float]) -> Any:
        """Train a classifier for each C; select that of the highest UA on the validation set, ties to the smaller."""
        names = list(class_weights)
        try:
            trained = [self.classifier(strength, class_weights).fit(*train) for strength in REGULARISATION_STRENGTHS]
        except ValueError as error:
            raise MoodlineError(
                f"{self.name} cannot be trained on this training set: {get_first_line(error)}; leave {self.key} out",
                code="experiment.baseline_training",
            ) from error
        features, classes = validation
        matrices = np.stack([compute_confusion(classes, one.predict(features).tolist(), names) for one in trained])
        return trained[int(compute_unweighted_accuracy(matrices).argmax())]


def compute_probabilities(trained: Any, features: Features, classes: Sequence[str]) -> NDArray[np.float64]:
    """Compute the softmax of a classifier's decision values (N, C), columns in the order of the classes.

    For logistic regression these are its probabilities. For a support vector machine they are not calibrated, and have
    their maximum at its prediction.
    """
    decisions = np.asarray(trained.decision_function(features))  # (N, C), of two classes (N,)
    if decisions.ndim == 1:
        decisions = np.stack([np.zeros_like(decisions), decisions], axis=1)
    columns = list(trained.classes_)
    return softmax(decisions, axis=1)[:, [columns.index(name) for name in classes]]


def create_classifier(
    scaling: Callable[[], Any], kind: type, strength: float, class_weights: Mapping[str, float], **options: Any
) -> Any:
    classifier = kind(C=strength, class_weight=dict(class_weights), max_iter=MAX_ITERATIONS[kind], **options)
    return make_pipeline(scaling(), classifier)


def create_cached_reader(
    path: Path,
    identify: Callable[[Sequence[Utterance]], Sequence[str]],
    compute: Callable[[Sequence[Utterance]], NDArray[np.float32]],
) -> FeatureReader:
    """Create a reader of features (N, D) that keeps them in a file of ``moodline.embeddings``, with their keys as ids.

    Keys identify everything the features depend on. Processes that share the file wait for each other, and none
    computes a feature twice.
    """

    def read(utterances: Sequence[Utterance]) -> NDArray[np.float32]:
        keys = identify(utterances)
        with report_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(path.with_name(f".{path.name}.lock")).acquire()
        with lock:
            found = dict(read_embeddings(path).vectors) if path.is_file() else {}
            missing = [(key, one) for key, one in dict(zip(keys, utterances, strict=True)).items() if key not in found]
            for first in range(0, len(missing), BATCH_SIZE):
                batch = missing[first : first + BATCH_SIZE]
                vectors = torch.from_numpy(compute([one for _, one in batch]))
                found.update(zip((key for key, _ in batch), vectors, strict=True))
                write_embeddings(path, found)
        return torch.stack([found[key] for key in keys]).numpy()

    return read


def create_egemaps_reader(recipe: Recipe, folder: Path, device: torch.device = CPU) -> FeatureReader:
    """Create a reader of eGeMAPS functionals, cached by the recording's hash and the utterance's times."""
    try:
        import opensmile
    except ImportError:
        raise MoodlineError(
            f"openSMILE, which computes eGeMAPS, is not installed: {format_install_hint('reproduce')}; or leave "
            "eGeMAPS out with moodline baselines --only tf_idf,sentence_embeddings",
            code="experiment.missing_package",
        ) from None
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    rate = recipe.audio_utterance.sample_rate
    return create_cached_reader(
        folder / f"egemaps-{opensmile.__version__}-{rate}.parquet",
        identify_recordings,
        lambda utterances: np.stack([compute_functionals(smile, one, rate) for one in utterances]),
    )


def compute_functionals(smile: Any, utterance: Utterance, rate: int) -> NDArray[np.float32]:
    """Compute an utterance's functionals (88,); undefined ones, in very short utterances all of them, are zero."""
    samples = read_waveform(utterance, rate).numpy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Segment too short")
        found = smile.process_signal(samples, rate)
    return np.nan_to_num(found.to_numpy(dtype=np.float32)[0])


def identify_recordings(utterances: Sequence[Utterance]) -> list[str]:
    """Build a key for each utterance's sound from its file's hash and its times."""
    hash_once, keys = cache(hash_file), []
    for utterance in utterances:
        clip = utterance.audio
        if clip is None:
            raise MoodlineError(
                f"{utterance.id} has no audio, from which eGeMAPS is computed; prepare the corpus with its audio, or "
                "leave egemaps out",
                code="experiment.missing_audio",
            )
        keys.append(f"{clip.file_hash or hash_once(clip.path)} {clip.offset:.6f} {clip.duration:.6f}")
    return keys


def list_words(utterances: Sequence[Utterance]) -> list[str]:
    return [utterance.words for utterance in utterances]


def create_tf_idf_reader(recipe: Recipe, folder: Path, device: torch.device = CPU) -> FeatureReader:
    """Create a reader of the words themselves: the classifier's pipeline vectorises them."""
    return list_words


def create_bert_reader(recipe: Recipe, folder: Path, device: torch.device = CPU) -> FeatureReader:
    """Create a reader of an encoder's mean embeddings on a device, cached by the utterance's words."""
    text = recipe.text_utterance
    backbone, tokenizer = load_text_backbone(text.pretrained, text.maximum_tokens, text.revision)
    backbone.to(device)
    files = fingerprint_model(text.pretrained, KEY, text.revision)
    source = f"{text.pretrained} {files} {text.maximum_tokens}"
    path = folder / f"sentences-{hashlib.sha256(source.encode()).hexdigest()[:16]}.parquet"
    return create_cached_reader(path, list_words, lambda turns: pool_means(list_words(turns), backbone, tokenizer))


@torch.inference_mode()
def pool_means(words: Sequence[str], backbone: Any, tokenizer: Tokenizer) -> NDArray[np.float32]:
    """Average an encoder's last layer over each text's tokens, [CLS] and [SEP] included: (N, D)."""
    tokens = tokenizer(words)
    means = torch.empty(len(words), backbone.config.hidden_size)
    for batch in build_length_batches([len(ids) for ids in tokens], batch_size=SENTENCE_BATCH_SIZE):
        ids, lengths = pad_sequences([tokens[place] for place in batch])
        mask = build_length_mask(lengths, ids.shape[1])
        hidden = run_on_device(backbone, ids, mask.long())["last_hidden_state"]  # (B, T, D)
        means[batch] = compute_masked_mean(hidden, lengths)
    return means.numpy()


vectorise = partial(TfidfVectorizer, ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD_PATTERN)
# The solver of the SVM's primal problem is deterministic.
create_svm = partial(create_classifier, StandardScaler, LinearSVC, dual=False)
regress_words = partial(create_classifier, vectorise, LogisticRegression)
regress_bert = partial(create_classifier, StandardScaler, LogisticRegression)
BASELINES: Mapping[str, Baseline] = {
    one.key: one
    for one in (
        Baseline("egemaps", "speech, eGeMAPS and a linear SVM", create_egemaps_reader, create_svm),
        Baseline("tf_idf", "words, TF-IDF and logistic regression", create_tf_idf_reader, regress_words),
        Baseline("sentence_embeddings", "words, frozen BERT and logistic regression", create_bert_reader, regress_bert),
    )
}
# Names in tables; together with STAGES, the stages of score_predictions.
BASELINE_NAMES: Mapping[str, str] = {key: baseline.name for key, baseline in BASELINES.items()}


def select_baselines(named: str | None) -> Sequence[Baseline]:
    """Select baselines by a comma-separated list of keys; None selects all."""
    keys = list(BASELINES) if named is None else [key.strip() for key in named.split(",")]
    if unknown := [key for key in keys if key not in BASELINES]:
        raise MoodlineError(
            f"unknown baseline {unknown[0]!r}: choose from {', '.join(BASELINES)}", code="experiment.unknown_baseline"
        )
    return [BASELINES[key] for key in dict.fromkeys(keys)]


def predict_baseline(baseline: Baseline, read: FeatureReader, fold: Fold, labels: LabelSet, recipe: Recipe) -> pa.Table:
    """Predict a fold's test utterances that have a class, with the columns of ``evaluation.predictions``.

    Labels of the test set, in cv10 those of the test speaker, only fill the column label.
    """
    sets = fold.get_training_sets(labels, recipe.context)

    def collect_examples(conversations: Sequence[Conversation]) -> Examples:
        """Collect the features of the utterances that have a class, and their classes."""
        utterances, classes = select_scored(conversations, labels)
        return read(utterances), [labels.classes[index] for index in classes.tolist()]

    weights = compute_class_weights(sets.train, labels, recipe)
    trained = baseline.select(collect_examples(sets.train), collect_examples(sets.validation), weights)
    tested = [
        (facts, one.utterances[turn])
        for one in fold.test
        for turn, facts in iter_scored_turns(one, labels, fold.name, fold.test_speaker)
    ]
    rows: list[dict[str, Any]] = []
    if tested:
        found = compute_probabilities(trained, read([utterance for _, utterance in tested]), labels.classes)
        named = [dict(zip(labels.classes, row, strict=True)) for row in found.tolist()]
        rows = [facts | build_stage_columns(baseline.key, one) for (facts, _), one in zip(tested, named, strict=True)]
    return build_table(rows, labels, len(fold.test), fold.test_speaker)


def compute_class_weights(train: Sequence[Conversation], labels: LabelSet, recipe: Recipe) -> dict[str, float]:
    """Compute the recipe's weight of each class."""
    _, classes = select_scored(train, labels)
    weights = compute_rarity_weights(classes, len(labels.classes), CLASS_WEIGHTS[recipe.class_weights])
    return dict(zip(labels.classes, weights.tolist(), strict=True))


def score_baselines(
    corpus: Corpus,
    baselines: Sequence[Baseline],
    recipe: Recipe,
    recipe_name: str,
    folds: Sequence[Fold],
    of: int,
    features: Path,
    out: Path,
    device: str | torch.device = AUTO,
) -> tuple[Evaluation, list[str]]:
    """Train and score baselines on some of a protocol's folds, write the scores, and return them with their notes."""
    refuse_unlabelled(corpus)
    labels = find_label_set(recipe.label_set)
    for fold in folds:
        if not fold.test:
            raise MoodlineError(
                f"protocol {fold.protocol} has no test set, on which baselines are scored; choose another --protocol",
                code="experiment.no_test_set",
            )
        build_provenance(recipe, labels, corpus, fold, {})  # checks all folds before the first one trains
    # Once for all folds: a reader may load BERT and hash its files.
    chosen = choose_device(device)
    read = [(baseline, baseline.reader(recipe, features, chosen)) for baseline in baselines]
    predictions = pa.concat_tables(
        predict_baseline(baseline, reader, fold, labels, recipe) for fold in folds for baseline, reader in read
    )
    evaluation = score_predictions(predictions, labels.classes, stages={**STAGES, **BASELINE_NAMES})
    notes = [*collect_notes(folds, of), *note_few_conversations(evaluation.scores)]
    results = {
        **describe_evaluation(labels, recipe.context, corpus, REFERENCE),
        "protocol": folds[0].protocol,
        "recipe": recipe_name,
        "seed": recipe.seed,
        "notes": notes,
        "folds": [count_fold(fold, labels) for fold in folds],
        **dataclasses.asdict(evaluation),
    }
    with open_atomic_file(out / PREDICTIONS_FILE) as temporary:
        pq.write_table(predictions, temporary)
    write_json(out / RESULTS_FILE, results)
    return evaluation, notes
