"""The study of candidates: late fusion is Bayes' rule, and keys are nested."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import yaml

from moodline.experiments.comparisons import PartPredictions
from tests.system import moodline, write_recipe
from tests.tiny import tiny_bert
from tests.trees import write_tree


@pytest.fixture(scope="module")
def study(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("study")


@pytest.mark.parametrize(("class_weights", "power"), [("none", 0.0), ("square_root", 0.5), ("balanced", 1.0)])
def test_late_fusion_of_independent_modalities_is_bayes_rule(
    study: ModuleType, class_weights: str, power: float
) -> None:
    """Probabilities under weighted classes are those of shares to the power 1 - power."""
    generator, counts = np.random.default_rng(0), np.array([100.0, 30.0, 10.0])
    prior = counts ** (1 - power) / (counts ** (1 - power)).sum()
    speech, words = generator.dirichlet(np.ones(3), size=2)  # likelihoods, up to a factor
    posteriors = [one * prior / (one * prior).sum() for one in (speech, words)]
    names = ("ang", "hap", "sad")
    model = SimpleNamespace(
        provenance=SimpleNamespace(class_counts=dict(zip(names, counts, strict=True))),
        recipe=SimpleNamespace(class_weights=class_weights),
    )
    found = study.fuse_late(model, [dict(zip(names, one, strict=True)) for one in posteriors])
    expected = speech * words * prior / (speech * words * prior).sum()
    # Products and powers of a few numbers in double precision.
    assert list(found.values()) == pytest.approx(expected.tolist(), rel=50 * 2.0**-52)


def test_keys_are_nested(study: ModuleType) -> None:
    found = study.nest_keys({"seed": 1, "fusion.training.epochs": 2, "fusion.layers": 3, "fusion.training.patience": 4})
    assert found == {"seed": 1, "fusion": {"layers": 3, "training": {"epochs": 2, "patience": 4}}}


def test_pooled_corpora_have_all_conversations(study: ModuleType) -> None:
    generator = np.random.default_rng(0)

    def draw(corpus: str, conversations: int) -> dict[str, list[PartPredictions]]:
        names = [(corpus, str(number), "ang") for number in range(conversations)]
        shape = (conversations, 2, 2)
        return {
            stage: [PartPredictions(names, generator.integers(9, size=shape)) for _ in "01"] for stage in study.COLUMNS
        }

    one, other = draw("one", 3), draw("other", 5)
    pooled = study.pool([one, other])
    for stage in study.COLUMNS:
        for seed in (0, 1):
            parts = [found[stage][seed] for found in (one, other)]
            assert pooled[stage][seed].utterances == [*parts[0].utterances, *parts[1].utterances]
            assert np.array_equal(
                pooled[stage][seed].confusions.sum(axis=0), sum(part.confusions.sum(axis=0) for part in parts)
            )


@pytest.mark.parametrize("content", ["", "candidates: {a: {}}", "base: small", "base: small\ncandidates: {a: {}}"])
def test_a_study_without_candidates_is_refused(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "study.yaml").write_text(content, encoding="utf-8")
    arguments = [str(tmp_path / "study.yaml"), str(tmp_path), "-o", str(tmp_path / "runs"), "--only", "b"]
    monkeypatch.setattr(sys, "argv", ["study.py", *arguments])
    with pytest.raises(SystemExit) as refused:
        study.main()
    assert refused.value.code == 2
    assert not (tmp_path / "runs").exists()


def read_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.strip().splitlines()


@pytest.mark.slow
def test_a_study_scores_validation_sets_alone(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path / "tiny.yaml", tiny_bert(tmp_path / "bert"))
    moodline("prepare", "iemocap", write_tree(tmp_path / "tree"), "-o", tmp_path / "corpus")
    content = {"base": str(recipe), "candidates": {"first": {}, "wider": {"fusion.hidden": 24}}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    arguments = [str(tmp_path / "study.yaml"), str(tmp_path / "corpus"), "-o", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["study.py", *arguments, "--seeds", "2", "--protocol", "session5"])
    capsys.readouterr()
    study.main()
    header, _, *rows = ([cell.strip() for cell in line.strip("| ").split("|")] for line in read_lines(capsys))
    assert header == ["corpus", "candidate", *study.COLUMNS, "fusion - late", "fusion - first"]
    assert [row[:2] for row in rows] == [["corpus", "first"], ["corpus", "wider"]]
    assert [len(row) for row in rows] == [len(header) - 1, len(header)]
    table = study.validate(content, "first", {}, tmp_path / "corpus", tmp_path / "runs", 0, "session5")
    assert {name[:5] for name in table["conversation_id"].to_pylist()} == {"Ses01"}
