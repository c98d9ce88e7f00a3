"""The live table: what comes in, what is recommended and why, what the plant did with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lineside_gateway.guard.steps import Step, StepReport
from lineside_gateway.runtime import Status
from lineside_plugins.types import Record, Scalar

LINES_SHOWN = 8


def render(status: Status, happened: Sequence[Text], seconds: float, speed: float) -> RenderableType:
    """The whole screen."""
    return Group(_head(status, seconds, speed), _tasks(status), _plant(happened), _foot(status))


def _head(status: Status, seconds: float, speed: float) -> RenderableType:
    text = Text()
    text.append(" Lineside demo ", style="bold white on blue")
    text.append(f"  {seconds:5.0f} s, plant at {speed:g}x   ")
    text.append("open in an HMI: ", style="dim")
    text.append(status.endpoint, style="bold cyan")
    return text


def _tasks(status: Status) -> RenderableType:
    table = Table(expand=True)
    table.add_column("task")
    for heading in ("published", "written", "read back", "acted on", "late", "p50", "p99 ms"):
        table.add_column(heading, justify="right")
    for t in status.tasks:
        p50, p99 = t.latency_ms.get("p50"), t.latency_ms.get("p99")
        acted = Text(str(t.acted_on), style="bold green" if t.acted_on else "dim")
        name = Text.assemble((t.name, "bold"), "" if t.mode == "closed_loop" else f" ({t.mode})")
        numbers = (str(t.published), str(t.written), str(t.read_back), acted, str(t.late))
        table.add_row(name, *numbers, "-" if p50 is None else f"{p50:.0f}", "-" if p99 is None else f"{p99:.0f}")
    why = [Text.assemble((f"{t.name}: ", "bold"), t.problem or t.last or "nothing to say yet") for t in status.tasks]
    for line in why:
        line.truncate(400)
    return Group(table, Panel(Group(*why), title="why, in words", title_align="left"))


def _plant(happened: Sequence[Text]) -> RenderableType:
    lines = list(happened)[-LINES_SHOWN:] or [Text("nothing yet", style="dim")]
    return Panel(Group(*lines), title="what the plant did", title_align="left", height=LINES_SHOWN + 2)


def effect_line(report: StepReport, now: datetime) -> Text | None:
    """A line for a request that the plant has carried out; None for every other step."""
    words = {
        "maintenance": "goes into maintenance, as asked",
        "reject": "diverts a part to the bench, as asked",
        "schedule": "takes the new sequence of job orders",
    }
    if report.step is not Step.ACTED_ON or report.task not in words:  # tool offsets move every few minutes
        return None
    who = "MES" if report.task == "schedule" else report.equipment_id
    return Text(f"{now:%m-%d %H:%M:%S}  {who}  {words[report.task]}", style="bold green")


def event_line(event: Record) -> Text | None:
    """A plant event in words; None for those that would only fill the screen."""
    kind = str(event.get("kind"))
    if kind == "inspection" and not event.get("defect") and event.get("text") != "flagged":
        return None
    verdict = f"scrapped, {_defect(event)}" if event.get("defect") else "good, ships"
    words = {
        "failure": "broke down",
        "repair": f"repaired in {_hours(event)} h, found {event.get('mode') or 'nothing'}",
        "maintenance": f"maintained in {_hours(event)} h",
        "inspection": f"part {event.get('serial_no')} on the bench: {verdict}",
        "job_order_started": f"started {event.get('text')}",
    }
    if kind not in words:
        return None
    style = {"failure": "bold red", "maintenance": "green", "inspection": "yellow"}.get(kind, "default")
    time = str(event.get("time"))[5:19].replace("T", " ")
    return Text(f"{time}  {event.get('equipment_id')}  {words[kind]}", style=style)


def _hours(event: Record) -> str:
    value: Scalar = event.get("value")
    return f"{value:.1f}" if isinstance(value, int | float) else "?"


def _defect(event: Record) -> str:
    value = event.get("value")
    off = f"{value:+.0f} um" if isinstance(value, int | float) else "?"
    return "porous" if event.get("porous") else f"dimension {off}"


def _foot(status: Status) -> RenderableType:
    ledger = status.ledger
    connected = sum(s.state == "connected" for s in status.servers)
    text = Text()
    text.append(f" {status.tags_per_s:,.0f} tags/s", style="bold")
    text.append(f"   {status.batches:,} batches   {connected}/{len(status.servers)} servers   ")
    workers = f"{len(status.workers)} workers" if status.workers else "workers starting"
    text.append(f"{workers}   ")
    balanced = bool(ledger.get("balanced"))
    text.append(
        f"ledger {ledger.get('received'):,} received = {ledger.get('used'):,} used + {ledger.get('dropped'):,} dropped "
        f"+ {ledger.get('pending'):,} pending",
        style="green" if balanced else "bold red",
    )
    waits = [f"{s.name}: {s.error}" for s in status.servers if s.error]
    if waits:
        text.append("\n " + "; ".join(waits), style="yellow")
    return text
