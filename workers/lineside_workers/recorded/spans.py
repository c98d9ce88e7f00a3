"""Lengths of time as people say them: 14 s, 6 min, 3.2 h, 2.5 weeks."""

from __future__ import annotations

_UNITS = (("s", 1.0, 120.0), ("min", 60.0, 7200.0), ("h", 3600.0, 48 * 3600.0), ("d", 86400.0, 14 * 86400.0))
_WEEK_S = 7 * 86400.0


def said(seconds: float) -> str:
    """In the unit that leaves few digits.

    >>> [said(s) for s in (14, 420, 11520, 1.5e6)]
    ['14 s', '7 min', '3.2 h', '2.5 weeks']
    """
    for unit, length_s, below_s in _UNITS:
        if seconds < below_s:
            return (
                f"{seconds / length_s:.2g} {unit}" if seconds < 100 * length_s else f"{seconds / length_s:.0f} {unit}"
            )
    return f"{seconds / _WEEK_S:.1f} weeks"
