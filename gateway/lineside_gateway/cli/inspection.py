"""``check``, ``browse``, ``tasks``, ``nodeset`` and ``version``: look without changing anything."""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from lineside_gateway.cli import panels, terminal
from lineside_gateway.cli.target import server_of

FAILED = 1
CANNOT_GO_ON = 2
_STYLE = {"error": "bold red", "warning": "yellow", "ok": "green"}


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel=panels.CONNECT)(check)
    app.command(rich_help_panel=panels.CONNECT)(browse)
    app.command(rich_help_panel=panels.CONNECT)(tasks)
    app.command(rich_help_panel=panels.CONNECT)(nodeset)
    app.command(rich_help_panel=panels.CONNECT)(version)


def check(
    file: Annotated[Path | None, typer.Argument(help="Settings of a gateway (YAML).")] = None,
    connect: Annotated[
        bool,
        typer.Option(
            "--connect",
            help="Also ask the servers: reachable, trusted, each tag found, data type and unit as the task wants.",
        ),
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the settings and stop.")] = False,
) -> None:
    """Validate settings offline, and with --connect against the servers. Exit code 2 when something will not work.

    [bold]Examples[/]

      lineside check lineside.yaml

      lineside check lineside.yaml --connect
    """  # fmt: skip
    from lineside_gateway.opcua.check import check_file  # noqa: PLC0415 - asyncua takes a second to import
    from lineside_gateway.opcua.check_connect import check_connect  # noqa: PLC0415
    from lineside_gateway.opcua.finding import by_severity  # noqa: PLC0415
    from lineside_gateway.opcua.security import Pki  # noqa: PLC0415
    from lineside_gateway.settings import settings_schema  # noqa: PLC0415

    if schema:
        typer.echo(json.dumps(settings_schema(), indent=2))
        return
    if file is None:
        raise typer.BadParameter("give a settings file, or --schema")
    settings, findings = check_file(file)
    if settings is not None and connect:
        pki = Pki.of(settings)
        findings = by_severity(findings + asyncio.run(check_connect(settings, pki)))
    table = Table("", "where", "what", "next step", box=None, pad_edge=False)
    for f in findings:
        style = _STYLE[f.severity.value]
        table.add_row(f"[{style}]{f.severity.value}[/]", escape(f.where), escape(f.what), escape(f.next_step))
    terminal.show(table)
    errors = sum(f.severity.value == "error" for f in findings)
    typer.echo(f"{errors} errors, {sum(f.severity.value == 'warning' for f in findings)} warnings")
    if errors:
        raise typer.Exit(CANNOT_GO_ON)


def browse(
    url: Annotated[str, typer.Argument(help="Endpoint, opc.tcp://host:port/path.")],
    start: Annotated[str, typer.Option(help="Where to begin: a browse path with globs, or a NodeId.")] = "Objects",
    depth: Annotated[int, typer.Option(min=1, max=20, help="Levels below the start.")] = 4,
    most: Annotated[int, typer.Option(min=1, help="Nodes shown at most.")] = 2000,
    security: Annotated[str, typer.Option(help="Security policy, such as Basic256Sha256.")] = "None",
    user: Annotated[str | None, typer.Option(help="User name; the password is asked for.")] = None,
) -> None:
    """Show a server's tree: names, NodeIds to put into settings, data types, units, values.

    Example: lineside browse opc.tcp://192.168.0.5:4840 --start "Objects/Line*"
    """
    from lineside_gateway.opcua.browse import browse_server  # noqa: PLC0415
    from lineside_gateway.opcua.security import Pki  # noqa: PLC0415

    server = server_of(url, security, user)
    nodes = asyncio.run(browse_server(server, Pki(Path("var/pki"), "browse"), start, max_depth=depth, max_nodes=most))
    table = Table("name", "value", "unit", "type", "NodeId", box=None, pad_edge=False)
    for n in nodes:
        name = "  " * n.depth + (f"[bold]{escape(n.name)}[/]" if n.kind == "Object" else escape(n.name))
        value = f"[red]{n.status}[/]" if n.status else escape(n.value)
        kind = (n.data_type or n.type_name or n.kind) + (" [dim](writable)[/]" if n.writable else "")
        table.add_row(name, value, n.unit, kind, f"[dim]{escape(n.address)}[/]")
    terminal.show(table)
    if len(nodes) >= most:
        typer.echo(f"stopped at {most} nodes; narrow --start or raise --most")


def tasks() -> None:
    """List installed tasks: what each reads, when, and what it says. No model is loaded."""
    from lineside_plugins import registry  # noqa: PLC0415

    table = Table("task", "reads", "when", "says", "from")
    for name, entry in registry.installed().items():
        try:
            plugin = registry.create(name)
        except registry.TaskError as e:
            table.add_row(name, f"[red]{escape(str(e))}[/]", "", "", entry.value)
            continue
        inputs, trigger = plugin.inputs(), plugin.inputs().trigger
        window = inputs.window
        reads = [*(c.tag for c in window.channels)] if window else []
        reads += [*inputs.snapshot, *(f"[italic]{r.stream}[/]" for r in inputs.records)]
        when = [f"every {trigger.every_s:g} s"] if trigger.every_s else []
        when += [f"change of {t}" for t in trigger.on_change] + [f"row of {s}" for s in trigger.on_records]
        table.add_row(f"[bold]{name}[/]", ", ".join(reads), "\n".join(when), ", ".join(plugin.outputs().names),
                      entry.dist.name if entry.dist else entry.value)  # fmt: skip
    terminal.show(table)


def nodeset(
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("lineside.nodeset2.xml"),
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings of a gateway: its tasks, and instances by id.")
    ] = None,
) -> None:
    """Write the information model as NodeSet2, for HMI engineers: types, and the instances a gateway will host.

    Equipment found by a glob in browse is known at run time only and has no instances in the file.

    [bold]Examples[/]

      lineside nodeset --out lineside.nodeset2.xml

      lineside nodeset --config line1.yaml --out line1.nodeset2.xml
    """  # fmt: skip
    from lineside_gateway.publish.nodeset import export_nodeset  # noqa: PLC0415 - asyncua takes a second to import
    from lineside_gateway.runtime.planned import planned_nodes  # noqa: PLC0415
    from lineside_gateway.settings import load_settings  # noqa: PLC0415

    settings = None if config is None else load_settings(config)
    hosted, kinds = planned_nodes(settings)
    name = "line-1" if settings is None else settings.gateway.id
    count = asyncio.run(export_nodeset(hosted, name, out, kinds))
    typer.echo(f"{out}: {count} nodes, {len(hosted)} recommendations on equipment, {len(kinds)} tasks")


def version() -> None:
    """Print the versions of Lineside and of what it stands on."""
    from importlib.metadata import PackageNotFoundError  # noqa: PLC0415

    for name in ("lineside", "asyncua", "celery", "redis", "numpy", "torch", "scikit-learn", "ortools"):
        try:
            typer.echo(f"{name} {installed_version(name)}")
        except PackageNotFoundError:
            typer.echo(f"{name} not installed")
