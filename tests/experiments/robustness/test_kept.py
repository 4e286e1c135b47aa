"""A point's predictions are computed once, and again where they are of something else or not whole."""

from pathlib import Path

import pyarrow as pa

from moodline.experiments.robustness import hash_model, read_or_compute


def test_what_is_kept_is_not_computed_again(tmp_path: Path) -> None:
    asked: list[str] = []

    def compute(what: str) -> pa.Table:
        asked.append(what)
        return pa.table({"predicted": [what]})

    def found(key: str, what: str) -> str:
        kept = read_or_compute(tmp_path / "fold-1/babble+0.parquet", key, lambda: compute(what))
        return kept["predicted"][0].as_py()

    assert found("one", "first") == "first"
    assert found("one", "second") == "first"
    assert found("other", "third") == "third"
    path = tmp_path / "fold-1/babble+0.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    assert found("other", "fourth") == "fourth"
    assert asked == ["first", "third", "fourth"]


def test_a_models_hash_is_of_all_that_it_predicts_with(tmp_path: Path) -> None:
    (tmp_path / "bert").mkdir()
    for name in ("fusion.safetensors", "config.json", "bert/config.json", "README.md"):
        (tmp_path / name).write_text(name)
    before = hash_model(tmp_path)
    (tmp_path / "README.md").write_text("of no account")
    assert hash_model(tmp_path) == before
    (tmp_path / "bert/config.json").write_text("another")
    assert hash_model(tmp_path) != before
