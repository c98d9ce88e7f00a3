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
    equipment: Annotated[
        str, typer.Option(help="equipment_id of rows that name none; {file} is the name of the file.")
    ] = "",
    time_column: Annotated[
        str, typer.Option(help="Column of the time: ISO 8601, --time-format, or seconds since 1970.")
    ] = "time",
    time_format: Annotated[
        str, typer.Option(help="How a time is written that is not ISO 8601, such as '%d.%m.%Y %H:%M:%S'.")
    ] = "",
    zone: Annotated[str, typer.Option(help="Time zone of times that name none, such as Europe/Berlin.")] = "UTC",
    column: Annotated[
        list[str] | None, typer.Option(help="NAME=COLUMN: equipment_id, tag, value or a tag, as the file calls it.")
    ] = None,
    unit: Annotated[list[str] | None, typer.Option(help="TAG=UNIT to convert a tag to; may be repeated.")] = None,
    browse: Annotated[str, typer.Option(help="Machines of a server: a browse path with globs.")] = "Objects/*",
    hours: Annotated[float, typer.Option(min=0.01, help="Hours of history to read from a server.")] = 168.0,
    security: Annotated[str, typer.Option(help="Security policy of a server, such as Basic256Sha256.")] = "None",
    user: Annotated[str | None, typer.Option(help="User name at a server; the password is asked for.")] = None,
) -> None:
    """Bring tags and events of a historian or MES into a recording: CSV, Parquet, or OPC UA history.

    Tags: time, equipment_id, tag, value, perhaps unit and status; or a column per tag, its unit in square brackets.

    Events: time, equipment_id, kind, and whatever else is known of them. Separators, decimal commas and encodings are
    told from the file; words where a number should be are missing samples, and counted.

    [bold]Examples[/]

      lineside import historian.csv --out var/recorded

      lineside import A1.parquet --equipment A1 --unit VibRms=mm/s --out var/recorded

      lineside import failures.csv --out var/recorded

      lineside import pumps/*.csv --equipment {file} --time-format "%d/%m/%Y %H:%M" --zone Europe/Berlin --out var/rec

      lineside import pi.csv --column tag=TagName --column value=Value --column equipment_id=Asset --out var/recorded

      lineside import opc.tcp://192.168.0.5:4840 --browse "Objects/Line1/*" --hours 168 --out var/recorded
    """
    require("recording")
    from lineside_gateway.recording import Archive, exports  # noqa: PLC0415 - imports pyarrow
    from lineside_gateway.recording.importing import Reading, import_file  # noqa: PLC0415

    layout = exports.Layout(time_column, time_format, zone, _pairs("--column", column, "equipment_id=Asset"))
    how = Reading(equipment, _pairs("--unit", unit, "VibRms=mm/s"), layout)
    archive = Archive(out)
    with Console(stderr=True).status("importing") as status:
        for number, source in enumerate(sources, 1):
            status.update(f"importing {source} ({number} of {len(sources)})")
            if source.startswith("opc.tcp://"):
                _history(source, browse, hours, archive, security, user)
                continue
            done = import_file(Path(source), archive, how)
            typer.echo(f"{source}: {done.rows} rows of {done.table}")
            for what in done.left_out:
                typer.echo(f"  left out: {what}")
    typer.echo(f"next: lineside data report {out}")


def _pairs(option: str, given: list[str] | None, example: str) -> dict[str, str]:
    """What stands before and behind the sign of equality.

    Raises:
        RecordingError: One has no such sign.
    """
    from lineside_gateway.recording import RecordingError  # noqa: PLC0415 - imports pyarrow

    pairs = [tuple(word.strip() for word in text.partition("=")) for text in given or ()]
    if wrong := [text for text, pair in zip(given or (), pairs, strict=True) if not all(pair)]:
        raise RecordingError(f"{option} is '{wrong[0]}'; expected NAME=WORD, such as {example}")
    return {name: word for name, _, word in pairs}


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
