"""The sentences that a person reads: errors with their codes, and every other text of several words.

``python -m tests.test_sentences`` writes tests/golden/sentences.txt anew. Review its difference as a text.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden" / "sentences.txt"
FEWEST_WORDS = 4


def read_template(node: ast.expr) -> str | None:
    """Return a string expression with the names of its values in braces; None for another expression."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(read_template(part) or "{}" for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name) | ast.Attribute(attr=name)):
            return f"{{{name}}}"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            first, second = read_template(left), read_template(right)
            return None if first is None or second is None else first + second
        case _:
            return None


def find_texts(node: ast.AST, code: str | None = None) -> Iterator[tuple[str | None, str]]:
    """Yield code and text of each string below a node, docstrings left out; code is None outside of an error."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "MoodlineError":
        codes = [read_template(word.value) or "(of its cause)" for word in node.keywords if word.arg == "code"]
        code = codes[0] if codes else "(none)"
        for argument in node.args:
            yield from find_texts(argument, code)
        return
    if isinstance(node, ast.expr) and (text := read_template(node)) is not None:
        yield code, text
        return
    body = getattr(node, "body", None)
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(body, list):
        children = [
            child for child in children if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant))
        ]
    for child in children:
        yield from find_texts(child, code)


def collect_sentences() -> list[str]:
    """Return ``code: sentence`` for each error, then every other text of several words, sorted."""
    found = [
        pair
        for path in (ROOT / "src").rglob("*.py")
        for pair in find_texts(ast.parse(path.read_text(encoding="utf-8")))
    ]
    one_line = [(code, " ".join(text.split())) for code, text in found]
    errors = {f"{code}: {text}" for code, text in one_line if code}
    others = {text for code, text in one_line if not code and len(text.split()) >= FEWEST_WORDS and "(?" not in text}
    return [*sorted(errors), "", *sorted(others)]


SENTENCES = collect_sentences()


def test_the_golden_file_holds_every_sentence() -> None:
    assert GOLDEN.read_text(encoding="utf-8").splitlines() == SENTENCES


def test_every_error_has_a_code_of_an_area() -> None:
    errors = SENTENCES[: SENTENCES.index("")]
    assert not [error for error in errors if not re.match(r"([a-z]+\.[a-z0-9_{}]+|\(of its cause\)): ", error)]


@pytest.mark.parametrize(
    "pattern",
    [
        r"\b(tells?|told|hears?|heard|stands?|stood)\b",
        r"\bis none\b",
        r"\bin the place of\b",
        r"\bas of\b",
        r"(^|: |[.] )(What|Of|Who) [^?]*$",
    ],
)
def test_no_sentence_has_a_turn_of_phrase_that_this_project_avoids(pattern: str) -> None:
    assert not [sentence for sentence in SENTENCES if re.search(pattern, sentence)]


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(collect_sentences()) + "\n", encoding="utf-8")
