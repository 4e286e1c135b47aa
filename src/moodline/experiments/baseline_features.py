"""Classical systems: eGeMAPS with an SVM, sentence embeddings and tf-idf with logistic regression."""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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

# From strongly regularised to hardly: C of scikit-learn's classifiers.
REGULARISATION_STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)

Features = Sequence[str] | NDArray[np.float32]
"""Of N utterances: their words (N,), or vectors (N, D)."""
FeatureReader = Callable[[Sequence[Utterance]], Features]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """One system. Nothing of it is random: it is the same for every seed.

    Attributes:
        key: its stage in a table of predictions
        name: as a table shows it
        modality: what it reads of an utterance
        reader: makes the function that reads utterances, which learns nothing of them, from the recipe, a folder
            that keeps what takes long, and the device of a network; a MoodlineError where what it needs is not there
        classifier: makes the scikit-learn classifier, untrained, from its C and the weight of each class
    """

    key: str
    name: str
    modality: Literal["audio", "text"]
    reader: Callable[[Recipe, Path, torch.device], FeatureReader]
    classifier: Callable[[float, Mapping[str, float]], Any]

    def select(
        self,
        train: tuple[Features, Sequence[str]],
        validation: tuple[Features, Sequence[str]],
        class_weights: Mapping[str, float],
    ) -> Any:
        """The classifier trained with that C which has the highest UA on the validation set; of equals the smallest.

        Args:
            train, validation: features of utterances and their classes
            class_weights: of all classes

        Raises:
            MoodlineError: scikit-learn cannot train on these, as where no utterance has a word
        """
        names = list(class_weights)
        try:
            trained = [self.classifier(strength, class_weights).fit(*train) for strength in REGULARISATION_STRENGTHS]
        except ValueError as error:
            raise MoodlineError(
                f"{self.name} cannot be trained on this training set: {get_first_line(error)}; leave that baseline out"
            ) from error
        features, classes = validation
        matrices = np.stack([compute_confusion(classes, one.predict(features).tolist(), names) for one in trained])
        return trained[int(compute_unweighted_accuracy(matrices).argmax())]


def compute_probabilities(trained: Any, features: Features, classes: Sequence[str]) -> NDArray[np.float64]:
    """The softmax of a classifier's decision values: (N, C), columns in the order of the classes.

    For logistic regression these are its probabilities. For a support vector machine they say the class that it says,
    and are not calibrated.
    """
    decisions = np.asarray(trained.decision_function(features))  # (N, C), of two classes (N,)
    if decisions.ndim == 1:
        decisions = np.stack([np.zeros_like(decisions), decisions], axis=1)
    columns = list(trained.classes_)
    return softmax(decisions, axis=1)[:, [columns.index(name) for name in classes]]


BATCH_SIZE = 500  # computed between one write and the next: what a kill loses


def compute_cached_features(
    path: Path, keys: Sequence[str], compute: Callable[[Sequence[int]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Features (N, D) by their keys, from a file of vectors; what it lacks is computed and added to it.

    Processes that share the file wait for each other, so that nothing is computed twice.

    Args:
        path: see ``moodline.embeddings``; the keys are its ids
        keys: of all that the features are a function of, N of them; the same may come twice
        compute: the features (n, D) of what has these places in ``keys``

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
    """Keep other processes from a file meanwhile; wait for one that has it."""
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
    """Reads speech at the recipe's sample rate; a turn's functionals are kept under its recording's hash and times.

    Raises:
        MoodlineError: openSMILE is not installed
    """
    try:
        import opensmile
    except ImportError:
        raise MoodlineError(
            f"eGeMAPS needs openSMILE, the extra reproduce: {format_install_hint('reproduce')}; "
            "moodline baselines leaves it out with --only tf_idf,sentence_embeddings"
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
    """An utterance's functionals (88,); what openSMILE leaves open is zero, in the shortest turns all of it."""
    samples = read_waveform(utterance, rate).numpy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Segment too short")
        found = smile.process_signal(samples, rate)
    return np.nan_to_num(found.to_numpy(dtype=np.float32)[0])


def identify_recordings(utterances: Sequence[Utterance]) -> list[str]:
    """What tells each utterance's sound from any other.

    Raises:
        MoodlineError: an utterance has no audio, or its file cannot be read
    """
    hashes: dict[Path, str] = {}
    keys = []
    for utterance in utterances:
        clip = utterance.audio
        if clip is None:
            raise MoodlineError(
                f"eGeMAPS is of speech, and {utterance.id} has no audio: prepare the corpus with its audio, or leave "
                "that baseline out"
            )
        if clip.path not in hashes:
            hashes[clip.path] = clip.file_hash or hash_file(clip.path)
        keys.append(f"{hashes[clip.path]} {clip.offset:.6f} {clip.duration:.6f}")
    return keys


def create_svm(strength: float, class_weights: Mapping[str, float]) -> Any:
    # The primal problem, whose solver draws nothing at random.
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
    modality="audio",
    reader=create_egemaps_reader,
    classifier=create_svm,
)


SENTENCE_BATCH_SIZE = 32
SENTENCE_ITERATIONS = 2000


def create_sentence_reader(recipe: Recipe, folder: Path, device: torch.device = CPU) -> FeatureReader:
    """Reads words with the recipe's BERT on a device; a turn's vector is kept under its words."""
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
    """The means (N, D) over each turn's tokens, its two marks included."""
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
    modality="text",
    reader=create_sentence_reader,
    classifier=create_sentence_classifier,
)


# Of one letter too: "I" is a word. And marks that tell a mood.
WORD_PATTERN = r"\w+|[!?]"
TF_IDF_ITERATIONS = 2000


def get_words(utterances: Sequence[Utterance]) -> list[str]:
    return [utterance.words for utterance in utterances]


def create_tf_idf_reader(recipe: Recipe, folder: Path, device: torch.device = CPU) -> FeatureReader:
    return get_words


def create_tf_idf_classifier(strength: float, class_weights: Mapping[str, float]) -> Any:
    return make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD_PATTERN),
        LogisticRegression(C=strength, class_weight=dict(class_weights), max_iter=TF_IDF_ITERATIONS),
    )


TF_IDF = Baseline(
    key="tf_idf",
    name="words, TF-IDF and logistic regression",
    modality="text",
    reader=create_tf_idf_reader,
    classifier=create_tf_idf_classifier,
)
