"""The plant as a process: how it starts, paces itself, and ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from asyncua import ua

from lineside_plant.servers.pace import Pace


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``serve`` to its end."""
    command = [sys.executable, "-m", "lineside_plant", "serve", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


async def test_real_time_runs_at_the_factor_and_refuses_advance(serve_plant):
    """At --speed 60 plant time gains about 60 s a second, every second is shown, and Advance is refused."""
    plant = serve_plant("--speed", "60", "--start-h", "2")
    seen: list[ua.DataValue] = []

    class Handler:
        def datachange_notification(self, _node, _value, data) -> None:
            seen.append(data.monitored_item.Value)

    async with plant.connect("MES") as mes, plant.connect("B1") as plc:
        subscription = await plc.client.create_subscription(50, Handler())
        await subscription.subscribe_data_change(plc.tag("PlantTime"), queuesize=1000)
        await asyncio.sleep(3)
        with pytest.raises(ua.UaStatusCodeError) as refusal:
            await mes.node("Simulation").call_method(f"{mes.index}:Advance", 1e6)
        assert refusal.value.code == ua.StatusCodes.BadInvalidState
        assert json.loads(await mes.node("Simulation").call_method(f"{mes.index}:Kpis"))["oee"] is None
    seconds = [value.Value.Value for value in seen if value.StatusCode.is_good()]
    assert seconds == [seconds[0] + i for i in range(len(seconds))]
    assert seconds[0] >= 7200
    wall_s = (seen[-1].ServerTimestamp - seen[0].ServerTimestamp).total_seconds()
    assert (seconds[-1] - seconds[0]) / wall_s == pytest.approx(60, rel=0.35)


def test_a_signal_ends_it_within_two_seconds(serve_plant):
    """SIGTERM closes all servers and exits 0."""
    plant = serve_plant("--speed", "60")
    begun = time.monotonic()
    assert plant.stop(signal.SIGTERM) == 0
    assert time.monotonic() - begun < 2


@pytest.mark.skipif(sys.platform != "linux", reason="looks the process up in /proc")
def test_it_ends_with_the_process_that_started_it(tmp_path):
    """With --die-with-parent, the plant is gone soon after its parent was killed."""
    note = tmp_path / "pid"
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'lineside_plant', 'serve', '--port', '0',"
        " '--lockstep', '--die-with-parent'], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        f"open({str(note)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as parent:
        for _ in range(300):
            if note.exists() and note.read_text():
                break
            time.sleep(0.1)
        child = int(note.read_text())
        parent.kill()
    for _ in range(40):
        if not _alive(child):
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail(f"process {child} outlived its parent")


def _alive(pid: int) -> bool:
    """Whether ``pid`` runs; one that has ended and waits to be collected does not."""
    status = Path(f"/proc/{pid}/status")
    try:
        return "\nState:\tZ" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_busy_port_is_one_sentence_and_exit_code_two():
    """A port in use is named, with what to do about it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = serve("--port", str(port))
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: port {port} on 127.0.0.1 cannot be opened")
    assert ended.stderr.count("\n") == 1
    assert not ended.stdout


def test_a_wrong_fault_is_one_sentence_and_exit_code_two():
    """An unknown --inject names the kinds there are."""
    ended = serve("--port", "0", "--inject", "gremlin:A1")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: fault kind 'gremlin' in 'gremlin:A1' is unknown; kinds: bad, ")


def test_a_run_of_given_length_ends_by_itself():
    """--hours ends the process with exit code 0 and the KPIs in its log."""
    ended = serve("--port", "0", "--speed", "3600", "--hours", "1", "--warmup-h", "0")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["ready"] is True
    kpis = json.loads(ended.stderr.split("kpis=")[1])
    assert 0 < kpis["oee"] < 1


def test_a_plant_that_falls_behind_gives_up_the_delay():
    """After a stall the pace goes on from where the plant stands instead of racing after the wall clock."""
    pace = Pace(speed=60.0, plant_s=0.0, wall_s=100.0)
    assert pace.target(100.1, 0.0) == pytest.approx(6.0)
    assert pace.target(130.0, 6.0) == pytest.approx(36.0)
    assert pace.given_up_s == pytest.approx(29.4)
    assert pace.target(130.1, 36.0) == pytest.approx(42.0)
