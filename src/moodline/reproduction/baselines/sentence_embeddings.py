"""The mean of a pretrained BERT's last layer over a turn's tokens, nothing fine-tuned, and logistic regression."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from moodline.batching import length_batches
from moodline.config import Recipe
from moodline.conversation import Utterance
from moodline.padding import length_mask, masked_mean, pad
from moodline.reproduction.baselines.baseline import Baseline, Reader
from moodline.reproduction.baselines.kept import kept_features
from moodline.text.pretrained import Tokenizer, fingerprint_of, load_bert

BATCH = 32
STEPS = 2000


def reader(recipe: Recipe, folder: Path) -> Reader:
    """Reads words with the recipe's BERT; a turn's vector is kept under its words."""
    text = recipe.text_utterance
    bert, tokenizer = load_bert(text.bert, text.maximum_tokens)
    source = f"{text.bert} {fingerprint_of(text.bert)} {text.maximum_tokens}"
    path = folder / f"sentences-{hashlib.sha256(source.encode()).hexdigest()[:16]}.parquet"

    def read(utterances: Sequence[Utterance]) -> NDArray[np.float32]:
        words = [utterance.words for utterance in utterances]
        return kept_features(path, words, lambda places: mean_pooled([words[one] for one in places], bert, tokenizer))

    return read


@torch.inference_mode()
def mean_pooled(words: Sequence[str], bert: Any, tokenizer: Tokenizer) -> NDArray[np.float32]:
    """The means (N, D) over each turn's tokens, its two marks included."""
    tokens = tokenizer(words)
    means = torch.empty(len(words), bert.config.hidden_size)
    for batch in length_batches([len(ids) for ids in tokens], batch_size=BATCH):
        ids, lengths = pad([tokens[place] for place in batch])
        mask = length_mask(lengths, ids.shape[1])
        hidden = bert(ids, attention_mask=mask.long()).last_hidden_state  # (B, T, D)
        means[batch] = masked_mean(hidden, lengths)
    return means.numpy()


def classifier(strength: float, class_weights: Mapping[str, float]) -> Any:
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, class_weight=dict(class_weights), max_iter=STEPS)
    )


SENTENCE_EMBEDDINGS = Baseline(
    key="sentence_embeddings",
    name="words, frozen BERT and logistic regression",
    modality="text",
    reader=reader,
    classifier=classifier,
)
