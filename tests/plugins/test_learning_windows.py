"""Window statistics: causal, equal to their definition, named in order."""

from __future__ import annotations

import numpy as np

from lineside_plugins.learning.windows import Scales, decaying_mean, rolling_line, rolling_mean, statistics


def _values() -> np.ndarray:
    return np.random.default_rng(3).normal(1000.0, 1.0, (60, 3))


def test_means_slopes_and_spreads_match_their_definition() -> None:
    """Running sums give the mean, the least-squares slope and the spread of the window itself."""
    values = _values()
    window = values[31:51, 1]
    time = np.arange(20)
    slope, level = np.polyfit(time, window, 1)
    got_slope, got_spread = rolling_line(values, 20)
    assert np.isclose(rolling_mean(values, 20)[50, 1], window.mean())
    assert np.isclose(got_slope[50, 1], slope)
    assert np.isclose(got_spread[50, 1], np.std(window - (slope * time + level)))


def test_features_never_see_the_future() -> None:
    """Rows cut after t change nothing at or before t."""
    values = _values()
    scales = Scales(baseline=10)
    whole, cut = statistics(values, scales), statistics(values[:33], scales)
    np.testing.assert_allclose(whole[:33], cut, rtol=0, atol=1e-9)


def test_names_are_as_many_as_columns_and_say_which() -> None:
    """Each feature column carries its tag and what it says of it."""
    values = _values()
    scales = Scales(means=(5,), slopes=(10,), spans=(), baseline=0)
    names = scales.names(("a", "b", "c"))
    table = statistics(values, scales)
    assert table.shape == (60, len(names))
    np.testing.assert_allclose(table[:, names.index("b:mean5")], rolling_mean(values, 5)[:, 1])


def test_a_decaying_mean_of_a_constant_is_the_constant() -> None:
    """The start correction leaves no transient."""
    np.testing.assert_allclose(decaying_mean(np.full((5, 1), 7.0), 30), 7.0)
