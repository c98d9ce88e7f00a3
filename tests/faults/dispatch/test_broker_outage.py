"""Ten minutes without a broker at a thousand windows a second; LINESIDE_FAULT_OUTAGE_S changes how long."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import psutil
import pytest

from tests.faults.dispatch.rig import Rig, sound

pytestmark = pytest.mark.faults

OUTAGE_S = float(os.environ.get("LINESIDE_FAULT_OUTAGE_S", "600"))
OUTAGE_PER_S, MAX_WAITING, IN_FLIGHT = 1000.0, 4096, 3 * 8  # windows; the last two are the gateway side's settings
FILLED_AFTER_S = 40.0  # what waits and what expires have reached their bounds
GROWTH_MOST_BYTES = 32 << 20  # over all of the outage: 56 bytes a window would be more


@pytest.mark.timeout(3600)
def test_ten_minutes_without_a_broker_are_bounded_counted_and_drained(rig: Rig, row: Callable[..., None]) -> None:
    """A thousand windows a second and no broker: memory stays, the oldest go first, and all are accounted for."""
    rig.per_s = OUTAGE_PER_S
    memory: list[int] = []
    with rig:
        rig.progress(100)
        assert rig.broker.pid is not None
        assert rig.gateway is not None
        os.kill(rig.broker.pid, signal.SIGKILL)
        rig.broker.stop()
        until = time.monotonic() + OUTAGE_S
        gateway = psutil.Process(rig.gateway.pid)
        while time.monotonic() < until:
            time.sleep(0.5)
            memory.append(gateway.memory_info().rss)
        stood, returned = len(rig.lines("plant")), time.time()
        rig.broker.start()
        rig.progress(MAX_WAITING // 2)
        v = sound(rig, f"no broker for {OUTAGE_S:.0f} s", 1, row)
    filled = memory[round(len(memory) * min(0.5, FILLED_AFTER_S / OUTAGE_S)) :]
    mib = {"filled_MiB": filled[0] >> 20, "most_MiB": max(filled) >> 20}
    row("gateway without a broker: its memory", seconds=round(OUTAGE_S), **mib, looks=len(memory))
    assert max(filled) - filled[0] < GROWTH_MOST_BYTES
    assert v.ends["expired"] > 0.5 * OUTAGE_S * OUTAGE_PER_S
    closed = {name: float(at) for name, at in rig.lines("closed")}
    old = [n for _, n, _ in rig.lines("plant")[stood:] if closed[n] < returned - 2 * MAX_WAITING / OUTAGE_PER_S]
    assert len(old) <= IN_FLIGHT, "what waited longest is what is dropped; only what was on its way may be older"
