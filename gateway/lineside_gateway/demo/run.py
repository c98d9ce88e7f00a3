"""Starts plant, broker, worker and gateway on loopback, shows what happens, ends everything it started."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from lineside_gateway import processes
from lineside_gateway.demo import REFPLANT_SETTINGS
from lineside_gateway.demo.observer import Observer
from lineside_gateway.demo.report import build_report, went_all_the_way
from lineside_gateway.demo.table import LINES_SHOWN, effect_line, event_line, render
from lineside_gateway.dispatch import EmbeddedBroker
from lineside_gateway.runtime import Gateway
from lineside_gateway.runtime.running import run_as_main
from lineside_gateway.settings import Settings, load_settings
from lineside_plugins.contract import Scope

START_H = 57.0  # plant hours before the demo begins: with the default seed one grinder is then near its end
SPEC_SEED = 7
WORKERS = ("maintenance,reject,compensation", "schedule")  # a verdict on a part never waits for a schedule to be solved
READY_WITHIN_S = 60.0
REFRESH_S = 0.25
DID_NOT_HAPPEN = 1


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line says."""

    seconds: float | None
    enough: bool
    report: Path | None
    speed: float
    seed: int
    port: int
    picture: Path | None


def run_demo(options: DemoOptions) -> int:
    """Run the demo; returns the exit code: 0, or 1 when a report was asked for and something did not happen."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="lineside-demo-") as folder, processes.group() as children:
        data, started = Path(folder), time.monotonic()
        console.print("starting plant, broker and worker on loopback ...", style="dim")
        plant_args = ["serve", "--port", "0", "--speed", str(options.speed), "--seed", str(options.seed),
                      "--spec-seed", str(SPEC_SEED), "--start-h", str(START_H), "--policy", "external",
                      "--die-with-parent"]  # fmt: skip
        plant = processes.start("plant", "lineside_plant", plant_args, log_dir=data)
        children.append(plant)
        with EmbeddedBroker() as broker:
            workers = [_start_worker(tasks, broker.url, data) for tasks in WORKERS]
            children.extend(workers)
            endpoints = processes.wait_ready(plant, READY_WITHIN_S)["endpoints"]
            for worker in workers:  # else the first windows would expire while models load
                processes.wait_ready(worker, READY_WITHIN_S)
            settings = load_settings(REFPLANT_SETTINGS, environment_of(endpoints, broker.url, options.port, data))
            demo = Demo(settings, endpoints, options, console, started)
            report = asyncio.run(demo.run())
            for child in children:
                if not child.running:
                    console.print(f"[red]{child.name} ended:[/] {escape(child.last_line())}")
            for worker in workers:  # before their broker
                worker.stop()
    console.print("all processes ended", style="dim")
    if options.report is None:
        return 0
    options.report.write_text(json.dumps(report, indent=2))
    console.print(f"report: {options.report}")
    for sentence in report["missing"] if isinstance(report["missing"], list) else ():
        console.print(f"[red]did not happen:[/] {escape(sentence)}")
    return 0 if report["ok"] else DID_NOT_HAPPEN


def _start_worker(tasks: str, broker_url: str, data: Path) -> processes.Child:
    name = f"worker-{tasks.partition(',')[0]}"
    args = ["serve", "--tasks", tasks, "--device", "auto", "--die-with-parent"]
    environment = {"LINESIDE_BROKER_URL": broker_url, "OMP_NUM_THREADS": "1"}
    return processes.start(name, "lineside_workers", args, log_dir=data, env=environment)


def environment_of(endpoints: Mapping[str, str], broker: str, port: int, data: Path) -> dict[str, str]:
    """The variables that refplant.yaml asks for."""
    out = {f"PLANT_{name}": url.rsplit(":", 1)[1].split("/")[0] for name, url in endpoints.items()}
    return out | {"LINESIDE_BROKER_URL": broker, "LINESIDE_PORT": str(port), "LINESIDE_DATA": str(data)}


class Demo:
    """The gateway with its table and its observer."""

    def __init__(
        self, settings: Settings, endpoints: Mapping[str, str], options: DemoOptions, console: Console, started: float
    ) -> None:
        self.gateway = Gateway(settings)
        self._endpoints = endpoints
        self._options = options
        self._console = console
        self._started = started
        self._happened: deque[Text] = deque(maxlen=LINES_SHOWN)

    async def run(self) -> dict[str, object]:
        """Run until the time is up or Ctrl-C; returns the report."""
        stop, listening = asyncio.Event(), asyncio.Event()
        self.gateway.feed.on_record = lambda event: self._tell(event_line(event))
        self.gateway.on_effect = lambda report: self._tell(effect_line(report, self.gateway.now))
        running = asyncio.create_task(run_as_main(self.gateway, stop, listening.set))
        await asyncio.wait({running, asyncio.create_task(listening.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        observer = Observer(self.gateway.hosted.endpoint, self._flags(), self._endpoints)
        watching = asyncio.create_task(observer.run(self._started))
        await self._show(running, stop, observer)
        status, seconds = self.gateway.status, self._seconds()
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        await observer.count()
        stop.set()
        await running
        return build_report(status, observer.sight, seconds, self._options.speed)

    def _flags(self) -> dict[str, list[str]]:
        """Flat flag nodes per task; a machine that lacks what a task requires has none, and reads as Bad."""
        ids = [e.id for e in self.gateway.settings.equipment if e.id]
        return {
            name: [
                f"{who}.{name}.{task.outputs.flag}"
                for who in ([self.gateway.settings.gateway.id] if task.inputs.scope is Scope.LINE else ids)
            ]
            for name, task in self.gateway.found.tasks.items()
        }

    def _tell(self, line: Text | None) -> None:
        if line is not None:
            self._happened.append(line)

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    async def _show(self, running: asyncio.Task[None], stop: asyncio.Event, observer: Observer) -> None:
        until = None if self._options.seconds is None else time.monotonic() + self._options.seconds
        screen = render(self.gateway.status, self._happened, self._seconds(), self._options.speed)
        with Live(screen, console=self._console, auto_refresh=False, screen=False) as live:
            while not stop.is_set() and not running.done() and (until is None or time.monotonic() < until):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(REFRESH_S):
                        await stop.wait()
                screen = render(self.gateway.status, self._happened, self._seconds(), self._options.speed)
                live.update(screen, refresh=True)
                if self._options.enough and went_all_the_way(self.gateway.status, observer.sight):
                    break
        if self._options.picture is not None:
            paper = Console(record=True, width=150, file=io.StringIO())
            paper.print(screen)
            paper.save_svg(str(self._options.picture), title="lineside demo")
