"""`lineside demo` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEMO = [sys.executable, "-c", "from lineside_gateway.cli import main; main()", "demo", "--port", "0"]


def children_of(pid: int) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.add(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.timeout(300)
def test_the_demo_goes_all_the_way_and_reports_it(tmp_path: Path) -> None:
    """Each kind of recommendation is published, written, read back over OPC UA and acted on by the plant."""
    report = tmp_path / "report.json"
    command = [*DEMO, "--for", "180", "--enough", "--report", str(report)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=290)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-2000:]
    found = json.loads(report.read_text())
    for task in ("maintenance", "reject", "schedule", "compensation"):
        assert all(found["recommendations"][task][k] > 0 for k in ("published", "written", "read_back", "acted_on"))
        assert found["latency_ms"][task]["p99"] >= found["latency_ms"][task]["p50"]
    assert found["ledger"]["balanced"] is True
    assert found["tags_per_s"] > 100
    assert found["endpoint"].startswith("opc.tcp://127.0.0.1:")


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_ctrl_c_ends_every_process() -> None:
    """After SIGINT, whenever it comes, the demo and all that it started are gone."""
    with subprocess.Popen(DEMO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ) as process:
        deadline = time.monotonic() + 60
        while len(children_of(process.pid)) < 3:
            assert time.monotonic() < deadline, "plant, worker and broker did not start"
            time.sleep(0.1)
        started = children_of(process.pid)
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    until = time.monotonic() + 10
    while any(map(alive, started)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [pid for pid in started if alive(pid)]
