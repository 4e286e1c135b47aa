"""moodline baselines takes keys of the recipe as train and reproduce do."""

import json
from pathlib import Path

import pytest

from tests.system import moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree

OWN_LABELS = "name: own\nversion: 1\nclasses: [glad, low]\nmapping: {hap: glad, exc: glad, sad: low}\n"


def test_a_label_set_takes_the_place_of_the_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tree(tmp_path / "tree", turns=9)
    write_recipe(tmp_path / "tiny.yaml", tiny_bert(tmp_path / "bert"))
    (tmp_path / "own.yaml").write_text(OWN_LABELS)
    moodline("prepare", "iemocap", tmp_path / "tree", "-o", tmp_path / "corpus")
    command = ["baselines", tmp_path / "corpus", "--recipe", tmp_path / "tiny.yaml", "--protocol", "session5"]
    command += ["--only", "tf_idf", "-o", tmp_path / "out"]
    moodline(*command, "--label_set", tmp_path / "own.yaml")
    assert json.loads((tmp_path / "out/results.json").read_text())["label_set"]["classes"] == ["glad", "low"]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        moodline(*command, "--lable_set", "meld4")
    assert "--label_set" in capsys.readouterr().err
