"""``lineside parked``: requests that ended their worker three times."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from lineside_gateway.cli import panels, terminal
from lineside_gateway.errors import LinesideError

FAILED = 1
Broker = Annotated[str, typer.Option(envvar="LINESIDE_BROKER_URL", help="URL: redis, rediss, unix or sentinel.")]
DEFAULT = "redis://127.0.0.1:6379/0"


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = typer.Typer(help="Requests that ended their worker three times: list, retry, drop.", no_args_is_help=True)
    group.command("list")(show)
    group.command()(retry)
    group.command()(drop)
    app.add_typer(group, name="parked", rich_help_panel=panels.RUN)


def show(broker: Broker = DEFAULT) -> None:
    """List what is parked: id, since when, task, equipment, cause. The broker keeps it for a day.

    Example: lineside parked list --broker redis://broker:6379/0
    """
    from lineside_gateway.dispatch.parked import parked  # noqa: PLC0415 - each command imports what it needs

    found = asyncio.run(parked(broker))
    table = Table("id", "since", "task", "equipment", "cause", box=None, pad_edge=False)
    for p in found:
        named = ", ".join(p.equipment_ids[:3]) + (
            f" and {len(p.equipment_ids) - 3} more" if p.equipment_ids[3:] else ""
        )
        table.add_row(p.id, f"{p.at:%Y-%m-%d %H:%M:%S} UTC", p.task, escape(named), escape(p.cause))
    if found:
        terminal.show(table)
    else:
        typer.echo("nothing is parked")


def retry(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="As 'lineside parked list' shows it.")],
    broker: Broker = DEFAULT,
    within_s: Annotated[float, typer.Option("--within", min=1, help="Seconds to wait for the answer.")] = 60.0,
) -> None:
    """Let a worker try once more and say what came of it; nothing is written to the plant. Exit code 1: no answer.

    Example: lineside parked retry 0f3a...
    """
    from lineside_gateway.dispatch.parked import parked  # noqa: PLC0415
    from lineside_gateway.dispatch.parked import retry as again  # noqa: PLC0415

    found = {p.id: p for p in asyncio.run(parked(broker))}
    if request_id not in found:
        raise _absent(request_id)
    key = os.environ.get("LINESIDE_HMAC_KEY", "").encode()
    result = asyncio.run(again(broker, found[request_id], within_s, key))
    said = sum(r is not None for r in result.recommendations)
    typer.echo(f"{result.status.value}: {result.error or f'{said} of {len(result.recommendations)} windows advised'}")
    if result.status.value != "answered":
        raise typer.Exit(FAILED)


def drop(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="As 'lineside parked list' shows it.")],
    broker: Broker = DEFAULT,
) -> None:
    """Forget a parked request.

    Example: lineside parked drop 0f3a...
    """
    from lineside_gateway.dispatch.parked import drop as forget  # noqa: PLC0415

    if not asyncio.run(forget(broker, request_id)):
        raise _absent(request_id)
    typer.echo(f"dropped {request_id}")


def _absent(request_id: str) -> LinesideError:
    return LinesideError(f"no request '{request_id}' is parked; 'lineside parked list' shows what is")
