"""docs/story.md, executed: its commands one by one, with a gateway, a worker and an OPC UA server beside them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from asyncua import Client, Server, ua

from lineside_gateway import processes
from lineside_gateway.dispatch import EmbeddedBroker
from lineside_gateway.runtime import Gateway
from lineside_gateway.settings import read_settings
from lineside_plugins.tasks.condition.config import TAGS
from lineside_workers.errors import RolloutError
from lineside_workers.models import promotion
from lineside_workers.models.store import ModelStore
from lineside_workers.models.versions import Versions
from lineside_workers.recorded import reading

pytestmark = pytest.mark.story

PAGE = Path(__file__).parents[2] / "docs" / "story.md"
CELLS_PER_S = 20.0
MACHINES = ("A1", "B1")
DAY = 144  # cells of ten minutes
PLAYED = 400  # cells of the recorded week that the machines show before the sensor drifts
SEED = int(os.environ.get("LINESIDE_STORY_SEED", "1"))  # another one is another plant in the leading role
SETTINGS = """
version: 1
gateway: {{id: story, endpoint: "opc.tcp://127.0.0.1:0/lineside", data_dir: {data}, security: {{anonymous: true}}}}
broker: {{url: "{broker}"}}
servers: [{{name: PLC, url: "{url}", history: false}}]
equipment: [{{id: A1, browse: Objects/A1}}, {{id: B1, browse: Objects/B1}}]
recording: {{folder: {data}/live, period_s: 0, write_every_s: 0.5}}
tasks: [{{task: condition, mode: advisory, config: {{deadline_s: 600000}}}}]
"""


def commands(heading: str) -> list[list[str]]:
    """The command lines below ``heading`` on the page."""
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL)).splitlines()
    return [shlex.split(_with_seed(line))[1:] for line in lines]


def _with_seed(line: str) -> str:
    """The command with plants from ``SEED`` on; the page tells of seed 1."""
    line = line.replace("--plants 6", f"--plants 6 --seed {SEED}") if SEED != 1 else line
    return line.replace("--seed 1 ", f"--seed {SEED} ").replace("plant-1", f"plant-{SEED}")


async def run(arguments: list[str], folder: Path, code: int = 0) -> str:
    """One command of the page as a user types it, in ``folder``; what it printed."""
    print("lineside", *arguments, flush=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from lineside_gateway.cli import main; main()", *arguments,
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    text = out.decode()
    print(*("   " + line for line in text.splitlines()[-4:]), sep="\n", flush=True)
    assert process.returncode == code, text
    return text


@dataclass(slots=True)
class Plc:
    """Shows the cells of two machines, quickly: the end of the week again and again, once ``goes_on`` the days after.

    The last day of those is repeated in the end.
    """

    server: Server
    url: str
    nodes: dict[tuple[str, str], object]
    week: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    goes_on: bool = False
    shown: int = 0
    at: datetime = field(default_factory=lambda: datetime(2026, 2, 1, tzinfo=UTC))

    async def run(self) -> None:
        while True:
            self.at += timedelta(minutes=10)
            for machine in MACHINES:
                row = self.row(machine)
                for c, tag in enumerate(TAGS):
                    value = ua.DataValue(ua.Variant(float(row[c])), SourceTimestamp=self.at)
                    await self.nodes[machine, tag].write_value(value)
            self.shown += 1
            if not self.goes_on and self.shown == PLAYED:
                self.shown = PLAYED - DAY
            await asyncio.sleep(1 / CELLS_PER_S)

    def row(self, machine: str) -> np.ndarray:
        """What ``machine`` shows now: one cell of each tag."""
        past = self.shown - PLAYED
        if past < 0:
            return self.week[machine][self.shown]
        days = self.after[machine]
        return days[past if past < len(days) else len(days) - DAY + (past - len(days)) % DAY]


@asynccontextmanager
async def plc(week: Path, after: Path, port: int) -> AsyncIterator[Plc]:
    shown = [
        {m: reading.grid(found, m, list(TAGS), 600.0)[1] for m in MACHINES}
        for found in map(reading.read, (week, after))
    ]
    shown[0] = {m: cells[-PLAYED:] for m, cells in shown[0].items()}
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    nodes = {}
    for machine in MACHINES:
        folder = await server.nodes.objects.add_object(ua.NodeId(machine, 2), f"2:{machine}")
        for tag in TAGS:
            nodes[machine, tag] = await folder.add_variable(ua.NodeId(f"{machine}.{tag}", 2), f"2:{tag}", 0.0)
    async with server:
        made = Plc(server, f"opc.tcp://127.0.0.1:{port}", nodes, *shown)
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def until(check: Callable[[], object], what: str, within_s: float = 300.0) -> None:
    """Wait for ``check``; a failure says what did not happen."""
    end = asyncio.get_running_loop().time() + within_s
    while True:
        found = check()
        if await found if asyncio.iscoroutine(found) else found:
            print("seen:", what, flush=True)
            return
        assert asyncio.get_running_loop().time() < end, f"{what} did not happen within {within_s} s"
        await asyncio.sleep(0.2)


class Line:
    """The running gateway as a client sees it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def flat(self, name: str) -> ua.DataValue:
        async with Client(self.gateway.hosted.endpoint) as client:
            index = await client.get_namespace_index("urn:lineside:ua")
            return await client.get_node(f"ns={index};s={name}").read_data_value(raise_on_bad_status=False)

    async def says(self, machine: str, version: str) -> bool:
        shown = await self.flat(f"{machine}.condition.model_version")
        return shown.StatusCode.is_good() and shown.Value.Value == version

    async def abstains(self, machine: str) -> bool:
        p = await self.flat(f"{machine}.condition.failure_probability")
        why = (await self.flat(f"{machine}.condition.status_text")).Value.Value or ""
        return not p.StatusCode.is_good() and not p.StatusCode.is_bad() and "A1.VibRms shows" in why

    async def alarm(self) -> bool:
        cause = (await self.flat("gateway.drift_cause")).Value.Value or ""
        print("   ", cause, flush=True) if cause else None
        return (await self.flat("gateway.drift_alarm")).Value.Value is True and "A1.VibRms shows" in cause


