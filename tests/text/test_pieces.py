"""Words counted by the pieces that a tokenizer makes of them."""

import pytest

from moodline.text.pieces import Pieces, pieces_of
from moodline.text.pretrained import WHEEL_MINILM, Tokenizer, load_bert
from tests.tiny import POSITIONS, tiny_bert


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_bert(str(tiny_bert(tmp_path_factory.mktemp("bert"))), POSITIONS)[1]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("I am happy", Pieces(3, 3, 0)),
        ("Happier ! ... happier.", Pieces(2, 2, 2)),  # the marks of punctuation count for nothing
        ("sadder saddest", Pieces(2, 2, 2)),
        ("angryer yes", Pieces(2, 3, 0)),
        ("\u043d\u0435\u0442 no", Pieces(2, 2, 1)),
        ("... !", Pieces(0, 0, 0)),
        ("", Pieces(0, 0, 0)),
    ],
)
def test_pieces_are_those_of_the_vocabulary(tiny: Tokenizer, text: str, pieces: Pieces) -> None:
    assert pieces_of([text], tiny) == pieces


def test_a_text_beyond_the_limit_of_tokens_counts_whole(tiny: Tokenizer) -> None:
    long = ["i am so happy " * POSITIONS]
    assert len(tiny(long)[0]) == POSITIONS
    assert pieces_of(long, tiny) == Pieces(4 * POSITIONS, 4 * POSITIONS, 0)


def test_texts_add_up(tiny: Tokenizer) -> None:
    texts = ["i am so angryer", "no nein", ""]
    assert pieces_of(texts, tiny) == pieces_of(texts[:1], tiny) + pieces_of(texts[1:], tiny)


def test_languages_that_an_english_bert_does_not_know_break_into_more_pieces() -> None:
    tokenizer = load_bert(WHEEL_MINILM, 64)[1]

    def rate(text: str) -> float:
        found = pieces_of([text], tokenizer)
        return found.pieces / found.words

    english = rate("I told you yesterday that I cannot come today. Why do you never believe me?")
    german = rate("Ich habe dir gestern gesagt, dass ich heute nicht kommen kann. Warum glaubst du mir nie?")
    polish = rate("Mówiłam ci wczoraj, że dzisiaj nie mogę przyjść. Dlaczego nigdy mi nie wierzysz?")
    assert english < 1.2 < 1.6 < min(german, polish)
