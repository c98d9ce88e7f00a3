"""How well intervals that were calibrated on a few units hold on others: fit, calibrate, meet new units, rehearsed.

Units differ, and the few that calibrate do not show by how much; a network that was stopped by them knows them besides.
So the whole way is gone several times on the units at hand: some teach, as many as calibrated do so, as many again are
met for the first time. Source: Dunn, Wasserman, Ramdas, Distribution-Free Prediction Sets for
Two-Layer Hierarchical Models (2022), for coverage of a new unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.tasks.condition.scorers import Scorer
from lineside_workers.condition.heads import Problem
from lineside_workers.condition.windows import Rows
from lineside_workers.errors import LabelError
from lineside_workers.recorded.splitting import stretch_of

Floats: TypeAlias = NDArray[np.float64]
TIMES = 8
Cast: TypeAlias = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


def casts(units: Sequence[str], held: int, seed: int) -> Iterator[Cast]:
    """Who teaches, who calibrates and who is met, ``TIMES``; ``held`` units calibrate where there are enough."""
    held = min(held, (len(units) - 1) // 2)
    rng = np.random.default_rng(seed)
    for _ in range(TIMES if held else 0):
        drawn = rng.permutation(sorted(units)).tolist()
        yield tuple(drawn[2 * held :]), tuple(drawn[:held]), tuple(drawn[held : 2 * held])


def later_casts(units: Sequence[str], calibrating: Sequence[str]) -> Iterator[Cast]:
    """The same where units are stretches of time: as in earnest all who teach lie before, all who are met behind."""
    times = sorted({stretch_of(u) for u in units})
    held = len({stretch_of(u) for u in calibrating})
    for k in range(held, len(times) - 2 * held + 1):
        sides = times[:k], times[k : k + held], times[k + held : k + 2 * held]
        teach, calibrate, met = (tuple(u for u in units if stretch_of(u) in side) for side in sides)
        yield teach, calibrate, met


def rehearse(
    make: Callable[[Rows], Problem],
    learn: Callable[[Problem, Rows, Rows], Scorer],
    rows: Rows,
    cast: Iterable[Cast],
    coverage: float,
) -> Floats | None:
    """How far (K,) intervals must be moved out to cover units they have not met.

    ``make`` gives the head for rows that teach, ``learn`` a scorer from those and from rows that calibrate. ``rows``
    are those that do one or the other, by ``cast``; of units met ``coverage`` is to lie inside. None where nothing is
    known of units met.
    """
    short, share = [], []
    for teach, calibrate, met in cast:
        fit, choose, others = (rows.of(units) for units in (teach, calibrate, met))
        try:
            problem = make(fit)
            scorer = learn(problem, fit, choose)
            learned = problem.calibrate(scorer(choose.x), choose)
        except LabelError:  # too few rows for this cast
            continue
        _, which, count = np.unique(others.unit, return_inverse=True, return_counts=True)
        short.append(problem.short(problem.answer(learned), scorer(others.x), others))
        share.append(1.0 / count[which] / len(count))
    every, weight = np.concatenate(short or [np.empty((0, 1))]), np.concatenate(share or [np.empty(0)])
    if np.isnan(every).all(axis=0).any():
        return None
    return np.asarray([_reached(column, weight, coverage) for column in every.T])


def _reached(short: Floats, weight: Floats, coverage: float) -> float:
    """The least of ``short`` (R,) that covers ``coverage`` of the rows that are known, as weighed."""
    known = ~np.isnan(short)
    order = np.argsort(short[known])
    share = np.cumsum(weight[known][order])
    return float(short[known][order][np.searchsorted(share, coverage * share[-1])])
