"""The live table: what comes in, what is recommended and why, what the plant did with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lineside_gateway.runtime import Status
from lineside_plugins.types import Record, Scalar

TOLD = ("failure", "repair", "maintenance", "inspection", "job_order_started")
EVENTS_SHOWN = 6


def render(status: Status, events: Sequence[Record], seconds: float, speed: float) -> RenderableType:
    """The whole screen."""
    return Group(_head(status, seconds, speed), _tasks(status), _plant(events), _foot(status))


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


def _plant(events: Sequence[Record]) -> RenderableType:
    told = [e for e in events if e.get("kind") in TOLD and (e.get("kind") != "inspection" or e.get("defect"))]
    lines = [_line(e) for e in told[-EVENTS_SHOWN:]] or [Text("nothing yet", style="dim")]
    return Panel(Group(*lines), title="what the plant did", title_align="left", height=EVENTS_SHOWN + 2)


def _line(event: Record) -> Text:
    time = str(event.get("time"))[5:19].replace("T", " ")
    words: Mapping[str, str] = {
        "failure": "broke down",
        "repair": f"repaired in {_hours(event)} h, found {event.get('mode') or 'nothing'}",
        "maintenance": f"maintained in {_hours(event)} h",
        "inspection": f"part {event.get('serial_no')} checked and scrapped: {_defect(event)}",
        "job_order_started": f"started {event.get('text')}",
    }
    kind = str(event.get("kind"))
    style = {"failure": "bold red", "maintenance": "green", "inspection": "yellow"}.get(kind, "default")
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
    text.append(f"worker {', '.join(status.workers) or 'starting'}   ")
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
