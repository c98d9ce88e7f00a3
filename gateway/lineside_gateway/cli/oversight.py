"""``advisory`` and ``audit``: hold the gateway at advisory, and look at what it has done."""

from __future__ import annotations

import getpass
import json
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lineside_gateway.cli import panels, terminal

if TYPE_CHECKING:
    from lineside_gateway.settings import Settings

NOT_INTACT = 1
ADVISORY_TO = ("on", "off", "show")
_SHOWN = ("seq", "at", "event", "equipment_id", "key", "allowed", "step", "reason", "user", "text")

_Config = Annotated[Path, typer.Option("--config", "-c", help="Settings of the gateway (YAML); its data_dir is used.")]
_DEFAULT = Path("lineside.yaml")


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel=panels.OVERSEE)(advisory)
    audit = typer.Typer(help="The audit log: every decision, every write, every answer of an operator.",
                        no_args_is_help=True)  # fmt: skip
    audit.command()(verify)
    audit.command()(show)
    audit.command()(export)
    app.add_typer(audit, name="audit", rich_help_panel=panels.OVERSEE)


def advisory(
    to: Annotated[str, typer.Argument(help="on: nothing is written to the plant. off: as the settings say. show.")],
    config: _Config = _DEFAULT,
    why: Annotated[str, typer.Option(help="Reason, for the audit log.")] = "",
) -> None:
    """Throw the plant-wide switch that holds every task at advisory. A running gateway follows within half a second.

    It outlives a restart. Switching it off never gives a task more than its mode in the settings file.

    [bold]Examples[/]

      lineside advisory on --why "shift without maintenance crew"

      lineside advisory off -c line1.yaml
    """  # fmt: skip
    from lineside_gateway.guard.switch import PlantSwitch  # noqa: PLC0415 - imports of a command stay with it
    from lineside_gateway.runtime.names import Names  # noqa: PLC0415

    if to not in ADVISORY_TO:
        raise typer.BadParameter(f"'{to}' is not one of {', '.join(ADVISORY_TO)}")
    settings = _settings(config)
    switch = PlantSwitch(settings.gateway.data_dir)
    found = (
        switch.read()
        if to == "show"
        else switch.throw(to == "on", by=Names(settings).operator(getpass.getuser()), why=why)
    )
    if settings.gateway.advisory_only:
        typer.echo("advisory: gateway.advisory_only in the settings holds every task there")
    elif found.demoted:
        typer.echo(f"advisory: thrown by {found.by} at {found.at} {found.why}".rstrip())
    else:
        typer.echo("as the settings say: no task is held back")


def verify(
    config: _Config = _DEFAULT,
    head: Annotated[str, typer.Option(help="SEQ:HASH noted earlier; the log must still hold that line.")] = "",
) -> None:
    """Check the chain of the audit log. Exit code 1 where a line was changed, inserted or removed.

    The last line of the output is the head. Note it elsewhere: who can rewrite the whole log can rewrite its hashes.

    [bold]Example[/]

      lineside audit verify -c line1.yaml --head 1234:0a1b...
    """
    from lineside_gateway.audit import Head  # noqa: PLC0415
    from lineside_gateway.audit import verify as check  # noqa: PLC0415

    verdict = check(_folder(config), Head.parse(head) if head else None)
    if not verdict.intact:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]not intact:[/] {escape(verdict.problem)}")
        raise typer.Exit(NOT_INTACT)
    emptied = f", {verdict.redacted} of them emptied by lineside forget" if verdict.redacted else ""
    typer.echo(f"intact: {verdict.lines} lines from {verdict.first} on{emptied}")
    typer.echo(f"head {verdict.head}")


def show(
    config: _Config = _DEFAULT,
    event: Annotated[str, typer.Option(help="Only this event: decision, step, operator, switch, started ...")] = "",
    key: Annotated[str, typer.Option(help="Only this recommendation.")] = "",
    since: Annotated[str, typer.Option(help="From this time on, ISO 8601.")] = "",
    most: Annotated[int, typer.Option(min=1, help="Newest lines shown.")] = 50,
) -> None:
    """Show the newest lines of the audit log.

    [bold]Example[/]

      lineside audit show --event decision --since 2026-01-05
    """
    from lineside_gateway.audit import entries  # noqa: PLC0415

    rows = list(entries(_folder(config), event=event, key=key, since=since))
    table = Table(*_SHOWN, box=None, pad_edge=False)
    for row in islice(rows, max(0, len(rows) - most), None):
        table.add_row(*(escape(str(row.get(name, ""))) for name in _SHOWN))
    terminal.show(table)


def export(
    config: _Config = _DEFAULT,
    out: Annotated[Path | None, typer.Option(help="File to write; default: standard output.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON Lines instead of CSV.")] = False,
    event: Annotated[str, typer.Option(help="Only this event.")] = "",
    since: Annotated[str, typer.Option(help="From this time on, ISO 8601.")] = "",
) -> None:
    """Write the audit log as CSV for a spreadsheet, or as JSON Lines.

    [bold]Example[/]

      lineside audit export --out audit.csv --since 2026-01-01
    """
    from lineside_gateway.audit import entries, export_csv  # noqa: PLC0415

    rows = entries(_folder(config), event=event, since=since)
    file = sys.stdout if out is None else out.open("w", encoding="utf-8", newline="")
    try:
        if as_json:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            export_csv(rows, file)
    finally:
        if out is not None:
            file.close()


def _settings(config: Path) -> Settings:
    from lineside_gateway.settings import load_settings  # noqa: PLC0415

    return load_settings(config)


def _folder(config: Path) -> Path:
    return _settings(config).gateway.data_dir / "audit"
