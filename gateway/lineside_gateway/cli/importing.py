"""``import``: tags and events of other systems become a recording."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lineside_gateway.cli import panels
from lineside_gateway.cli.extras import require
from lineside_gateway.cli.target import server_of
from lineside_plugins.recorded import TAGS

if TYPE_CHECKING:
    from lineside_gateway.recording import Archive

HISTORY_TIMEOUT_S = 600.0  # a week of a line takes minutes on a small server


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(name="import", rich_help_panel=panels.LEARN)(import_files)


def import_files(
    sources: Annotated[list[str], typer.Argument(help="CSV or Parquet files, or the endpoint of an OPC UA server.")],
    out: Annotated[Path, typer.Option(help="Folder of the recording; what is there stays.")],
    equipment: Annotated[str, typer.Option(help="equipment_id of rows that name none.")] = "",
    time_column: Annotated[str, typer.Option(help="Column of the time, ISO 8601; without a zone it is UTC.")] = "time",
    unit: Annotated[list[str] | None, typer.Option(help="TAG=UNIT to convert a tag to; may be repeated.")] = None,
    browse: Annotated[str, typer.Option(help="Machines of a server: a browse path with globs.")] = "Objects/*",
    hours: Annotated[float, typer.Option(min=0.01, help="Hours of history to read from a server.")] = 168.0,
    security: Annotated[str, typer.Option(help="Security policy of a server, such as Basic256Sha256.")] = "None",
    user: Annotated[str | None, typer.Option(help="User name at a server; the password is asked for.")] = None,
) -> None:
    """Bring tags and events of a historian or MES into a recording: CSV, Parquet, or OPC UA history.

    Tags: time, equipment_id, tag, value, perhaps unit and status; or a column per tag, its unit in square brackets.
    Events: time, equipment_id, kind, and whatever else is known of them.

    [bold]Examples[/]

      lineside import historian.csv --out var/recorded

      lineside import A1.parquet --equipment A1 --unit VibRms=mm/s --out var/recorded

      lineside import failures.csv --out var/recorded

      lineside import opc.tcp://192.168.0.5:4840 --browse "Objects/Line1/*" --hours 168 --out var/recorded
    """
    require("recording")
    from lineside_gateway.recording import Archive, RecordingError  # noqa: PLC0415 - imports pyarrow
    from lineside_gateway.recording.importing import Reading, import_file  # noqa: PLC0415

    pairs = [u.partition("=") for u in unit or ()]
    if wrong := [tag for tag, sign, target in pairs if not (tag and sign and target)]:
        raise RecordingError(f"--unit is '{wrong[0]}'; expected TAG=UNIT, such as VibRms=mm/s")
    how = Reading(equipment, time_column, {tag.strip(): target.strip() for tag, _, target in pairs})
    archive = Archive(out)
    with Console(stderr=True).status("importing") as status:
        for number, source in enumerate(sources, 1):
            status.update(f"importing {source} ({number} of {len(sources)})")
            if source.startswith("opc.tcp://"):
                _history(source, browse, hours, archive, security, user)
                continue
            table, rows = import_file(Path(source), archive, how)
            typer.echo(f"{source}: {rows} rows of {table}")
    typer.echo(f"next: lineside data report {out}")


def _history(url: str, browse: str, hours: float, archive: Archive, security: str, user: str | None) -> None:
    from lineside_gateway.opcua.security import Pki  # noqa: PLC0415 - asyncua takes a second to import
    from lineside_gateway.recording import Recorder  # noqa: PLC0415
    from lineside_gateway.recording.historian import import_history  # noqa: PLC0415

    server = server_of(url, security, user, history_timeout_s=HISTORY_TIMEOUT_S)
    recorder = Recorder(archive)
    causes = asyncio.run(import_history(server, Pki(Path("var/pki"), "import"), browse, hours, recorder))
    recorder.write(recorder.take(), last=True)
    for cause in causes:
        typer.echo(f"left out: {cause}")
    typer.echo(f"{url}: {recorder.written[TAGS]} rows of {TAGS}")
