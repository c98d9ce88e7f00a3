"""``forget``: what the gateway has recorded of an operator, a machine or a span of time is removed."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from lineside_gateway.cli import panels


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel=panels.OVERSEE)(forget)


def forget(
    operator: Annotated[str, typer.Option(help="All that this user did and wrote.")] = "",
    equipment: Annotated[str, typer.Option(help="All about this equipment_id.")] = "",
    since: Annotated[str, typer.Option(help="From this time on, ISO 8601, local time unless it names a zone.")] = "",
    before: Annotated[str, typer.Option(help="Until this time.")] = "",
    recordings: Annotated[
        Path | None, typer.Option(help="Folder of Parquet recordings. Default: recording.folder, where that is set.")
    ] = None,
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Settings of the gateway (YAML); its data_dir is used.")
    ] = Path("lineside.yaml"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove what is recorded of an operator, a machine or a time, in every file of the gateway and its recordings.

    What is given has to fit all together. Stop the gateway first. Lines of the audit log keep number, time and event,
    lose what they said, and are accounted for by a new line, so that 'lineside audit verify' still holds the chain.

    [bold]Examples[/]

      lineside forget --operator anna

      lineside forget --equipment A1 --before 2026-01-01 -c line1.yaml --yes
    """
    from lineside_gateway.privacy import Subject  # noqa: PLC0415 - imports of a command stay with it
    from lineside_gateway.privacy import forget as remove  # noqa: PLC0415
    from lineside_gateway.runtime.names import Names  # noqa: PLC0415
    from lineside_gateway.settings import load_settings  # noqa: PLC0415

    subject = Subject(operator, equipment, _time(since), _time(before))
    settings = load_settings(config)
    data_dir = settings.gateway.data_dir
    named = {"operator": operator, "equipment": equipment, "since": since, "before": before}
    told = ", ".join(f"{k} {v}" for k, v in named.items() if v)
    if not yes and told:
        typer.confirm(f"remove what is recorded in {data_dir} of {told}? There is no way back", abort=True)
    if recordings is None and settings.recording is not None and settings.recording.folder.is_dir():
        recordings = settings.recording.folder
    report = remove(data_dir, subject, by=Names(settings).operator(getpass.getuser()), recorded=recordings)
    for what, count in report.removed.items():
        typer.echo(f"{count:8} {what} removed")
    for sentence in report.left:
        typer.echo(f"left: {sentence}")


def _time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as e:
        raise typer.BadParameter(f"'{text}' is no time; write 2026-01-31 or 2026-01-31T14:00") from e
    return at.astimezone(UTC)