@asynccontextmanager
async def running(folder: Path, port: int) -> AsyncIterator[tuple[Plc, Line]]:
    env = {"LINESIDE_MODELS": str(folder / "var" / "models")}
    async with plc(folder / "var" / "recorded" / f"plant-{SEED}", folder / "after", port) as machine:
        with EmbeddedBroker() as broker, processes.group() as children:
            child = processes.start(
                "worker", "lineside_workers", ["serve", "--tasks", "condition", "--device", "cpu", "--die-with-parent"],
                log_dir=folder, env={**env, "LINESIDE_BROKER_URL": broker.url},
            )  # fmt: skip
            children.append(child)
            await asyncio.to_thread(processes.wait_ready, child, 120.0)
            gateway = Gateway(read_settings(SETTINGS.format(data=folder, broker=broker.url, url=machine.url)))
            task = asyncio.create_task(gateway.run())
            try:
                yield machine, Line(gateway)
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


@pytest.mark.timeout(1800)
async def test_the_page_holds_word_for_word(tmp_path: Path, unused_tcp_port: int) -> None:
    """Record, label, report, train, shadow, canary, full, drift, abstention, retraining, promotion, rollback."""
    for command in commands("A week becomes a model"):
        await run(command, tmp_path)
    assert (tmp_path / "var" / "week-1.html").stat().st_size > 20_000
    await run([*commands("A sensor drifts")[0][:-3], "--out", "after"], tmp_path)  # what the machines will show
    shadow, canary, full = commands("Shadow, canary, full")
    await run(shadow, tmp_path)
    live = tmp_path / "live"
    async with running(tmp_path, unused_tcp_port) as (machine, line):
        await until(lambda: stages(live) >= {("A1", "shadow"), ("B1", "shadow")}, "both machines recorded in shadow")
        assert not await line.says("A1", "week-1")
        await until(lambda: judged(tmp_path, "week-1"), "week-1 was asked often enough")
        await run(canary, tmp_path)
        await until(lambda: line.says("A1", "week-1"), "the canary answers for A1")
        assert not await line.says("B1", "week-1")
        await until(lambda: judged(tmp_path, "week-1"), "the canary was asked often enough")
        await run(full, tmp_path)
        await until(lambda: line.says("B1", "week-1"), "week-1 answers for B1 too")
        machine.goes_on = True
        await until(lambda: line.abstains("A1"), "week-1 abstains on A1")
        await until(line.alarm, "the drift alarm")
        for command in commands("A sensor drifts"):
            await run(command, tmp_path)
        *promotions, rollback, listing = commands("And back")
        for command in promotions:
            if "shadow" not in command:
                await until(lambda: judged(tmp_path, "week-2"), "week-2 was asked often enough")
            await run(command, tmp_path)
        await until(lambda: line.says("A1", "week-2"), "week-2 answers for A1 with its new sensor")
        await run(rollback, tmp_path)
        await until(lambda: line.says("B1", "week-1"), "week-1 answers again")
        assert "week-1   full" in await run(listing, tmp_path)


def judged(folder: Path, version: str) -> bool:
    """Whether the next promotion of ``version`` would not be refused."""
    versions = Versions(ModelStore(folder / "var" / "models"), "condition")
    with contextlib.suppress(RolloutError):
        promotion.check_seen(versions, version)
        return True
    return False


def stages(live: Path) -> set[tuple[str, str]]:
    """Which machines were recorded in which stage."""
    with contextlib.suppress(reading.RecordingError):
        found = reading.read(live)
        return {(str(r["equipment_id"]), str(r["stage"])) for r in found.recommendations}
    return set()
