"""``fleet``: who leads which shard of a line, and who stands by."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from lineside_gateway.cli import panels, terminal
from lineside_gateway.errors import LinesideError

if TYPE_CHECKING:
    from lineside_gateway.fleet.overview import FleetNow

NOT_LED = 1


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel=panels.RUN)(fleet)


def fleet(
    config: Annotated[Path, typer.Option("--config", "-c", help="Settings of any gateway of the fleet (YAML).")] = Path(
        "lineside.yaml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="As one line of JSON.")] = False,
) -> None:
    """Show who leads each shard, how old his lease is, and who stands by. Exit code 1: a shard is led by nobody.

    [bold]Examples[/]

      lineside fleet -c line1.yaml

      lineside fleet --json | jq '.shards[] | {shard, leader}'
    """  # fmt: skip
    from lineside_gateway.fleet.overview import overview  # noqa: PLC0415 - each command imports what it needs
    from lineside_gateway.runtime.broker_access import broker_url, hmac_key  # noqa: PLC0415
    from lineside_gateway.settings import load_settings  # noqa: PLC0415

    settings = load_settings(config)
    if settings.fleet is None:
        raise LinesideError(
            f"{config} has no 'fleet:', so its gateway '{settings.gateway.id}' leads everything alone; "
            "docs/fleet.md says how several share a line"
        )
    found = asyncio.run(overview(broker_url(settings), settings.gateway.id, settings.fleet, hmac_key()))
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    else:
        _show(found)
    if not found.whole:
        raise typer.Exit(NOT_LED)


def _show(found: FleetNow) -> None:
    shards = Table("shard", "leader", "led for", "lease age", "standing by", box=None, pad_edge=False)
    for s in found.shards:
        missed = "" if s.prefer in {None, s.leader} else f" [dim](prefers {escape(str(s.prefer))})[/]"
        leader = f"{escape(s.leader)}{missed}" if s.leader else "[bold red]nobody[/]"
        standbys = escape(", ".join(s.standbys)) or "[yellow]nobody[/]"
        shards.add_row(escape(s.shard), leader, _span(s.led_for_s), _age(s.lease_age_s, found.lease_s), standbys)
    terminal.show(shards)
    members = Table("member", "endpoint", "heard of", box=None, pad_edge=False)
    for m in found.members:
        members.add_row(escape(m.member), escape(m.endpoint), f"{_span(m.age_s)} ago")
    typer.echo()
    if found.members:
        terminal.show(members)
    else:
        typer.echo(f"no gateway of '{found.line}' has been heard of")


def _age(age_s: float | None, lease_s: float) -> str:
    return "" if age_s is None else f"{age_s:.1f} of {lease_s:g} s"


def _span(seconds: float | None) -> str:
    """In the unit a person would choose."""
    if seconds is None:
        return ""
    for unit_s, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
