"""Which known disturbance pushes a plant, told by what each row adds that the row before did not foretell.

Noise and control loops hide a small steady push in a mean; a row's innovation shows it anew at every row, and
innovations of neighbouring rows are nearly independent, so their log-likelihoods may be summed.
Source: Willsky and Jones, A Generalized Likelihood Ratio Approach to the Detection and Estimation of Jumps in Linear
Systems (1976); with a first-order model fitted by ridge regression in place of a known one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
_LEAST_ROWS = 2


@dataclass(frozen=True, slots=True)
class Innovations:
    """``moves`` (C, C) foretell a row from the one before, to which each of S states adds its ``push`` (S, C).

    ``spread`` (C, C) is the covariance of what neither foretells. States differ in their push alone: a state that
    changes how the plant moves, or pushes it now this way and now that, is not told.
    """

    moves: Floats
    push: Floats
    spread: Floats

    @classmethod
    def fit(cls, runs: Sequence[tuple[int, Floats]], ridge: float, shrinkage: float) -> Innovations:
        """Learn from runs of (state, rows (T, C)), states 0 to S - 1, rows in standard deviations of normal operation.

        ``ridge`` is the penalty on moves, in rows; ``shrinkage`` the share of covariances between tags left out.

        Raises:
            ValueError: A state has no run, or a run has fewer than two rows.
        """
        states = sorted({state for state, _ in runs})
        if states != list(range(len(states))):
            raise ValueError(f"runs are of states {states}; expected a run of each state from 0 on")
        shortest = min((len(rows) for _, rows in runs), default=0)
        if shortest < _LEAST_ROWS:
            raise ValueError(f"a run has {shortest} rows; expected at least {_LEAST_ROWS}, one to foretell the next")
        before = np.concatenate([rows[:-1] for _, rows in runs])
        after = np.concatenate([rows[1:] for _, rows in runs])
        state = np.repeat([s for s, _ in runs], [len(rows) - 1 for _, rows in runs])
        known = np.concatenate([before, np.eye(len(states))[state]], axis=1)
        penalty = np.diag([ridge] * before.shape[1] + [1e-3] * len(states))
        weights = np.linalg.solve(known.T @ known + penalty, known.T @ after)
        spread = np.cov((after - known @ weights).T)
        spread = (1.0 - shrinkage) * spread + shrinkage * np.diag(np.diag(spread))
        return cls(weights[: before.shape[1]], weights[before.shape[1] :], spread)

    def log_likelihood(self, rows: Floats) -> Floats:
        """What each row (T, C) says of each state (T, S), in nats, up to what all states share; 0 for the first."""
        toward = np.linalg.solve(self.spread, self.push.T)
        out = np.zeros((len(rows), len(self.push)))
        out[1:] = (rows[1:] - rows[:-1] @ self.moves) @ toward - 0.5 * (self.push * toward.T).sum(axis=1)
        return out
