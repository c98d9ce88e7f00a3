"""Repeated wrong passwords: after so many a name is refused from that address, then the address, then the name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

REMEMBERED = 10_000
"""Names and addresses kept; an attacker who invents more pushes out his own oldest."""
_WEIGHTS = {"pair": 1, "address": 4, "name": 10}
"""How many times ``attempts`` each kind may fail: a stranger elsewhere does not lock an operator out at once."""


class Lockout:
    """Counts failures per (name, address), per address and per name. ``clock`` gives monotonic seconds."""

    def __init__(self, attempts: int, seconds: float, clock: Callable[[], float]) -> None:
        self._attempts = attempts
        self._seconds = seconds
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str, str], tuple[int, float]] = OrderedDict()

    def locked(self, name: str, address: str) -> bool:
        """Whether a login by ``name`` from ``address`` is refused without looking at the password."""
        return any(self._count(key) >= self._attempts * _WEIGHTS[key[0]] for key in _keys(name, address))

    def failed(self, name: str, address: str) -> bool:
        """Count a wrong password; True where it was the one that locks."""
        before = self.locked(name, address)
        for key in _keys(name, address):
            self._failures[key] = (self._count(key) + 1, self._clock())
            self._failures.move_to_end(key)
        while len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)
        return not before and self.locked(name, address)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of this name from this address."""
        self._failures.pop(("pair", name, address), None)

    def _count(self, key: tuple[str, str, str]) -> int:
        count, last = self._failures.get(key, (0, 0.0))
        return count if self._clock() - last < self._seconds else 0


def _keys(name: str, address: str) -> tuple[tuple[str, str, str], ...]:
    return ("pair", name, address), ("address", "", address), ("name", name, "")
