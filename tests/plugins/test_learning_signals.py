"""Regimes, normal operation and envelope spectra on signals made to measure."""

from __future__ import annotations

import numpy as np
import pytest

from lineside_plugins.learning import spectra
from lineside_plugins.learning.innovations import Innovations
from lineside_plugins.learning.monitoring import NormalModel
from lineside_plugins.learning.persistence import Persistence, tempered, told_apart
from lineside_plugins.learning.regimes import Regimes

BEARING = spectra.Bearing(inner=5.4, outer=3.6, ball=4.7, cage=0.4)
BANDS = spectra.Bands(((2000.0, 4000.0),))


def test_a_regime_change_is_not_wear() -> None:
    """Sensors whose level follows the regime come out alike in every regime; wear still stands out."""
    rng = np.random.default_rng(0)
    regime = rng.integers(0, 3, 3000)
    settings = np.array([[0.0, 0.0], [20.0, 0.7], [42.0, 0.84]])[regime] + rng.normal(0, 0.003, (3000, 2))
    sensors = np.array([10.0, 500.0, -80.0])[regime][:, None] + rng.normal(0, [1.0, 0.0], (3000, 2))
    usual = Regimes.fit(settings, sensors)
    assert len(usual.centres) == 3
    np.testing.assert_array_equal(usual.moving, [True, False])
    worn = usual(settings, sensors + np.array([3.0, 0.0]))
    assert np.all(np.abs([worn[regime == k, 0].mean() for k in range(3)] - np.float64(3.0)) < 0.25)
    assert not worn[:, 1].any()


def test_stored_regimes_say_the_same() -> None:
    """Regimes read back from tensors scale alike."""
    rng = np.random.default_rng(1)
    settings, sensors = rng.integers(0, 2, (50, 1)).astype(float), rng.normal(size=(50, 3))
    usual = Regimes.fit(settings, sensors)
    again = Regimes.from_tensors(usual.to_tensors())
    np.testing.assert_array_equal(again(settings, sensors), usual(settings, sensors))


def test_a_broken_correlation_shows_in_the_residual_alone() -> None:
    """Two tags that always move together and now part raise Q, though each is within its own range."""
    rng = np.random.default_rng(2)
    common = rng.normal(size=(2000, 1))
    values = np.concatenate([common, common, rng.normal(size=(2000, 1))], axis=1) + rng.normal(0, 0.05, (2000, 3))
    model = NormalModel.fit(values, kept=2)
    usual = model.distances(model.scaled(values))
    parted = model.distances(model.scaled(np.array([[0.7, -0.7, 0.0]])))
    assert parted[0, 1] > 20 * np.quantile(usual[:, 1], 0.99)
    assert parted[0, 0] < np.quantile(usual[:, 0], 0.99)


def test_an_outer_race_fault_stands_at_its_order() -> None:
    """Bursts at the outer race's order raise that order's envelope line, whatever the speed and the gain."""
    found = []
    for shaft, gain in ((29.0, 1.0), (33.0, 40.0)):
        time = np.arange(16_384) / 12_000
        phase = (time * shaft * BEARING.outer) % 1.0
        bursts = np.exp(-phase * 12) * np.sin(2 * np.pi * 3000 * time)
        noise = np.random.default_rng(3).normal(0, 0.3, len(time))
        found.append(spectra.features(gain * (bursts + noise), 12_000, shaft, BEARING, BANDS))
    swing, *means = found[0][:4]
    assert np.isfinite(found).all()
    assert np.argmax(means) == 1
    np.testing.assert_allclose(found[0][:4], found[1][:4], atol=0.5)
    assert np.isfinite(swing)


def test_weak_evidence_adds_up_to_a_state_that_lasts() -> None:
    """A fault that single rows tell from normal little better than chance is found soon after it begins, not before."""
    rng = np.random.default_rng(4)
    state = np.where(np.arange(400) < 200, 0, 2)
    probability = rng.dirichlet(np.ones(3), 400)
    probability[np.arange(400), state] += 0.3
    probability /= probability.sum(axis=1, keepdims=True)
    alone = (probability.argmax(axis=1) == state).mean()
    found = Persistence(onset=1e-3, change=1e-2).filtered(tempered(probability, 0.5))
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert alone < 0.75
    assert (found.argmax(axis=1) == state).mean() > 0.9
    assert (found.argmax(axis=1) == state)[:200].mean() > 0.95


def test_a_filtered_row_knows_nothing_of_later_rows() -> None:
    """Cutting a recording short changes none of the rows before the cut."""
    evidence = np.random.default_rng(5).random((50, 4)) + 0.1
    lasts = Persistence(onset=0.01, change=0.05)
    np.testing.assert_array_equal(lasts.filtered(evidence)[:20], lasts.filtered(evidence[:20]))


def _pushed_plant(rows: int, push: float, seed: int) -> np.ndarray:
    """Two slow tags; the first is pushed at each row by ``push`` of its noise."""
    rng = np.random.default_rng(seed)
    out = np.zeros((rows, 2))
    for t in range(1, rows):
        out[t] = out[t - 1] @ [[0.9, 0.2], [0.0, 0.9]] + rng.normal(size=2) + [push, 0.0]
    return out


def test_a_small_push_shows_in_innovations_before_it_shows_in_levels() -> None:
    """Half a standard deviation of noise at each row is told from none within sixty rows."""
    known = Innovations.fit([(0, _pushed_plant(500, 0.0, 6)), (1, _pushed_plant(500, 0.5, 7))], 30.0, 0.05)
    np.testing.assert_allclose(known.moves, [[0.9, 0.2], [0.0, 0.9]], atol=0.1)
    for state, push in ((0, 0.0), (1, 0.5)):
        said = known.log_likelihood(_pushed_plant(61, push, 8))
        assert not said[0].any()
        assert said.sum(axis=0).argmax() == state


def test_innovations_are_learnt_from_runs_that_can_teach_them() -> None:
    """A state without a run, and a run of one row, are refused with what was expected."""
    rows = _pushed_plant(20, 0.0, 9)
    with pytest.raises(ValueError, match="runs are of states \\[0, 2\\]; expected a run of each state"):
        Innovations.fit([(0, rows), (2, rows)], 30.0, 0.05)
    with pytest.raises(ValueError, match="a run has 1 rows; expected at least 2"):
        Innovations.fit([(0, rows), (1, rows[:1])], 30.0, 0.05)


def test_states_alike_to_a_classifier_are_told_by_a_likelihood() -> None:
    """The classifier's mass is pooled over both states, and the likelihood leaves all other states alone."""
    probability = np.array([[0.5, 0.1, 0.4], [0.5, 0.1, 0.4]])
    pooled, told = told_apart(probability, (0, 1), np.array([[0.0, 2.0], [50.0, 0.0]]), power=0.5)
    np.testing.assert_allclose(pooled, [[0.6, 0.6, 0.4], [0.6, 0.6, 0.4]])
    np.testing.assert_allclose(told, [[np.exp(-1.0), 1.0, 1.0], [1.0, np.exp(-1.5), 1.0]])
