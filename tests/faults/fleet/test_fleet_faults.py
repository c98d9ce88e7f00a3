"""Two gateways, two workers: SIGKILL and SIGSTOP of whoever leads, a dead worker, and what a dead gateway's store held.

LINESIDE_FLEET_TRIES is how often the leader is killed and how often it is stopped; five each unless told.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lineside_gateway.audit import entries
from lineside_gateway.ingest import Request
from lineside_gateway.store import RequestStore
from tests.gateway.fleet.rig import Rig

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

TRIES = int(os.environ.get("LINESIDE_FLEET_TRIES", "5"))
TAKEN_OVER_WITHIN_S = 10.0
AWAKE_S = 2.0
IN_FLIGHT_S = 0.2  # a write that was on its way when its sender was stopped
HEAD = ("fault", "times", "median s", "longest s", "written", "twice", "no step", "in doubt")
ROWS: list[tuple[object, ...]] = []


@pytest.fixture(scope="module", autouse=True)
def _table(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + " ".join(f"{h:>10}" if i else f"{h:28}" for i, h in enumerate(HEAD)))
        for row in ROWS:
            print(" ".join(f"{cell!s:>10}" if i else f"{cell!s:28}" for i, cell in enumerate(row)))


def taken_over(rig: Rig, dead: str, at: float) -> float:
    """Seconds from ``at`` to the first write of the other one."""
    rig.until(lambda: rig.leader() not in {"", dead}, "a takeover")
    rig.until(lambda: rig.writes()[-1][2] > at + IN_FLIGHT_S, "a write after the takeover")
    return next(t for _, _, t in rig.writes() if t > at + IN_FLIGHT_S) - at


def accounted(rig: Rig) -> tuple[int, int]:
    """Seconds for which no machine's window came to a step in an audit log, and decisions given up as in doubt.

    Without a step: the plant sent too few samples for a window, or its answer was late, as the ledgers say.
    """
    spans: dict[str, list[float]] = {}
    for machine, _, end in (_parts(key) for _, key, _ in rig.writes()):
        spans.setdefault(machine, []).append(end)
    logs = [rig.folder / m / "audit" for m in "ab"]
    steps = [e for log in logs if log.is_dir() for e in entries(log, event="step")]
    known = {_parts(e["key"])[0::2] for e in steps}
    expected = {(m, float(t)) for m, ends in spans.items() for t in range(int(min(ends)), int(max(ends)) + 1)}
    return len(expected - known), sum(e["reason"] == "in_doubt" for e in steps)


def _parts(key: str) -> tuple[str, str, float]:
    """Machine, the rest, window end."""
    from datetime import datetime

    task, version, machine, end = key.split("|") if "|" in key else key.split("/")
    return machine, f"{task} {version}", datetime.fromisoformat(end).timestamp()


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["SIGKILL", "SIGSTOP"])
def test_the_standby_writes_within_ten_seconds_and_nothing_is_written_twice(
    tmp_path: Path, fault: signal.Signals
) -> None:
    """The one that was stopped writes nothing when it wakes; the one that was killed stands by when it is back."""
    took: list[float] = []
    with Rig(tmp_path, workers=2) as rig:
        rig.start_gateway("a")
        rig.start_gateway("b")
        rig.progress()
        for _ in range(TRIES):
            rig.until(lambda: len(rig.figures("a")) and len(rig.figures("b")), "both gateways")
            rig.progress()
            leader = rig.leader()
            at = time.time()
            rig.processes[leader].send_signal(fault)
            took.append(taken_over(rig, leader, at))
            if fault is signal.SIGKILL:
                rig.processes[leader].wait()
                rig.start_gateway(leader)
            else:
                rig.processes[leader].send_signal(signal.SIGCONT)
                time.sleep(AWAKE_S)
                rest = {key for _, key, t in rig.writes() if t > at + IN_FLIGHT_S}
                assert not rest & set(rig.written_by(leader)), "the one that was stopped has written"
        rig.progress()
        lost, doubtful = accounted(rig)
        figures = (
            f"{statistics.median(took):.1f}",
            f"{max(took):.1f}",
            len(rig.writes()),
            len(rig.twice()),
            lost,
            doubtful,
        )
        ROWS.append((f"{fault.name} of the leader", TRIES, *figures))
        assert rig.twice() == {}
        assert max(took) <= TAKEN_OVER_WITHIN_S, took


def test_work_spreads_over_two_workers_and_either_may_die(tmp_path: Path) -> None:
    """Both answer batches; with one of them killed, whichever it is, the plant goes on being written to."""
    with Rig(tmp_path, workers=2) as rig:
        rig.start_gateway("a")
        rig.until(lambda: len(rig.batches()) == 2 and all(rig.batches().values()), "batches on both workers", 120)
        for name in ("worker0", "worker1"):
            rig.kill(name)
            rig.progress(16)
            rig.start_worker(name)
            rig.until(lambda: len(rig.batches()) == 2, "the worker's return", 120)
        lost, doubtful = accounted(rig)
        ROWS.append(("SIGKILL of either worker", 2, "", "", len(rig.writes()), len(rig.twice()), lost, doubtful))
        assert rig.twice() == {}


def test_what_a_dead_gateways_store_held_is_answered_by_the_one_that_leads(tmp_path: Path) -> None:
    """Its requests are handed over when it returns, the expired ones are expired, and each is written at most once."""
    with Rig(tmp_path, deadline_s=300.0) as rig:
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
            return [k for _, k, t in rig.writes() if _parts(k)[2] < died - 1 and t > died]

        rig.until(lambda: len(replayed()) >= 4 * 5, "the writes it owed")
        rig.progress(16)
        expired, count = rig.figures("a")["expired"], len(replayed())
        ROWS.append((f"store of the dead, {expired} expired", 1, "", "", count, len(rig.twice()), "", ""))
        assert rig.twice() == {}
        assert expired == 1
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
