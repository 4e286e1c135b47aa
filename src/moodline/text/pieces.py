"""Into how many of a tokenizer's pieces words break: many in a language that it was not made for."""

from collections.abc import Iterable
from dataclasses import dataclass

from moodline.text.pretrained import Tokenizer


@dataclass(frozen=True, slots=True)
class Pieces:
    """Counts over some texts; marks of punctuation are neither words nor pieces.

    Attributes:
        words: as blanks part them
        pieces: the tokenizer's, of these words
        unknown: those pieces that stand for what the tokenizer has nothing for
    """

    words: int = 0
    pieces: int = 0
    unknown: int = 0

    def __add__(self, other: "Pieces") -> "Pieces":
        return Pieces(self.words + other.words, self.pieces + other.pieces, self.unknown + other.unknown)


def pieces_of(texts: Iterable[str], tokenizer: Tokenizer) -> Pieces:
    """Word by word, so that no limit on the length of a text cuts any off."""
    words = [word for text in texts for word in text.split() if _speaks(word)]
    pieces = [piece for found in tokenizer.pieces(words) for piece in found]
    unknown = pieces.count(tokenizer.unknown) if tokenizer.unknown is not None else 0
    return Pieces(len(words), unknown + sum(_speaks(piece) for piece in pieces if piece != tokenizer.unknown), unknown)


def _speaks(text: str) -> bool:
    return any(character.isalnum() for character in text)
