"""Labels for histories that have none, from what a first model says of them.

Of one history all forecasts speak of the same end: remaining life falls by one per row. Where they agree on that end it
is known far better than from any single row, and every row of the history then has a label that a second model can
learn from. Source: Scudder, Probability of error of some adaptive pattern-recognition machines (1965), for a model
that teaches another; the agreement on one end is what makes its labels better than itself here.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
FEWEST = 10  # forecasts of one history that must be near enough to be believed


def along(said: Floats, recording: NDArray[np.int64], time: Floats, believed: float, blur: float = 10.0) -> Floats:
    """Remaining life (R,) of every row as its recording's forecasts agree on the end; below 0 for rows after it.

    ``said`` (R,) forecasts in rows, ``time`` (R,) of each row within its ``recording`` (R,). Only forecasts below
    ``believed`` have a say, a nearer one more: each weighs 1 / (forecast + ``blur``), for errors grow with the
    distance. A recording with fewer than ``FEWEST`` of them was cut too early to say: NaN in all its rows.
    """
    out = np.full(len(said), np.nan)
    for one in np.unique(recording):
        mine = recording == one
        near = mine & (said < believed)
        if near.sum() >= FEWEST:
            end = np.average(time[near] + said[near], weights=1.0 / (np.maximum(said[near], 0.0) + blur))
            out[mine] = end - time[mine]
    return out
