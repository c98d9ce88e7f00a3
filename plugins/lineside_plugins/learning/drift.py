"""How far a distribution has moved: population stability index and Kolmogorov-Smirnov distance.

Source: Siddiqi, Credit Risk Scorecards (2006), ch. 8, for PSI and its bounds 0.1 and 0.25.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
_EMPTY = 1e-3  # share given to an empty bin, so that the logarithm stays finite


def psi(reference: Floats, now: Floats, bins: int = 10) -> float:
    """Population stability index of ``now`` (M,) over quantile bins of ``reference`` (N,); 0 = the same.

    >>> round(psi(np.arange(1000.0), np.arange(1000.0)), 3)
    0.0
    """
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))
    shares = [
        np.maximum(np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1) / max(1, len(x)), _EMPTY)
        for x in (reference, now)
    ]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def ks(reference: Floats, now: Floats) -> float:
    """Largest distance of the two distribution functions, 0..1.

    >>> ks(np.array([0.0, 1.0]), np.array([2.0, 3.0]))
    1.0
    """
    both = np.sort(np.concatenate([reference, now]))
    one, other = (np.searchsorted(np.sort(x), both, side="right") / len(x) for x in (reference, now))
    return float(np.abs(one - other).max())
