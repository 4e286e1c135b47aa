"""openSMILE's eGeMAPS and a linear support vector machine.

Eyben et al., "The Geneva minimalistic acoustic parameter set (GeMAPS) for voice research and affective computing", IEEE
Transactions on Affective Computing, 2016: 88 functionals an utterance, standardised over the training set.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from moodline.config import Recipe
from moodline.conversation import Utterance
from moodline.errors import MoodlineError
from moodline.files import hash_of_file
from moodline.inference.inputs import waveform_of
from moodline.reproduction.baselines.baseline import Baseline, Reader
from moodline.reproduction.baselines.kept import kept_features
from moodline.wording import to_install

STEPS = 10_000


def reader(recipe: Recipe, folder: Path) -> Reader:
    """Reads speech at the recipe's sample rate; a turn's functionals are kept under its recording's hash and times.

    Raises:
        MoodlineError: openSMILE is not installed
    """
    try:
        import opensmile
    except ImportError:
        raise MoodlineError(
            f"eGeMAPS needs openSMILE, the extra reproduce: {to_install('reproduce')}; "
            "moodline baselines leaves it out with --only tf_idf,sentence_embeddings"
        ) from None
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    rate = recipe.audio_utterance.sample_rate
    path = folder / f"egemaps-{opensmile.__version__}-{rate}.parquet"

    def read(utterances: Sequence[Utterance]) -> NDArray[np.float32]:
        return kept_features(
            path,
            recordings_of(utterances),
            lambda places: np.stack([functionals(smile, utterances[place], rate) for place in places]),
        )

    return read


def functionals(smile: Any, utterance: Utterance, rate: int) -> NDArray[np.float32]:
    """An utterance's functionals (88,); what openSMILE leaves open is zero, in the shortest turns all of it."""
    samples = waveform_of(utterance, rate).numpy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Segment too short")
        found = smile.process_signal(samples, rate)
    return np.nan_to_num(found.to_numpy(dtype=np.float32)[0])


def recordings_of(utterances: Sequence[Utterance]) -> list[str]:
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
            hashes[clip.path] = clip.file_hash or hash_of_file(clip.path)
        keys.append(f"{hashes[clip.path]} {clip.offset:.6f} {clip.duration:.6f}")
    return keys


def classifier(strength: float, class_weights: Mapping[str, float]) -> Any:
    # The primal problem, whose solver draws nothing at random.
    machine = LinearSVC(
        C=strength,
        class_weight=dict(class_weights),
        dual=False,  # pyright: ignore[reportArgumentType]
        max_iter=STEPS,
    )
    return make_pipeline(StandardScaler(), machine)


EGEMAPS = Baseline(
    key="egemaps", name="speech, eGeMAPS and a linear SVM", modality="audio", reader=reader, classifier=classifier
)
