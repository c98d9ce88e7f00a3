import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from lineside_plugins.learning import conformal, metrics
from lineside_plugins.learning.normaliser import CLIP, Normaliser


@given(st.integers(0, 10_000))
def test_ranking_metrics_agree_with_scikit_learn(seed: int) -> None:
    """AUROC, average precision and Brier score equal scikit-learn's on tied and untied scores."""
    rng = np.random.default_rng(seed)
    label = np.append(rng.random(60) < 0.3, [True, False])
    score = np.round(rng.random(62), int(rng.integers(1, 5)))
    assert metrics.auroc(label, score) == pytest.approx(roc_auc_score(label, score))
    assert metrics.average_precision(label, score) == pytest.approx(average_precision_score(label, score))
    assert metrics.brier(label, score) == pytest.approx(brier_score_loss(label, score))


def test_calibration_error_is_the_gap_between_stated_and_observed() -> None:
    """Saying 30 % about events that come in 50 % of cases is an error of 0.2."""
    label = np.tile([True, False], 500)
    assert metrics.calibration_error(label, np.full(1000, 0.3)) == pytest.approx(0.2)


def test_one_class_alone_has_no_ranking() -> None:
    """Without both classes a ranking metric is NaN rather than a number that means nothing."""
    assert np.isnan(metrics.auroc(np.zeros(4, bool), np.arange(4.0)))
    assert np.isnan(metrics.average_precision(np.zeros(4, bool), np.arange(4.0)))


def test_interval_over_units_is_wider_when_units_differ() -> None:
    """Plants that differ among each other widen the interval although the rows are as many."""
    units = np.repeat([f"plant-{i}" for i in range(8)], 50)
    rng = np.random.default_rng(0)
    alike = rng.normal(size=400)
    differing = alike + np.repeat(rng.normal(scale=2.0, size=8), 50)
    widths = []
    for value in (alike, differing):
        point, low, high = metrics.over_units(units, lambda rows, v=value: float(v[rows].mean()))
        assert low <= point <= high
        widths.append(high - low)
    assert widths[1] > 3 * widths[0]


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_conformal_margin_reaches_the_coverage_on_fresh_rows(coverage: float) -> None:
    """A band that is too narrow on purpose covers the promised share of fresh rows once widened."""
    rng = np.random.default_rng(3)
    target = rng.normal(size=(2, 4000))
    band = -np.full(4000, 0.1), np.full(4000, 0.1)
    margin = conformal.quantile(conformal.scores(*band, target[0]), coverage)
    inside = conformal.scores(band[0] - margin, band[1] + margin, target[1]) <= 0
    assert inside.mean() == pytest.approx(coverage, abs=0.02)


def test_conformal_refuses_a_promise_that_few_rows_cannot_keep() -> None:
    """Five rows cannot promise 90 %, and the error says how many there are."""
    with pytest.raises(ValueError, match="5 calibration rows cannot give 90% coverage"):
        conformal.quantile(np.arange(5.0), 0.9)


def test_normaliser_marks_missing_values_and_bounds_wild_ones() -> None:
    """A missing value becomes the mean with a mark, a wild one stays within the clip, a constant one survives."""
    x = np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0]])
    fitted = Normaliser.fit(x)
    again = Normaliser.from_tensors(fitted.to_tensors())
    out = again(np.array([[np.nan, 5.0], [1e9, np.nan]]))
    assert out.dtype == np.float32
    assert out.tolist() == [[0.0, 0.0, 1.0, 0.0], [CLIP, 0.0, 0.0, 1.0]]
    np.testing.assert_allclose(fitted(x[:2])[:, 0], [-1.0, 1.0])
