"""What a corpus's recognised words are: by whom, from which sound, and how far they are from the reference ones."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from moodline.speech.error_rate import WordErrors

REFERENCE, RECOGNISED = "reference", "recognised"
WORDS = (REFERENCE, RECOGNISED)
RECORDED, SPOKEN, ELSEWHERE = "recorded", "spoken", "elsewhere"
# What was heard, for people.
HEARD = {
    RECORDED: "in the recordings",
    SPOKEN: "in the reference words, said by text-to-speech voices",
    ELSEWHERE: "elsewhere",
}


@dataclass(frozen=True, kw_only=True)
class Recogniser:
    """Whose words they are; two of these that differ give different words.

    Attributes:
        name: the recogniser and its model, or the file that the words came in
        version: of the recogniser, or a hash of the file
        heard: one of HEARD's keys
    """

    name: str
    version: str
    heard: str

    def __str__(self) -> str:
        return f"{self.name} ({self.version}), {HEARD[self.heard]}"


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """What stands beside recognised words.

    Attributes:
        table_hash: of the corpus that they belong to
        words_hash: of the words
        silent: utterances of which nothing was recognised
        by_voice: errors by text-to-speech voice, where these spoke
    """

    recogniser: Recogniser
    table_hash: str
    words_hash: str
    utterances: int
    silent: int
    errors: WordErrors
    by_voice: Mapping[str, WordErrors] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"words recognised by {self.recogniser}: {self.errors}"

    def content(self) -> dict[str, Any]:
        """As JSON has it, each rate beside the counts that it follows from."""
        return {
            **asdict(self),
            "errors": with_rate(self.errors),
            "by_voice": {voice: with_rate(errors) for voice, errors in self.by_voice.items()},
        }


def with_rate(errors: WordErrors) -> dict[str, Any]:
    return {"wer": errors.rate, **asdict(errors)}


def recognition_from(content: Mapping[str, Any]) -> Recognition:
    """What ``content`` gave; KeyError or TypeError where it is something else."""
    return Recognition(
        recogniser=Recogniser(**content["recogniser"]),
        table_hash=content["table_hash"],
        words_hash=content["words_hash"],
        utterances=content["utterances"],
        silent=content["silent"],
        errors=errors_from(content["errors"]),
        by_voice={voice: errors_from(errors) for voice, errors in content["by_voice"].items()},
    )


def errors_from(content: Mapping[str, Any]) -> WordErrors:
    return WordErrors(**{name: content[name] for name in ("substitutions", "deletions", "insertions", "words")})
