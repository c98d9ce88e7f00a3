"""Where the items of a message end, found without stepping through them: guessed from what they end with, then proved.

Nearly every item ends with a timestamp, and the upper bytes of all timestamps of one message are the same. Wherever
these bytes stand an item may end. The guess is believed only if the items between these places have exactly the sizes
that their mask and type bytes tell, which holds for one division of the bytes into items and no other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lineside_gateway.opcua.wire.extents import Bytes
from lineside_gateway.opcua.wire.forms import FORMS, MASK_AT, SIZES, TYPE_AT, VALUE

UPPER = 3
"""Bytes compared: they stay the same for 30 hours, and stand among other bytes by chance once in 16 million places."""
STAMP = 8
_U1, _U2 = np.dtype("u1"), np.dtype("<u2")
_SIZES = np.array(SIZES, np.int64).T.reshape(-1)
"""Size of an item by the two bytes of mask and type, 0 where they do not tell; SIZES is by mask first."""


def boundaries(buf: Bytes, first: int, count: int, end: int) -> NDArray[np.int64] | None:
    """Places of ``count`` items from the first one at ``first``; None where the guess fails."""
    key = buf[first + MASK_AT]
    if key & VALUE:
        key |= buf[first + TYPE_AT] << 8
    form = FORMS.get(key)
    stamp = 0 if form is None else max(form.source_at, form.server_at)
    if form is None or not stamp or stamp + STAMP != form.size or first + form.size > end:
        return None
    last = first + form.size
    places = _occurrences(np.ndarray((end - 4 - first,), _U1, buf, first), buf[last - UPPER : last])
    # Of SourceTimestamp and ServerTimestamp, side by side, the second one ends the item.
    paired = np.append(places[1:] - places[:-1] == STAMP, False)
    ends = places[~paired] + UPPER
    if len(ends) != count:
        return None
    starts = np.append(0, ends[:-1])
    keys = np.ndarray((end - first - 1,), _U2, buf, first, (1,))[starts + MASK_AT]
    return starts if np.array_equal(starts + _SIZES[keys], ends) else None


def _occurrences(data: NDArray[np.uint8], wanted: Bytes) -> NDArray[np.int64]:
    """Where ``wanted`` begins in ``data``."""
    found = data[UPPER - 1 :] == wanted[UPPER - 1]
    for k in range(UPPER - 1):
        found &= data[k : len(data) - UPPER + 1 + k] == wanted[k]
    return np.flatnonzero(found)
