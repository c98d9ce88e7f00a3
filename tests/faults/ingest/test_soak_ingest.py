"""A reconnect every 30 s for half an hour: nothing grows. ``make soak-ingest``; LINESIDE_SOAK_MINUTES sets the time."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from pathlib import Path

import numpy as np
import pytest

MINUTES = float(os.environ.get("LINESIDE_SOAK_MINUTES", "30"))
EVERY_S = 30.0
RESTART_EACH = 4
"""One reconnect in so many meets a server that has restarted; the others take the session up again."""
WARM_SHARE = 1 / 3
"""Share of the run in which caches fill and memory is not judged."""
MAX_KIB_PER_MINUTE = 100.0

pytestmark = [pytest.mark.soak, pytest.mark.timeout(MINUTES * 90 + 300)]


def resident_kib() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.parametrize("policy", ["Basic256Sha256"], indirect=True)
async def test_a_reconnect_every_30_s_leaves_nothing_behind(new_rig, note):
    """Memory, tasks, sessions and subscriptions stay as they are over hundreds of reconnects."""
    rig = await new_rig(tags=100)
    rig.books.keeps = False
    await rig.flowing()
    rows: list[tuple[float, int, int, int, int]] = []
    began, count = time.monotonic(), 0
    while time.monotonic() - began < MINUTES * 60:
        count += 1
        await rig.settled(60)  # notes what the server counted before it may go
        if count % RESTART_EACH == 0:
            await rig.server.kill()
            await rig.server.start()
        rig.proxy.reset()
        next_at = began + count * EVERY_S
        await asyncio.sleep(0.2)
        await rig.flowing(within_s=240)
        await asyncio.sleep(max(next_at - time.monotonic() - 1.0, 0.0))
        stats = await rig.settled(60)
        gc.collect()
        tasks = len(asyncio.all_tasks())
        rows.append((time.monotonic() - began, resident_kib(), tasks, stats["sessions"], stats["subscriptions"]))
        minutes, kib, *rest = rows[-1]
        print(f"{minutes / 60:6.1f} min  {kib} KiB  tasks, sessions, subscriptions: {rest}", flush=True)
        await asyncio.sleep(max(next_at - time.monotonic(), 0.0))
    table = np.array(rows)
    late = table[table[:, 0] >= WARM_SHARE * table[-1, 0]]
    slope = float(np.polyfit(late[:, 0] / 60, late[:, 1], 1)[0])
    status = rig.link.status
    note(fault="soak", recovered_s=f"{slope:+.1f} KiB/min", sessions=set(table[:, 3].astype(int).tolist()),
         creates_a_minute=rig.creates_a_minute(), gaps=rig.books.table.gaps.count)  # fmt: skip
    print(
        f"{count} reconnects, {status.resumes} resumed, {status.connects} sessions made, RSS slope {slope:+.1f} KiB/min"
    )
    assert set(table[:, 2]) == {table[0, 2]}, "the number of tasks changed"
    assert set(table[:, 3]) == set(table[:, 4]) == {1.0}
    assert rig.creates_a_minute() <= 10
    assert rig.books.table.tally.balanced
    assert rig.books.table.pages.unbalanced() == []
    assert slope < MAX_KIB_PER_MINUTE
