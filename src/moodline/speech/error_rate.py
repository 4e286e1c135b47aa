"""The word error rate: words substituted, deleted and inserted, for each word of the reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moodline.errors import MoodlineError
from moodline.wording import to_install

if TYPE_CHECKING:
    from jiwer import Compose

MARKS = r"[<\[][^>\]]*[>\]]"  # of what is no word, as [LAUGHTER] and <unk>
PARTINGS = r"[\s\-\u2010-\u2015/\u2026]+|\.{2,}"  # blanks, hyphens, dashes, strokes and ellipses part words


@dataclass(frozen=True, kw_only=True, slots=True)
class WordErrors:
    """Counts over utterances; ``words`` are the reference's."""

    substitutions: int
    deletions: int
    insertions: int
    words: int

    @property
    def rate(self) -> float | None:
        """WER; None where the reference has no word."""
        return (self.substitutions + self.deletions + self.insertions) / self.words if self.words else None

    def __str__(self) -> str:
        if self.rate is None:
            return "no reference words to measure the WER by"
        return (
            f"WER {self.rate:.3f} ({self.substitutions} words substituted, {self.deletions} deleted, "
            f"{self.insertions} inserted, of {self.words})"
        )


def word_errors(references: Sequence[str], recognised: Sequence[str]) -> WordErrors:
    """The errors of recognised utterances, each aligned with its reference at the least distance; both normalised.

    What is recognised of an utterance without reference words counts as inserted.

    Raises:
        MoodlineError: jiwer is not installed
    """
    normalise = normalisation()
    from jiwer import process_words

    found = process_words(normalise(list(references)), normalise(list(recognised)))
    return WordErrors(
        substitutions=found.substitutions,
        deletions=found.deletions,
        insertions=found.insertions,
        words=found.hits + found.substitutions + found.deletions,
    )


def normalisation() -> "Compose":
    """What both sides are brought to: see docs/recognition.md.

    Raises:
        MoodlineError: jiwer is not installed
    """
    try:
        import jiwer
    except ModuleNotFoundError:
        raise MoodlineError(f"the word error rate is counted by jiwer: {to_install('speech')}") from None
    return jiwer.Compose(
        [
            jiwer.SubstituteRegexes({MARKS: " ", PARTINGS: " "}),
            jiwer.ToLowerCase(),
            jiwer.RemovePunctuation(),
            jiwer.RemoveMultipleSpaces(),
            jiwer.Strip(),
        ]
    )
