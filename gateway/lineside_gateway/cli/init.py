"""``init``: from a server's address to settings that work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lineside_gateway.cli import panels, terminal
from lineside_gateway.cli.target import servers_of

if TYPE_CHECKING:
    from lineside_gateway.discovery.proposal import Proposal
    from lineside_gateway.opcua.finding import Finding

SOMETHING_IS_MISSING = 2


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel=panels.CONNECT)(init)


def init(
    urls: Annotated[list[str], typer.Argument(help="Endpoints of the plant's servers, opc.tcp://host:port/path.")],
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="Task to set up; may be repeated. Default: each that finds all it needs."),
    ] = None,
    start: Annotated[str, typer.Option(help="Where to begin: a browse path with globs, or a NodeId.")] = "Objects",
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("lineside.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Write over the file if it is there.")] = False,
    depth: Annotated[int, typer.Option(min=1, max=20, help="Levels below the start.")] = 6,
    most: Annotated[int, typer.Option(min=1, help="Nodes looked at, at most.")] = 5000,
    security: Annotated[str, typer.Option(help="Security policy, such as Basic256Sha256.")] = "None",
    user: Annotated[str | None, typer.Option(help="User name; the password is asked for.")] = None,
    name: Annotated[str, typer.Option(help="Name of the server in the settings; several are numbered.")] = "PLC",
) -> None:
    """Write settings for servers: find their machines, match what the tasks read, and check the file against them.

    Machines are Objects that look alike. A tag is matched by the words of its path, its unit and its data type; where
    two fit alike, or none does, the file has the candidates as comments. Nothing is written to a server, and every
    task begins in mode advisory. Exit code 2 when something is missing that a task needs.

    [bold]Examples[/]

      lineside init opc.tcp://192.168.0.5:4840

      lineside init opc.tcp://192.168.0.5:4840 --task maintenance --start "Objects/Line*" --out line1.yaml

      lineside init opc.tcp://192.168.0.5:4840 --security Basic256Sha256 --user lineside

      lineside init opc.tcp://mill1:4840 opc.tcp://mill2:4840 opc.tcp://mes:4840 --task maintenance --task schedule
    """  # fmt: skip
    from lineside_gateway.discovery.survey import Question, survey, verify  # noqa: PLC0415 - imports asyncua

    servers = servers_of(urls, security, user, name=name)
    question = Question(servers, out, tuple(task or ()), start, depth, most, overwrite=force)
    with Console(stderr=True).status(f"looking at {escape(', '.join(urls))}") as status:
        answer = asyncio.run(survey(question))
        status.update(f"checking {escape(str(out))}")
        findings = asyncio.run(verify(question))
    for cause in answer.broken.values():
        typer.echo(f"left out: {cause}")
    if answer.truncated:
        typer.echo(f"stopped at {most} nodes: machines may be missing; narrow --start or raise --most")
    _show(answer.proposal)
    _conclude(out, answer.proposal, findings)


def _show(proposal: Proposal) -> None:
    from lineside_gateway.discovery.proposal import several  # noqa: PLC0415 - asyncua takes a second to import
    from lineside_gateway.opcua.addresses import path_text  # noqa: PLC0415

    for kind, entries in proposal.kinds:
        places = ", ".join(dict.fromkeys(e.browse for e in entries))
        names = several([p.name for p in kind.places])
        typer.echo(f"{places}: {names}{kind.type_name and f' ({kind.type_name})'}")
        table = Table("tag", "is", "unit", "type", box=None, pad_edge=False)
        tags = kind.tags
        for want in proposal.wants:
            found = tags.get(want.tag)
            if found is not None:
                table.add_row(want.tag, escape(path_text(found.path)), escape(found.node.unit), found.node.data_type)
            elif want.tag in proposal.needed:
                table.add_row(want.tag, "[red]not found[/]", escape(want.unit), "")
        terminal.show(table)
    for note in proposal.notes:
        typer.echo(f"left out: {note}")


def _conclude(out: Path, proposal: Proposal, findings: list[Finding]) -> None:
    errors = [f for f in findings if f.severity.value == "error"]
    warnings = sum(f.severity.value == "warning" for f in findings)
    tasks = ", ".join(t.wants.task for t in proposal.tasks)
    checked = f"checked at the server: {_count(len(errors), 'error')}, {_count(warnings, 'warning')}"
    typer.echo(f"wrote {out}: {tasks}, advisory; {checked}")
    console = Console(stderr=True, soft_wrap=True)
    missing = proposal.lacks or tuple(f"{f.where}: {f.what}" for f in errors)
    for sentence in missing:
        console.print(f"[bold red]missing:[/] {escape(sentence)}", highlight=False)
    if missing:
        raise typer.Exit(SOMETHING_IS_MISSING)
    typer.echo(f"next: read {out}, then: lineside check {out} --connect")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
