"""``status``: how a running gateway stands, and its ledger by equipment and by tag."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lineside_gateway.cli import panels, terminal

if TYPE_CHECKING:
    from lineside_gateway.publish.inquiry import WayIn

FAILED, CANNOT_GO_ON = 1, 2
DEFAULT_ENDPOINT = "opc.tcp://127.0.0.1:4850/lineside"
_EQUIPMENT = (
    "Received", "Used", "Dropped", "Pending", "Gaps", "GapSeconds", "OpenGaps", "LastGapStart", "LastGapEnd",
    "LastGapCause",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel=panels.RUN)(status)


def status(
    endpoint: Annotated[
        str, typer.Argument(help="Endpoint of a running gateway that lets everyone read. Default: that of --config.")
    ] = "",
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Settings of a gateway on this machine; asked as its own user.")
    ] = Path("lineside.yaml"),
    health: Annotated[bool, typer.Option("--health", help="Print nothing; exit code 1 when it is not alive.")] = False,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="What became of the samples of each piece of equipment, and its gaps.")
    ] = False,
    tags: Annotated[
        str,
        typer.Option("--tags", metavar="EQUIPMENT", help="The same for each numeric tag of one piece of equipment."),
    ] = "",
) -> None:
    """Ask a running gateway how it stands, over OPC UA: heartbeat, tags per second, workers, ledger.

    [bold]Examples[/]

      lineside status -c line1.yaml

      lineside status opc.tcp://127.0.0.1:4850/lineside --ledger

      lineside status --tags A1
    """  # fmt: skip
    from lineside_gateway.publish.inquiry import GatewayNotSeenError, WayIn  # noqa: PLC0415
    from lineside_gateway.settings import load_settings  # noqa: PLC0415

    try:
        here = config.is_file() and not endpoint
        way = WayIn.of(load_settings(config)) if here else WayIn(endpoint or DEFAULT_ENDPOINT)
        table = asyncio.run(_asked(way, ledger=ledger and not health, tags="" if health else tags))
    except GatewayNotSeenError as e:
        if not health:
            Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(str(e))}", highlight=False)
        raise typer.Exit(FAILED if health else CANNOT_GO_ON) from e
    if not health:
        terminal.show(table)


async def _asked(way: WayIn, *, ledger: bool, tags: str) -> Table:
    """The answer as a table."""
    from lineside_gateway.publish.inquiry import equipment_ledger, inquire, tag_ledger  # noqa: PLC0415

    if tags:
        return _tag_table(await tag_ledger(way, tags))
    if ledger:
        return _equipment_table(await equipment_ledger(way))
    table = Table("", "", box=None, show_header=False)
    for name, value in (await inquire(way)).items():
        table.add_row(name, _cell(value))
    return table


def _equipment_table(found: dict[str, dict[str, object]]) -> Table:
    table = Table("equipment", box=None, pad_edge=False)
    for name in _EQUIPMENT:
        words = "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()
        table.add_column(words, justify="left" if name.startswith("Last") else "right")
    for equipment_id, values in found.items():
        table.add_row(escape(equipment_id), *(_cell(values.get(name)) for name in _EQUIPMENT))
    return table


def _tag_table(rows: list[dict[str, object]]) -> Table:
    table = Table("tag", box=None, pad_edge=False)
    for name in ("received", "used", "pending"):
        table.add_column(name, justify="right")
    table.add_column("dropped")
    table.add_column("gaps", justify="right")
    table.add_column("newest gaps")
    for row in rows:
        dropped = row["dropped"]
        reasons = [f"{count} {reason}" for reason, count in dropped.items()] if isinstance(dropped, dict) else []
        newest = row["newest_gaps"]
        gaps = [
            f"{_cell(g['start']) or 'the start'} to {_cell(g['end']) or 'now'}: {escape(str(g['cause']))}"
            for g in (newest[:3] if isinstance(newest, list) else ())
        ]
        counts = (_cell(row[name]) for name in ("received", "used", "pending"))
        table.add_row(escape(str(row["tag"])), *counts, ", ".join(reasons), _cell(row["gaps"]), "\n".join(gaps))
    return table


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return "" if value is None else escape(str(value))
