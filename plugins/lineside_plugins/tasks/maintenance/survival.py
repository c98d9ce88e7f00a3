"""Discrete-time survival: from hazards per interval to failure probability, remaining life and its quantiles.

A life that ended in planned maintenance, or is still running when the recording ends, is censored: it contributes
every interval it is known to have survived and nothing more. That needs no guess about when it would have failed.
Source: Gensheimer, Narasimhan, A scalable discrete-time survival model for neural networks (2019), eq. 3-5.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
EDGES_H = (0.0, 6.0, 12.0, 24.0, 48.0, 96.0, 192.0)
INTERVALS = len(EDGES_H) - 1
DECISION_INTERVALS = 3  # the first three end at 24 h, the horizon in which a failure is to be foreseen
HORIZON_H = EDGES_H[DECISION_INTERVALS]
ACT_HORIZONS_H = EDGES_H[1 : DECISION_INTERVALS + 1]  # within which of them a failure decides the flag is learned
RUL_CAP_H = 240.0  # beyond the last edge nothing was learned; "at least this long"


def targets(until_h: Floats, failed: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """What is known of each interval: ``(at_risk, event)``, both float64 (R, K) of 0 and 1.

    ``until_h`` (R,) is the time to failure, or to the moment after which nothing is known. A censored interval
    counts as survived once at least half of it was seen.
    """
    low, high = np.array(EDGES_H[:-1]), np.array(EDGES_H[1:])
    t = until_h[:, None]
    event = failed[:, None] & (t > low) & (t <= high)
    event[:, 0] |= failed & (until_h <= 0.0)
    survived = np.where(failed[:, None], t > high, t >= (low + high) / 2)
    return (event | survived).astype(np.float64), event.astype(np.float64)


def curve(hazard: Floats) -> Floats:
    """Survival at every edge (R, K + 1), from 1 downwards; ``hazard`` (R, K) is P(fail in k | alive at its start)."""
    ones = np.ones((len(hazard), 1))
    return np.concatenate([ones, np.cumprod(1.0 - hazard, axis=1)], axis=1)


def failure_probability(survival: Floats, horizon_h: float = HORIZON_H) -> Floats:
    """P(failure within ``horizon_h``) (R,), survival interpolated linearly in its logarithm between edges."""
    log_s = np.log(np.maximum(survival, 1e-9))
    k = int(np.clip(np.searchsorted(EDGES_H, horizon_h, side="left"), 1, survival.shape[1] - 1))
    share = min(1.0, (horizon_h - EDGES_H[k - 1]) / (EDGES_H[k] - EDGES_H[k - 1]))
    out: Floats = 1.0 - np.exp(log_s[:, k - 1] + share * (log_s[:, k] - log_s[:, k - 1]))
    return out


def quantile(survival: Floats, level: float | Floats) -> Floats:
    """Time in h by which a share ``level`` has failed; the last interval's hazard goes on until the cap.

    (R,) for one level, (R, Q) for Q levels.
    """
    levels = np.atleast_1d(np.asarray(level, dtype=np.float64))
    log_s = np.log(np.maximum(survival, 1e-9))
    edges = np.array([*EDGES_H, RUL_CAP_H])
    last = (log_s[:, -1] - log_s[:, -2]) / (EDGES_H[-1] - EDGES_H[-2])
    log_s = np.concatenate([log_s, (log_s[:, -1] + last * (RUL_CAP_H - EDGES_H[-1]))[:, None]], axis=1)
    wanted = np.log(1.0 - levels)
    k = np.clip((log_s[:, :, None] > wanted).sum(axis=1), 1, len(edges) - 1)
    rows = np.arange(len(log_s))[:, None]
    before, after = log_s[rows, k - 1], log_s[rows, k]
    share = np.clip((before - wanted) / np.maximum(before - after, 1e-12), 0.0, 1.0)
    out: Floats = edges[k - 1] + share * (edges[k] - edges[k - 1])
    return out if np.ndim(level) else out[:, 0]


def negative_log_likelihood(hazard: Floats, at_risk: Floats, event: Floats) -> float:
    """Mean loss per row; the same for every candidate, so that trees and networks are compared on one scale."""
    h = np.clip(hazard, 1e-7, 1 - 1e-7)
    loss = -(event * np.log(h) + (at_risk - event) * np.log(1.0 - h))
    return float(loss.sum() / max(1, len(hazard)))
