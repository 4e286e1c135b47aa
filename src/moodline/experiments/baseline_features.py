"""Classical baselines: eGeMAPS with an SVM, sentence embeddings and tf-idf with logistic regression."""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from moodline.config import Recipe
from moodline.conversation import Utterance
from moodline.device import CPU, run_on_device
from moodline.embeddings import read_embeddings, write_embeddings
from moodline.errors import MoodlineError, format_install_hint, get_first_line
from moodline.inference.encode import read_waveform
from moodline.io import build_write_error, hash_file
from moodline.metrics import compute_confusion, compute_unweighted_accuracy
from moodline.modeling.batching import build_length_batches, build_length_mask, compute_masked_mean, pad_sequences
from moodline.modeling.text_encoder import Tokenizer, fingerprint_model, load_bert

# C of scikit-learn's classifiers, from strong to weak regularisation.
REGULARISATION_STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)

Features = Sequence[str] | NDArray[np.float32]
"""The words of N utterances (N,), or their vectors (N, D)."""
FeatureReader = Callable[[Sequence[Utterance]], Features]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A deterministic system: fixed features and a scikit-learn classifier.

    Attributes:
        key: its stage in a table of predictions
        name: its name in tables
        reader: creates the function that computes features, from the recipe, a folder that caches them, and the device
            of a network; raises MoodlineError if a package or a model is missing
        classifier: creates the untrained scikit-learn classifier from its C and the weight of each class
    """

    key: str
    name: str
    reader: Callable[[Recipe, Path, torch.device], FeatureReader]
    classifier: Callable[[float, Mapping[str, float]], Any]

    def select(
        self,
        train: tuple[Features, Sequence[str]],
        validation: tuple[Features, Sequence[str]],
        class_weights: Mapping[str, float],
    ) -> Any:
        """Train a classifier for each C and select that of the highest UA on the validation set, ties to the smaller.

        Args:
            train, validation: features of utterances and their classes
            class_weights: weight of every class

        Raises:
            MoodlineError: scikit-learn cannot train on these features, for example if no utterance has a word
        """
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


BATCH_SIZE = 500  # features computed between two writes, which is what a killed process loses


def compute_cached_features(
    path: Path, keys: Sequence[str], compute: Callable[[Sequence[int]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Read features (N, D) by their keys from a file of vectors, after computing and adding the missing ones.

    Processes that share the file wait for each other, and none computes a feature twice.

    Args:
        path: file of ``moodline.embeddings``, with the keys as ids
        keys: N keys that identify everything the features depend on; duplicates are allowed
        compute: computes the features (n, D) of these positions in ``keys``

    Raises:
        MoodlineError: the file cannot be read or written
    """
    with lock_file(path):
        found = dict(read_embeddings(path).vectors) if path.is_file() else {}
        missing = [place for key, place in dict(zip(keys, range(len(keys)), strict=True)).items() if key not in found]
        for first in range(0, len(missing), BATCH_SIZE):
            places = missing[first : first + BATCH_SIZE]
            vectors = torch.from_numpy(compute(places))
            found.update(zip((keys[place] for place in places), vectors, strict=True))
            write_embeddings(path, found)
    return torch.stack([found[key] for key in keys]).numpy()


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Lock a file against other processes, waiting for the one that holds it."""
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise build_write_error(path, error) from error
    try:
        yield
    finally:
        lock.release()


SVM_ITERATIONS = 10_000


def create_egemaps_reader(recipe: Recipe, folder: Path, device: torch.device = CPU) -> FeatureReader:
    """Create a reader of eGeMAPS functionals, cached by the recording's hash and the utterance's times.

    Raises:
        MoodlineError: openSMILE is not installed
    """
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
    path = folder / f"egemaps-{opensmile.__version__}-{rate}.parquet"

    def read(utterances: Sequence[Utterance]) -> NDArray[np.float32]:
        return compute_cached_features(
            path,
            identify_recordings(utterances),
            lambda places: np.stack([compute_functionals(smile, utterances[place], rate) for place in places]),
        )

    return read


def compute_functionals(smile: Any, utterance: Utterance, rate: int) -> NDArray[np.float32]:
    """Compute an utterance's functionals (88,); undefined ones, in very short utterances all of them, are zero."""
    samples = read_waveform(utterance, rate).numpy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Segment too short")
        found = smile.process_signal(samples, rate)
    return np.nan_to_num(found.to_numpy(dtype=np.float32)[0])


