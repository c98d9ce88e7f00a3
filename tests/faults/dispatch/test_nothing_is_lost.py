"""Each request ends once, whatever dies: kills at random moments under load, and faults of every other kind.

``make test-faults`` runs fifty SIGKILLs each of broker, worker and gateway; LINESIDE_FAULT_KILLS changes that.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest
from redis import Redis

from tests.faults.dispatch.rig import Rig, sound

pytestmark = pytest.mark.faults

KILLS = int(os.environ.get("LINESIDE_FAULT_KILLS", "50"))


@pytest.mark.timeout(3600)
def test_sigkills_of_broker_worker_and_gateway_lose_nothing(rig: Rig, row: Callable[..., None]) -> None:
    """Fifty of each at random moments under load: every request on disk is written once or has ended with a reason."""
    chance = random.Random(5)
    todo = ["broker", "worker", "gateway"] * KILLS
    chance.shuffle(todo)
    with rig:
        rig.progress()
        for what in todo:
            time.sleep(chance.uniform(0, 0.8))
            rig.kill(what)
            rig.progress()
        v = sound(rig, "SIGKILL broker/worker/gateway", len(todo), row)
    assert v.written > 0.5 * v.closed


def test_batches_that_end_or_hang_their_worker_are_parked_and_the_rest_goes_on(
    rig: Rig, row: Callable[..., None]
) -> None:
    """Segfault, the kernel's kill for memory and a batch that never ends: parked with their cause, no one starves."""
    rig.poison_every = 100
    rig.per_s = 10.0
    with rig:
        for _ in range(6):
            rig.progress(50)
        v = sound(rig, "segfault, OOM kill, hang", 6, row)
    assert v.ends["parked"] > 0


def test_a_full_disk_costs_durability_not_requests(rig: Rig, row: Callable[..., None]) -> None:
    """No file may grow any more: requests are answered, writes without a journal refused, all is counted."""
    rig.max_file_bytes = 300_000
    with rig:
        rig.progress()
        time.sleep(10)
        sound(rig, "store's disk full", 1, row)
        assert rig.last_words()["store"]["not_kept"] > 0


def test_a_broker_without_memory_delays_and_expires_but_loses_nothing(rig: Rig, row: Callable[..., None]) -> None:
    """Redis at ``maxmemory`` refuses writes for a while, three times; afterwards requests flow again."""
    with rig:
        for _ in range(3):
            rig.progress(20)
            with Redis.from_url(rig.broker.url) as redis:
                redis.config_set("maxmemory", "1")
                time.sleep(5)
                redis.config_set("maxmemory", "0")
            rig.progress(5)
        sound(rig, "maxmemory", 3, row)


def test_a_clock_that_jumps_by_an_hour_writes_nothing_late(rig: Rig, row: Callable[..., None]) -> None:
    """The gateway's wall clock jumps forward and back: what is late by it expires, nothing is lost or doubled."""
    with rig:
        for _ in range(4):
            rig.progress(20)
            assert rig.gateway is not None
            rig.gateway.send_signal(signal.SIGUSR1)
            time.sleep(2)
        sound(rig, "clock step of an hour", 4, row)
