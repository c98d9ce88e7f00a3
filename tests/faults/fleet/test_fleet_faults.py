"""Two gateways, two workers: SIGKILL and SIGSTOP of whoever leads, dead workers, and what a dead gateway's store held.

Every window that either gateway closed has to end once: written, expired, refused or parked, by the plant's own file
and the witnesses in both gateways. LINESIDE_FLEET_TRIES is how often the leader is killed and how often it is stopped;
five each unless told.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lineside_gateway.ingest import Request
from lineside_gateway.store import RequestStore
from tests.faults.fleet.witnessed import WitnessedRig, window_of

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

TRIES = int(os.environ.get("LINESIDE_FLEET_TRIES", "5"))
MACHINES = 20  # a window a second each, all of them written
TAKEN_OVER_WITHIN_S = 10.0
AWAKE_S = 2.0
IN_FLIGHT_S = 0.2  # a write that was on its way when its sender was stopped
TABLE = "fleet: how each window ended"


def taken_over(rig: WitnessedRig, dead: str, at: float) -> float:
    """Seconds from ``at`` to the first write of the other one."""
    rig.until(lambda: rig.leader() not in {"", dead}, "a takeover")
    rig.until(lambda: rig.writes()[-1][2] > at + IN_FLIGHT_S, "a write after the takeover")
    return next(t for _, _, t in rig.writes() if t > at + IN_FLIGHT_S) - at


def sound(rig: WitnessedRig, row: Callable[..., None], fault: str, times: int, **more: object) -> None:
    """Each window ended once, none late, and both ledgers balance."""
    v = rig.settled()
    ends = {end: sum(n for e, n in v.ends.items() if e.startswith(end)) for end in ("expired", "refused", "parked")}
    wrong = {"lost": len(v.lost), "twice": len(v.twice), "late": len(v.late)}
    figures = {"in_doubt": v.ends["refused: in_doubt"], **wrong, "median_s": "", "longest_s": "", **more}
    row(TABLE, fault=fault, times=times, windows=v.windows, written=v.ends["written"], **ends, **figures)
    assert v.sound, f"lost {v.lost[:5]}, twice {v.twice}, late {v.late[:5]}\n{rig.tail()}"
    for found in filter(None, map(rig.figures, "ab")):
        assert found["closed"] == sum(found.values()) - found["closed"], found


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["SIGKILL", "SIGSTOP"])
def test_the_standby_takes_over_within_ten_seconds_and_every_window_ends_once(
    tmp_path: Path, fault: signal.Signals, row: Callable[..., None]
) -> None:
    """Each time a worker dies besides. The one that was stopped writes nothing when it wakes; a dead one returns."""
    took, chance = list[float](), random.Random(6)
    with WitnessedRig(tmp_path, workers=2, machines=MACHINES) as rig:
        rig.start_gateway("a")
        rig.start_gateway("b")
        rig.progress()
        for number in range(TRIES):
            worker = f"worker{number % 2}"
            rig.until(lambda: len(rig.figures("a")) and len(rig.figures("b")), "both gateways")
            rig.until(lambda: len(rig.batches()) == 2, "both workers", 120)
            rig.progress(2 * MACHINES)
            time.sleep(chance.uniform(0, 1.0))
            leader = rig.leader()
            rig.kill(worker)
            at = time.time()
            if fault is signal.SIGKILL:
                rig.kill(leader)
            else:
                rig.processes[leader].send_signal(fault)
            took.append(taken_over(rig, leader, at))
            rig.start_worker(worker)
            if fault is signal.SIGKILL:
                rig.start_gateway(leader)
            else:
                rig.processes[leader].send_signal(signal.SIGCONT)
                time.sleep(AWAKE_S)
                rest = {key for _, key, t in rig.writes() if t > at + IN_FLIGHT_S}
                assert not rest & set(rig.written_by(leader)), "the one that was stopped has written"
        rig.progress(2 * MACHINES)
        figures = {"median_s": f"{statistics.median(took):.1f}", "longest_s": f"{max(took):.1f}"}
        sound(rig, row, f"{fault.name} of the leader and a worker", TRIES, **figures)
        assert max(took) <= TAKEN_OVER_WITHIN_S, took


def test_work_spreads_over_two_workers_and_either_may_die(tmp_path: Path, row: Callable[..., None]) -> None:
    """Both answer batches; with one of them killed, whichever it is, the plant goes on being written to."""
    with WitnessedRig(tmp_path, workers=2, machines=MACHINES) as rig:
        rig.start_gateway("a")
        rig.until(lambda: len(rig.batches()) == 2 and all(rig.batches().values()), "batches on both workers", 120)
        for name in ("worker0", "worker1"):
            rig.kill(name)
            rig.progress(4 * MACHINES)
            rig.start_worker(name)
            rig.until(lambda: len(rig.batches()) == 2, "the worker's return", 120)
        sound(rig, row, "SIGKILL of either worker", 2)


def test_what_a_dead_gateways_store_held_is_answered_by_the_one_that_leads(
    tmp_path: Path, row: Callable[..., None]
) -> None:
    """Its requests are handed over when it returns, the expired ones are expired, and each is written at most once."""
    with WitnessedRig(tmp_path, deadline_s=300.0) as rig:
        rig.start_gateway("a")
        rig.progress()
        rig.processes["worker0"].send_signal(signal.SIGSTOP)
        time.sleep(8)
        died = rig.kill("a")
        _leave_expired(tmp_path / "a" / "requests.sqlite")
        rig.start_gateway("b")
        rig.until(lambda: rig.leader() == "b", "the lease of the one that has seen none of it")
        rig.start_gateway("a")
        rig.until(lambda: rig.figures("a").get("elsewhere", 0) > 0, "the handover")
        rig.processes["worker0"].send_signal(signal.SIGCONT)

        def replayed() -> list[str]:
            return [k for _, k, t in rig.writes() if window_of(k)[1] < (died - 1) * 1e6 and t > died]

        rig.until(lambda: len(replayed()) >= 4 * 5, "the writes it owed")
        rig.progress(16)
        sound(rig, row, f"store of the dead: {len(replayed())} written after", 1)
        assert rig.figures("a")["expired"] == 1
        assert not set(rig.written_by("a")) & set(replayed())


def _leave_expired(path: Path) -> None:
    """One more request in the store, whose time was over a minute ago."""
    now = time.time()
    values = np.ones((4, 1), np.float32)
    with contextlib.closing(RequestStore(path)) as store:
        store.put(
            Request(
                1, "quick", "M1", round((now - 120) * 1e6), round((now - 60) * 1e6), ("Load",), 0.25, values,
                np.ones(values.shape, np.bool_), {}, {}, 1.0, "period",
            ),
            now - 60,
        )  # fmt: skip
