import numpy as np
import pyarrow as pa
import pytest
from scipy.special import softmax

from moodline.evaluation.predictions import build_schema
from moodline.evaluation.reliability import add_reliability, compute_calibration, get_probabilities
from moodline.evaluation.scores import RESAMPLES, SEED
from moodline.metrics import CALIBRATION_BINS, compute_brier_score, compute_calibration_error
from tests.rounding import rounding

CLASSES = ("angry", "happy", "sad")


def table(probabilities, labels, stage="fusion", temperature=None, fold="1"):
    """A conversation to every three utterances."""
    rows = [
        {
            "conversation_id": f"{fold}-{number // 3}",
            "fold": fold,
            "stage": stage,
            "label": CLASSES[label],
            "predicted": CLASSES[int(np.argmax(row))],
            "temperature": temperature,
            **{f"p_{name}": p for name, p in zip(CLASSES, row, strict=True)},
        }
        for number, (row, label) in enumerate(zip(probabilities, labels, strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=build_schema(CLASSES))


# Errors of probabilities that are kept in single precision: sums over the classes of differences and their squares.
KEPT = 2 * rounding(2 * len(CLASSES) * (1 + len(CLASSES)))


def test_probabilities_come_in_the_order_of_the_classes():
    found = get_probabilities(table([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], [0, 1]), CLASSES)
    np.testing.assert_allclose(found, [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], rtol=rounding(2))


def test_two_bins_by_hand():
    """0.9 and right twice, 0.6 and right once of two."""
    found = compute_calibration(
        table([[0.9, 0.1, 0], [0, 0.9, 0.1], [0.6, 0.4, 0], [0.6, 0.4, 0]], [0, 1, 0, 1]), CLASSES
    )
    assert found["expected_calibration_error"] == pytest.approx((2 * 0.1 + 2 * 0.1) / 4)
    assert found["brier_score"] == pytest.approx((0.02 + 0.02 + 0.32 + 0.72) / 4)
    assert found["confidence"] == pytest.approx(0.75)
    filled = {round(one["high"] * CALIBRATION_BINS): one for one in found["bins"] if one["utterances"]}
    assert list(filled) == [10, 14]  # single precision puts 0.6 just above the edge of the ninth bin
    assert [one["accuracy"] for one in filled.values()] == [0.5, 1.0]
    assert all(one["low"] < one["confidence"] <= one["high"] for one in filled.values())


def test_bins_cover_everything_and_the_empty_ones_have_no_means():
    bins = compute_calibration(table([[1.0, 0, 0]], [2]), CLASSES)["bins"]
    assert [one["low"] for one in bins] == [0, *(one["high"] for one in bins[:-1])]
    assert bins[-1]["high"] == 1
    assert [one["utterances"] for one in bins] == [0] * (CALIBRATION_BINS - 1) + [1]
    assert all(one["confidence"] is one["accuracy"] is None for one in bins[:-1])


def test_each_stage_gets_its_own():
    predictions = pa.concat_tables([table([[1.0, 0, 0]], [0], "text_utterance"), table([[0, 1.0, 0]], [0], "fusion")])
    scores = [{"stage": "text_utterance", "kept": 1}, {"stage": "fusion", "kept": 2}]
    results = {"label_set": {"classes": list(CLASSES)}, "scores": scores, "seed": 3}
    found = add_reliability(results, predictions)
    assert [stage["calibration"]["brier_score"] for stage in found["scores"]] == [0, 2]
    assert [stage["kept"] for stage in found["scores"]] == [1, 2]
    assert found["seed"] == 3
    assert scores[0].keys() == {"stage", "kept"}  # what was given is as it was


def folds(rows=30):
    """Logits and labels of two folds with a temperature each, and their table."""
    generator = np.random.default_rng(2)
    temperatures = {"1": 2.0, "2": 0.6}
    logits = {fold: generator.normal(scale=2, size=(rows, 3)) for fold in temperatures}
    labels = {fold: generator.integers(0, 3, size=rows) for fold in temperatures}
    tables = [
        table(softmax(logits[fold] / one, axis=1).tolist(), labels[fold].tolist(), temperature=one, fold=fold)
        for fold, one in temperatures.items()
    ]
    both = (np.concatenate(list(of.values())) for of in (logits, labels))
    return temperatures, *both, pa.concat_tables(tables)


def test_before_is_without_each_folds_own_temperature():
    temperatures, logits, labels, predictions = folds()
    found = compute_calibration(predictions, CLASSES)
    assert found["temperatures"] == temperatures
    plain = softmax(logits, axis=1)
    expected = {
        "expected_calibration_error": compute_calibration_error(plain, labels),
        "brier_score": compute_brier_score(plain, labels),
        "confidence": plain.max(axis=1).mean(),
    }
    assert found["before"] == pytest.approx(expected, abs=KEPT)
    assert found["brier_score"] != pytest.approx(found["before"]["brier_score"], abs=1e-3)


def test_change_is_resampled_over_conversations_in_pairs():
    """Against the errors of each resample's own utterances."""
    _, logits, labels, predictions = folds()
    found = compute_calibration(predictions, CLASSES)
    after, before = get_probabilities(predictions, CLASSES), softmax(logits, axis=1)
    names = predictions["conversation_id"].to_pylist()
    rows = [np.flatnonzero(np.array(names) == name) for name in sorted(set(names))]
    drawn = np.random.default_rng(SEED).integers(0, len(rows), size=(RESAMPLES, len(rows)))
    for error, measure in (
        ("expected_calibration_error", compute_calibration_error),
        ("brier_score", compute_brier_score),
    ):
        change = found["change"][error]
        assert change["value"] == pytest.approx(found[error] - found["before"][error], abs=rounding(1))
        differences = []
        for one in drawn:
            chosen = np.concatenate([rows[place] for place in one])
            differences.append(measure(after[chosen], labels[chosen]) - measure(before[chosen], labels[chosen]))
        assert change["interval"] == pytest.approx(np.percentile(differences, [2.5, 97.5]), abs=KEPT)


def test_without_a_temperature_there_is_no_before():
    found = compute_calibration(table([[0.9, 0.1, 0]], [0]), CLASSES)
    assert found["before"] is found["change"] is None
    assert found["temperatures"] == {}


def test_of_one_conversation_a_change_has_no_interval():
    found = compute_calibration(table([[0.9, 0.1, 0]], [0], temperature=1.5), CLASSES)
    assert found["change"]["brier_score"]["interval"] is None
