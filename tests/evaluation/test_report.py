import json
import re
from collections import Counter
from dataclasses import asdict
from html.parser import HTMLParser
from itertools import product

import numpy as np
import pyarrow as pa
import pytest

from moodline.evaluation.figures import best_epoch, learning_figure
from moodline.evaluation.report import write_report
from moodline.evaluation.scores import STAGES, score

CLASSES = ("angry", "happy", '<b>sad & "tired"</b>')
VOID = {"meta", "br", "link", "img", "hr", "input"}
TRAINED = [stage for stage in STAGES if stage != "majority"]


class Page(HTMLParser):
    """A page's text, elements and attributes; fails where tags do not nest."""

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], Counter(), [], []
        self.feed(source)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


def made_up(stages=tuple(STAGES), folds=2):
    """The content of results.json, and learning curves, of a system that never was."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "utterance_id": f"turn{turn}",
            "conversation_id": f"talk{talk}",
            "fold": f"fold{talk % folds}",
            "part": ("improvised", "scripted")[talk // folds % 2],
            "stage": stage,
            "label": CLASSES[turn % 3],
            "predicted": str(rng.choice(CLASSES)) if stage != "majority" else CLASSES[0],
        }
        for talk, turn, stage in product(range(8), range(9), stages)
    ]
    evaluation = score(pa.Table.from_pylist(rows), CLASSES, resamples=50)
    count = {"conversations": 4, "utterances": 1234, "classes": dict.fromkeys(CLASSES, 411)}
    results = {
        "schema": 1,
        "protocol": "cv2",
        "label_set": {"name": "three", "version": 7, "classes": list(CLASSES)},
        "context": "labelled",
        "corpus": {
            "reader": "play",
            "table_hash": "0123abcd",
            "conversations": 8,
            "utterances": 72,
            "source": "a <tree>",
        },
        "recipe": "tiny",
        "seed": 5,
        "versions": {"moodline": "0.0.1", "torch": "9.9"},
        "created": "2031-02-03T04:05:06+00:00",
        "folds": [
            {"name": f"fold{fold}", "hash": f"beef{fold}", "train": count, "validation": count, "test": count}
            for fold in range(folds)
        ],
        **asdict(evaluation),
    }
    curves = {
        f"fold{fold}": {
            stage: [
                {
                    "epoch": epoch,
                    "train_loss": 1 / epoch,
                    "validation_loss": abs(epoch - 3) + 0.5,
                    "validation_ua": 0.1 * epoch,
                }
                for epoch in (1, 2, 3, 4)
            ]
            for stage in stages
            if stage != "majority"
        }
        for fold in range(folds)
    }
    return json.loads(json.dumps(results)), curves


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report.html"
    write_report(*made_up(), out)
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source):
    return Page(source)


def test_one_page_that_loads_nothing(source, page):
    assert page.tags["html"] == page.tags["body"] == 1
    assert page.tags.keys().isdisjoint({"script", "link", "img", "iframe", "object", "embed"})
    loads = [value for name, value in page.attributes if name in {"src", "href", "xlink:href", "srcset", "data"}]
    assert all(value.startswith("#") for value in loads)
    assert re.findall(r"@import|url\((?!#)", source) == []
    addresses = {value for name, value in page.attributes if "://" in value and not name.startswith("xmlns")}
    assert addresses == set()


def test_ids_are_unique_and_every_reference_has_its_target(source, page):
    ids = Counter(value for name, value in page.attributes if name == "id")
    assert set(ids.values()) == {1}
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', source)) <= ids.keys()


def test_a_figure_for_scores_gains_and_every_trained_stage(page):
    assert page.tags["svg"] == 2 + len(TRAINED)
    assert page.tags["figure"] == page.tags["svg"]


def test_text_of_figures_is_text(source):
    drawings = re.findall(r"<svg.*?</svg>", source, re.DOTALL)
    for words in ("epoch", "validation UA", "training", "speech, utterance"):
        assert any(f">{words}</text>" in drawing for drawing in drawings)


def test_names_are_escaped(source, page):
    assert "<b>sad" not in source
    assert "<tree>" not in source
    assert '<b>sad & "tired"</b>' in page.text
    assert "a <tree>" in page.text


@pytest.mark.parametrize("folds", [1, 2])
def test_shows_every_score(tmp_path, folds):
    results, curves = made_up(folds=folds)
    write_report(results, curves, tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    for stage in results["scores"]:
        for scores in (stage["pooled"], *stage["parts"].values()):
            for measure in ("wa", "ua", "weighted_f1"):
                low, high = scores[measure]["interval"]
                assert f"{scores[measure]['value']:.3f} [{low:.3f}, {high:.3f}]" in text
        if folds > 1:
            spread = stage["over_folds"]["weighted_f1"]
            assert f"{spread['mean']:.3f} ± {spread['deviation']:.3f}" in text
    for gain in results["differences"]:
        assert f"{STAGES[gain['stage']]} \N{MINUS SIGN} {STAGES[gain['minus']]}" in text
        assert f"{gain['ua']['value']:+.3f} [".replace("-", "\N{MINUS SIGN}") in text


def test_shows_counts_and_shares_of_each_confusion(source):
    results, _ = made_up()
    cells = re.findall(r"<td[^>]*background[^>]*>([\d,]+)<small>(\d+) %</small></td>", source)
    expected = [
        (str(count), f"{100 * count / sum(row):.0f}")
        for stage in results["scores"]
        if stage["stage"] != "majority"
        for row in stage["confusion"]
        for count in row
    ]
    assert cells == expected


def test_says_under_what_the_scores_hold(page):
    for fact in ("cv2", "fold0", "beef1", "1,234", "three, version 7", "labelled", "0123abcd", "tiny, 5", "9.9"):
        assert fact in page.text


def test_notes_stand_beside_the_scores(tmp_path):
    results, curves = made_up()
    write_report(results | {"notes": ["not speaker-disjoint: 7 speakers are in two sets"]}, curves, tmp_path / "r.html")
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "Not speaker-disjoint: 7 speakers are in two sets." in text[: text.index("Scores by stage")]


def test_summary_names_the_last_stage_and_the_baseline(page):
    results, _ = made_up()
    pooled = {stage["stage"]: stage["pooled"] for stage in results["scores"]}
    summary = page.text[: page.text.index("Scores by stage")]
    assert "both, fused" in summary
    for stage, measure in product(("fusion", "majority"), ("wa", "ua")):
        assert f"{measure.upper()} {pooled[stage][measure]['value']:.3f}" in summary


@pytest.mark.parametrize(
    "stages", [("audio_utterance", "audio_context", "majority"), ("text_utterance",), ("majority",)]
)
def test_a_system_of_fewer_stages_has_a_report(tmp_path, stages):
    results, curves = made_up(stages)
    write_report(results, curves, tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert [name for name in STAGES if STAGES[name] in text] == [name for name in STAGES if name in stages]


def test_a_model_scored_elsewhere_has_neither_folds_nor_curves(tmp_path):
    results, _ = made_up(folds=1)
    write_report(results | {"folds": []}, {}, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Learning curves" not in page.text
    assert page.tags["svg"] == 2


def test_best_epoch_is_that_of_the_lowest_validation_loss():
    epochs = [{"epoch": epoch, "validation_loss": loss} for epoch, loss in ((1, 2.0), (2, 1.0), (3, 1.0), (4, 3.0))]
    assert best_epoch(epochs)["epoch"] == 2


def test_figures_are_the_same_each_time():
    _, curves = made_up()
    folds = [stages["fusion"] for stages in curves.values()]
    assert learning_figure("fusion", folds) == learning_figure("fusion", folds)
