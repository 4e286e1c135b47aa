"""The whole system at a size that trains in seconds: used by the tests of training, evaluation and the command line."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moodline.cli.main import main
from moodline.corpora.corpus import read_corpus
from moodline.errors import MoodlineError
from tests.rounding import rounding

TINY_RECIPE = """
class_weights: balanced
audio_utterance:
  embedding: 12
  channels: [4, 4, 6, 6, 8, 8]
  training: {{batch_size: 8, learning_rate: 3.0e-3, epochs: 2, patience: 2}}
text_utterance:
  pretrained: {bert}
  hidden: 8
  embedding: 12
  training: {{batch_size: 8, learning_rate: 3.0e-3, epochs: 2, patience: 2}}
audio_context: &context
  hidden: 6
  training: {{batch_size: 4, learning_rate: 3.0e-3, epochs: 2, patience: 2}}
text_context: *context
fusion:
  hidden: 12
  heads: 3
  layers: 1
  feed_forward: 16
  training: {{batch_size: 4, learning_rate: 3.0e-3, epochs: 2, patience: 2}}
"""
# The released code's choices; no utterance of ``tests/trees.py`` is as long.
AS_RELEASED = (
    "--selection=released",
    "--audio_utterance.padding=released",
    "--audio_utterance.padded_seconds=2",
    "--audio_context.attention=released",
    "--text_context.attention=released",
)
# In a row from a waveform or words to a probability: each stage of the tiny models has fewer than a thousand.
OPERATIONS = 5_000
# Probabilities that are computed twice, in other batches; they are 1 at most.
SAME_PROBABILITY = 2 * rounding(OPERATIONS)


def write_recipe(path: Path, bert: Path) -> Path:
    path.write_text(TINY_RECIPE.format(bert=bert), encoding="utf-8")
    return path


HEARD = ("yes i am so happy", "no", "", "i am not sad", "angry")


def bring_recognised_words(place: Path) -> None:
    """Give the corpus in place/corpus recognised words, from a file beside it."""
    ids = [turn.id for turn in read_corpus(place / "corpus").utterances]
    words = [HEARD[number % len(HEARD)] for number in range(len(ids))]
    pq.write_table(pa.table({"id": ids, "words": words}), place / "heard.parquet")
    moodline("transcribe", place / "corpus", "--import-words", place / "heard.parquet")


def moodline(*arguments: object) -> None:
    """The command line, in this process."""
    main([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> MoodlineError:
    """The error of a user's mistake, which the command line prints as its only sentence before it exits with 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        moodline(*arguments)
    assert end.value.code == 2
    error = end.value.__context__
    assert isinstance(error, MoodlineError)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("moodline: ")
    return error
