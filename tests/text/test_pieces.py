"""Words counted by the pieces that a tokenizer makes of them."""

import pytest

from moodline.modeling.pretrained_files import WHEEL_MINILM
from moodline.modeling.text_encoder import PieceCounts, Tokenizer, count_pieces, load_text_backbone
from tests.tiny import POSITIONS, tiny_bert


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_text_backbone(str(tiny_bert(tmp_path_factory.mktemp("bert"))), POSITIONS)[1]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("I am happy", PieceCounts(3, 3, 0)),
        ("Happier ! ... happier.", PieceCounts(2, 2, 2)),  # the marks of punctuation count for nothing
        ("sadder saddest", PieceCounts(2, 2, 2)),
        ("angryer yes", PieceCounts(2, 3, 0)),
        ("\u043d\u0435\u0442 no", PieceCounts(2, 2, 1)),
        ("... !", PieceCounts(0, 0, 0)),
        ("", PieceCounts(0, 0, 0)),
    ],
)
def test_pieces_are_those_of_the_vocabulary(tiny: Tokenizer, text: str, pieces: PieceCounts) -> None:
    assert count_pieces([text], tiny) == pieces


def test_a_text_beyond_the_limit_of_tokens_counts_whole(tiny: Tokenizer) -> None:
    long = ["i am so happy " * POSITIONS]
    assert len(tiny(long)[0]) == POSITIONS
    assert count_pieces(long, tiny) == PieceCounts(4 * POSITIONS, 4 * POSITIONS, 0)


def test_texts_add_up(tiny: Tokenizer) -> None:
    texts = ["i am so angryer", "no nein", ""]
    assert count_pieces(texts, tiny) == count_pieces(texts[:1], tiny) + count_pieces(texts[1:], tiny)


def test_languages_that_an_english_bert_does_not_know_break_into_more_pieces() -> None:
    tokenizer = load_text_backbone(WHEEL_MINILM, 64)[1]

    def rate(text: str) -> float:
        found = count_pieces([text], tokenizer)
        return found.pieces / found.words

    english = rate("I told you yesterday that I cannot come today. Why do you never believe me?")
    german = rate("Ich habe dir gestern gesagt, dass ich heute nicht kommen kann. Warum glaubst du mir nie?")
    polish = rate("Mówiłam ci wczoraj, że dzisiaj nie mogę przyjść. Dlaczego nigdy mi nie wierzysz?")
    assert english < 1.2 < 1.6 < min(german, polish)
