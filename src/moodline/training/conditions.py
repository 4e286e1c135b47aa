"""The conditions of a training set, which its model keeps: see ``moodline.conditions``.

Neither the validation set nor the test set is measured: a recording is compared with what the weights have seen.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from moodline.conditions import MEASURES, Conditions, TrainingConditions
from moodline.config import AUDIO_UTTERANCE, Recipe
from moodline.conversation import Conversation, Utterance
from moodline.inference.conditions import LEAST_PIECES, Listener, conditions_of_words, evenly
from moodline.inference.inputs import waveform_of
from moodline.text.pieces import Pieces, pieces_of
from moodline.text.pretrained import Tokenizer

# So many turns take seconds to read, of a corpus of any size.
MOST_TURNS = 400
TURNS_OF_EACH = 10  # conversation, so that many conversations are among them
RANGE = (5, 95)  # percentiles over the conversations


def training_conditions(
    conversations: Sequence[Conversation], recipe: Recipe, tokenizer: Tokenizer | None
) -> TrainingConditions:
    """Ranges over a sample of a training set, of what the recipe's own encoders read.

    Args:
        tokenizer: None where no words are read

    Raises:
        MoodlineError: a turn's audio cannot be read
    """
    sample = sampled(conversations)
    found: list[Conditions] = []
    if AUDIO_UTTERANCE in recipe.stages:
        found += [speech_of(turns, recipe.audio_utterance.sample_rate) for turns in sample]
    if tokenizer is not None:
        pieces = (pieces_of([turn.words for turn in turns], tokenizer) for turns in sample)
        found += [conditions_of_words(one) for one in enough(pieces)]
    return TrainingConditions(conversations=len(sample), ranges=ranges_of(found))


def sampled(conversations: Sequence[Conversation]) -> list[list[Utterance]]:
    """Some turns of some conversations, the same ones each time, in whatever order these come."""
    sample: list[list[Utterance]] = []
    for conversation in sorted(conversations, key=lambda one: (one.fingerprint, one.id)):
        if sum(map(len, sample)) >= MOST_TURNS:
            break
        if conversation.utterances:
            sample.append(evenly(conversation.utterances, TURNS_OF_EACH))
    return sample


def speech_of(turns: Sequence[Utterance], sample_rate: int) -> Conditions:
    listener = Listener(sample_rate)
    for turn in turns:
        if turn.audio is not None:
            listener.hear(waveform_of(turn, sample_rate).numpy())
    return listener.conditions


def enough(counts: Iterable[Pieces]) -> Iterator[Pieces]:
    """Neighbours' counts together until they tell a language: a conversation may be one short turn."""
    total = Pieces()
    for count in counts:
        total += count
        if total.pieces >= LEAST_PIECES:
            yield total
            total = Pieces()


def ranges_of(found: Sequence[Conditions]) -> dict[str, tuple[float, float]]:
    """By measure, over the conversations in which it could be measured."""
    ranges = {}
    for measure in MEASURES:
        values = [one[measure] for one in found if measure in one]
        if values:
            low, high = np.percentile(values, RANGE)
            ranges[measure] = (float(low), float(high))
    return ranges
