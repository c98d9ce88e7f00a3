"""A master that is killed under load, and a replica that Sentinel makes master: what was on its way is sent again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from redis import Redis

from lineside_plugins.sentinels import sentinels
from tests.faults.dispatch.rig import Rig, sound

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

WITHIN_S = 90.0


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("time_of_three", range(3))
def test_a_failover_by_sentinel_loses_nothing(
    rig: Rig, sentinel: str, row: Callable[..., None], time_of_three: int
) -> None:
    """Replication is asynchronous: requests, attempts and answers of the last moment are gone, and nothing is lost."""
    found = sentinels(sentinel)
    assert found is not None
    rig.url = sentinel
    with Redis(port=found.hosts[0][1], decode_responses=True) as watcher:
        until(lambda: int(watcher.sentinel_master("line")["num-slaves"]) > 0)
        until(lambda: _in_step(watcher))
        with rig:
            rig.progress(50)
            first = watcher.sentinel_master("line")["port"]
            with Redis(port=int(first), password=found.login["password"]) as master:
                pid = int(master.info("server")["process_id"])
            os.kill(pid, signal.SIGKILL)
            until(lambda: watcher.sentinel_master("line")["port"] != first)
            rig.progress(50)
            v = sound(rig, f"failover by Sentinel, {time_of_three + 1}", 1, row)
    assert v.written > 0.5 * v.closed


def _in_step(watcher: Redis) -> bool:
    (replica,) = watcher.sentinel_slaves("line")
    return replica["master-link-status"] == "ok"
