import numpy as np
import pyarrow as pa
import pytest

from moodline.evaluation.calibration import calibration, probabilities_of, with_calibration
from moodline.metrics import CALIBRATION_BINS

CLASSES = ("angry", "happy", "sad")


def table(probabilities, labels, stage="fusion"):
    rows = [
        {"stage": stage, "label": CLASSES[label]} | {f"p_{name}": p for name, p in zip(CLASSES, row, strict=True)}
        for row, label in zip(probabilities, labels, strict=True)
    ]
    schema = pa.schema([("stage", pa.string()), ("label", pa.string()), *((f"p_{n}", pa.float32()) for n in CLASSES)])
    return pa.Table.from_pylist(rows, schema=schema)


def test_probabilities_come_in_the_order_of_the_classes():
    found = probabilities_of(table([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], [0, 1]), CLASSES)
    np.testing.assert_allclose(found, [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], rtol=1e-6)


def test_two_bins_by_hand():
    """0.9 and right twice, 0.6 and right once of two."""
    found = calibration(table([[0.9, 0.1, 0], [0, 0.9, 0.1], [0.6, 0.4, 0], [0.6, 0.4, 0]], [0, 1, 0, 1]), CLASSES)
    assert found.expected_calibration_error == pytest.approx((2 * 0.1 + 2 * 0.1) / 4)
    assert found.brier_score == pytest.approx((0.02 + 0.02 + 0.32 + 0.72) / 4)
    assert found.confidence == pytest.approx(0.75)
    filled = {round(one.high * CALIBRATION_BINS): one for one in found.bins if one.utterances}
    assert list(filled) == [10, 14]  # single precision puts 0.6 just above the edge of the ninth bin
    assert [one.accuracy for one in filled.values()] == [0.5, 1.0]
    assert all(one.low < one.confidence <= one.high for one in filled.values())


def test_bins_cover_everything_and_the_empty_ones_have_no_means():
    bins = calibration(table([[1.0, 0, 0]], [2]), CLASSES).bins
    assert [one.low for one in bins] == [0, *(one.high for one in bins[:-1])]
    assert bins[-1].high == 1
    assert [one.utterances for one in bins] == [0] * (CALIBRATION_BINS - 1) + [1]
    assert all(one.confidence is one.accuracy is None for one in bins[:-1])


def test_each_stage_gets_its_own():
    predictions = pa.concat_tables([table([[1.0, 0, 0]], [0], "text_utterance"), table([[0, 1.0, 0]], [0], "fusion")])
    scores = [{"stage": "text_utterance", "kept": 1}, {"stage": "fusion", "kept": 2}]
    results = {"label_set": {"classes": list(CLASSES)}, "scores": scores, "seed": 3}
    found = with_calibration(results, predictions)
    assert [stage["calibration"]["brier_score"] for stage in found["scores"]] == [0, 2]
    assert [stage["kept"] for stage in found["scores"]] == [1, 2]
    assert found["seed"] == 3
    assert scores[0].keys() == {"stage", "kept"}  # what was given is as it was
