from __future__ import annotations

import pytest

from lineside_workers.app import build
from lineside_workers.requests.connection import LONGEST_WAIT_S
from lineside_workers.settings import WorkerSettings


class EnoughError(Exception):
    """The broker has been looked for often enough."""


def test_a_broker_that_was_away_for_long_is_found_within_seconds(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait between two looks of a worker stops growing at a few seconds."""
    waits: list[float] = []

    def note(_error: Exception, interval: float) -> None:
        waits.append(interval)
        if len(waits) == 20:
            raise EnoughError

    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _s: None)
    app = build(WorkerSettings(broker_url=f"redis://127.0.0.1:{unused_tcp_port}/0"))
    with app.connection_for_read() as connection, pytest.raises(EnoughError):
        connection.ensure_connection(note)
    assert max(waits) == LONGEST_WAIT_S
