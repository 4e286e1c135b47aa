"""Words and pairs of words, weighted by how rare they are, and logistic regression."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from moodline.config import Recipe
from moodline.conversation import Utterance
from moodline.reproduction.baselines.baseline import Baseline, Reader

# Of one letter too: "I" is a word. And marks that tell a mood.
WORD = r"\w+|[!?]"
STEPS = 2000


def words_of(utterances: Sequence[Utterance]) -> list[str]:
    return [utterance.words for utterance in utterances]


def reader(recipe: Recipe, folder: Path) -> Reader:
    return words_of


def classifier(strength: float, class_weights: Mapping[str, float]) -> Any:
    return make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD),
        LogisticRegression(C=strength, class_weight=dict(class_weights), max_iter=STEPS),
    )


TF_IDF = Baseline(
    key="tf_idf", name="words, TF-IDF and logistic regression", modality="text", reader=reader, classifier=classifier
)
