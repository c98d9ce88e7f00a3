"""How soon a worker finds a broker that is back."""

from __future__ import annotations

from typing import Any

from kombu.connection import Connection

FIRST_WAIT_S, LONGER_BY_S, LONGEST_WAIT_S = 1, 1, 4


class SteadyConnection(Connection):
    """kombu's connection, which looks for a lost broker every few seconds for as long as it takes.

    kombu's own waits half a minute after a long outage, with nothing to set it by: windows of a deadline of half a
    minute then all expire although the broker is back.
    """

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Return when the broker answers; the arguments are kombu's."""
        waits = {"interval_start": FIRST_WAIT_S, "interval_step": LONGER_BY_S, "interval_max": LONGEST_WAIT_S}
        return super().ensure_connection(*args, **{**waits, **kwargs})  # type: ignore[no-untyped-call]  # kombu
