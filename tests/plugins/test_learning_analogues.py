"""Forecasts by analogues on made-up days."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lineside_plugins.learning.analogues import Analogues, Moments

SLOTS, DAYS = 4, 30


def _moments() -> Moments:
    """Thirty days of four slots: days of shape 0 and 1 take turns, and what follows is ten times the shape."""
    day, slot = np.divmod(np.arange(DAYS * SLOTS), SLOTS)
    shape = (day % 2).astype(np.float64)
    return Moments(shape[:, None] * 3.0, slot, np.zeros(len(day), dtype=np.int64), 10.0 * shape + slot, ahead=2)


def test_what_followed_days_of_the_same_shape_is_the_forecast() -> None:
    """With both shapes seen, each day's forecast is what followed days like it, at that time of day."""
    moments, first = _moments(), 20 * SLOTS
    np.testing.assert_allclose(Analogues(nearest=5).forecast(moments, first)[0], moments.target[first:])


def test_no_forecast_uses_what_was_not_yet_known() -> None:
    """Targets that come true later change no forecast, and the first moments have none."""
    moments, first = _moments(), 20 * SLOTS
    changed = moments.target.copy()
    changed[first - moments.ahead + 1 :] = 99.0
    said = Analogues(nearest=5).forecast(replace(moments, target=changed), first - SLOTS)
    np.testing.assert_allclose(said[0, : SLOTS + 1], moments.target[first - SLOTS : first + 1])
    assert np.isnan(Analogues().forecast(moments, 0)[0, :SLOTS]).all()


def test_a_day_of_another_kind_or_long_ago_counts_as_farther() -> None:
    """Of two equally like days the forecast takes the one of its own kind, else the newer one."""
    moments = Moments(
        described=np.array([[0.0], [2.0], [1.0]]), slot=np.zeros(3, dtype=np.int64), kind=np.array([0, 1, 0]),
        target=np.array([5.0, 7.0, 0.0]), ahead=1,
    )  # fmt: skip
    assert Analogues(nearest=1, other_kind=1.0, ageing=0.1).forecast(moments, 2)[0, 0] == 5.0
    assert Analogues(nearest=1, other_kind=0.0, ageing=0.1).forecast(moments, 2)[0, 0] == 7.0