def identify_recordings(utterances: Sequence[Utterance]) -> list[str]:
    """Build a key for each utterance's sound from its file's hash and its times.

    Raises:
        MoodlineError: an utterance has no audio, or its file cannot be read
    """
    hashes: dict[Path, str] = {}
    keys = []
    for utterance in utterances:
        clip = utterance.audio
        if clip is None:
            raise MoodlineError(
                f"{utterance.id} has no audio, from which eGeMAPS is computed; prepare the corpus with its audio, or "
                "leave egemaps out",
                code="experiment.missing_audio",
            )
        if clip.path not in hashes:
            hashes[clip.path] = clip.file_hash or hash_file(clip.path)
        keys.append(f"{hashes[clip.path]} {clip.offset:.6f} {clip.duration:.6f}")
    return keys


def create_svm(strength: float, class_weights: Mapping[str, float]) -> Any:
    # The solver of the primal problem is deterministic.
    machine = LinearSVC(
        C=strength,
        class_weight=dict(class_weights),
        dual=False,  # pyright: ignore[reportArgumentType]
        max_iter=SVM_ITERATIONS,
    )
    return make_pipeline(StandardScaler(), machine)


EGEMAPS = Baseline(
    key="egemaps",
    name="speech, eGeMAPS and a linear SVM",
    reader=create_egemaps_reader,
    classifier=create_svm,
)


SENTENCE_BATCH_SIZE = 32
SENTENCE_ITERATIONS = 2000


def create_sentence_reader(recipe: Recipe, folder: Path, device: torch.device = CPU) -> FeatureReader:
    """Create a reader of mean BERT embeddings on a device, cached by the utterance's words."""
    text = recipe.text_utterance
    bert, tokenizer = load_bert(text.bert, text.maximum_tokens)
    bert.to(device)
    source = f"{text.bert} {fingerprint_model(text.bert)} {text.maximum_tokens}"
    path = folder / f"sentences-{hashlib.sha256(source.encode()).hexdigest()[:16]}.parquet"

    def read(utterances: Sequence[Utterance]) -> NDArray[np.float32]:
        words = [utterance.words for utterance in utterances]
        return compute_cached_features(
            path, words, lambda places: pool_means([words[one] for one in places], bert, tokenizer)
        )

    return read


@torch.inference_mode()
def pool_means(words: Sequence[str], bert: Any, tokenizer: Tokenizer) -> NDArray[np.float32]:
    """Average BERT's last layer over each text's tokens, [CLS] and [SEP] included: (N, D)."""
    tokens = tokenizer(words)
    means = torch.empty(len(words), bert.config.hidden_size)
    for batch in build_length_batches([len(ids) for ids in tokens], batch_size=SENTENCE_BATCH_SIZE):
        ids, lengths = pad_sequences([tokens[place] for place in batch])
        mask = build_length_mask(lengths, ids.shape[1])
        hidden = run_on_device(bert, ids, mask.long())["last_hidden_state"]  # (B, T, D)
        means[batch] = compute_masked_mean(hidden, lengths)
    return means.numpy()


def create_sentence_classifier(strength: float, class_weights: Mapping[str, float]) -> Any:
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, class_weight=dict(class_weights), max_iter=SENTENCE_ITERATIONS)
    )


SENTENCE_EMBEDDINGS = Baseline(
    key="sentence_embeddings",
    name="words, frozen BERT and logistic regression",
    reader=create_sentence_reader,
    classifier=create_sentence_classifier,
)


# Includes words of one letter ("I") and expressive punctuation.
WORD_PATTERN = r"\w+|[!?]"
TF_IDF_ITERATIONS = 2000


def create_tf_idf_reader(recipe: Recipe, folder: Path, device: torch.device = CPU) -> FeatureReader:
    """Create a reader of the words themselves: the classifier's pipeline vectorises them."""
    return lambda utterances: [utterance.words for utterance in utterances]


def create_tf_idf_classifier(strength: float, class_weights: Mapping[str, float]) -> Any:
    return make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD_PATTERN),
        LogisticRegression(C=strength, class_weight=dict(class_weights), max_iter=TF_IDF_ITERATIONS),
    )


TF_IDF = Baseline(
    key="tf_idf",
    name="words, TF-IDF and logistic regression",
    reader=create_tf_idf_reader,
    classifier=create_tf_idf_classifier,
)
