"""Intervals over paired replications."""

import numpy as np
import pytest

from lineside_trials.statistics import difference_interval, gap_closed, mean_interval


def test_mean_interval_is_students_t() -> None:
    """Four replications use t with three degrees of freedom, 3.182."""
    i = mean_interval([1.0, 2.0, 3.0, 4.0])
    half = 3.182 * np.std([1, 2, 3, 4], ddof=1) / 2
    assert i.mean == 2.5
    assert i.low == pytest.approx(2.5 - half)
    assert i.high == pytest.approx(2.5 + half)


def test_one_replication_has_no_interval() -> None:
    """A single run gives a mean and claims no spread."""
    assert mean_interval([3.0]).as_dict() == {"mean": 3.0, "low": None, "high": None}


def test_pairing_removes_what_both_arms_share() -> None:
    """The interval of a constant paired difference has zero width however noisy the plants are."""
    base = np.random.default_rng(1).normal(0, 10, 8)
    i = difference_interval((base + 0.5).tolist(), base.tolist())
    assert i.low == pytest.approx(0.5)
    assert i.high == pytest.approx(0.5)


def test_gap_closed_is_one_at_the_oracle_and_negative_below_the_baseline() -> None:
    """The share is 1 where ours equals the oracle, and negative where ours is worse than the baseline."""
    b, o = [0.70, 0.72, 0.71, 0.69], [0.80, 0.83, 0.82, 0.79]
    assert gap_closed(b, o, o).mean == pytest.approx(1.0)
    assert (gap_closed(b, [x - 0.01 for x in b], o).high or 0) < 0


def test_gap_closed_covers_the_truth() -> None:
    """Over 400 simulated studies of 8 paired runs the 95 % interval covers the true share at least 9 times in 10."""
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(400):
        plant = rng.normal(0.7, 0.03, 8)
        gap = rng.normal(0.1, 0.02, 8)
        ours = plant + 0.6 * gap + rng.normal(0, 0.01, 8)
        i = gap_closed(plant.tolist(), ours.tolist(), (plant + gap).tolist())
        hits += (i.low or 0) <= 0.6 <= (i.high or 0)
    assert 0.9 <= hits / 400 <= 1.0


def test_no_gap_is_not_a_share() -> None:
    """Where the oracle is no better than the baseline there is no share to report."""
    assert gap_closed([1.0, 1.0], [2.0, 2.0], [1.0, 1.0]).mean is None
