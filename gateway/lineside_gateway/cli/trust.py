"""``trust``: whose certificates the gateway accepts, of servers it reads and of clients of its own server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from lineside_gateway.cli import panels, terminal

if TYPE_CHECKING:
    from lineside_gateway.opcua.security import Pki

_STYLE = {"trusted": "green", "rejected": "red", "own": "cyan", "issuers": "blue"}
_Config = Annotated[Path, typer.Option("--config", "-c", help="Settings of the gateway (YAML); its data_dir is used.")]
_DEFAULT = Path("lineside.yaml")
Name = Annotated[str, typer.Argument(help="File name, or the first six or more characters of the fingerprint.")]

app = typer.Typer(
    help="Whose certificates the gateway accepts: list, accept, reject.", no_args_is_help=True, rich_markup_mode="rich"
)


def register(parent: typer.Typer) -> None:
    """Add the commands to ``parent``."""
    parent.add_typer(app, name="trust", rich_help_panel=panels.CONNECT)


@app.command("list")
def list_(config: _Config = _DEFAULT) -> None:
    """Show own, trusted and rejected certificates, and issuers. Compare a fingerprint with the server's display.

    Example: lineside trust list -c lineside.yaml
    """
    from lineside_gateway.opcua.trust import entries  # noqa: PLC0415 - asyncua takes a second to import

    table = Table("", "file", box=None, pad_edge=False)
    table.add_column("SHA-256", overflow="fold", min_width=16)  # whole even in a narrow terminal: it is compared
    for heading in ("subject", "ApplicationUri", "valid until"):
        table.add_column(heading)
    found = entries(_pki(config))
    for e in found:
        style = _STYLE[e.standing.value]
        table.add_row(f"[{style}]{e.standing.value}[/]", escape(e.file.name), e.fingerprint, escape(e.subject),
                      escape(e.application_uri), f"{e.valid_until:%Y-%m-%d}")  # fmt: skip
    if found:
        terminal.show(table)
    else:
        typer.echo("no certificates yet; the first secured connection makes one")


@app.command()
def accept(name: Name, config: _Config = _DEFAULT) -> None:
    """Trust a rejected certificate; a running gateway takes it up with its next attempt.

    Example: lineside trust accept 3f9a2b77 -c lineside.yaml
    """
    from lineside_gateway.opcua import trust  # noqa: PLC0415

    entry = trust.accept(_pki(config), name)
    typer.echo(f"trusted: {entry.subject} (SHA-256 {entry.fingerprint})")


@app.command()
def reject(name: Name, config: _Config = _DEFAULT) -> None:
    """Trust a certificate no longer; the next connection to its server is refused.

    Example: lineside trust reject 3f9a2b77 -c lineside.yaml
    """
    from lineside_gateway.opcua import trust  # noqa: PLC0415

    entry = trust.reject(_pki(config), name)
    typer.echo(f"rejected: {entry.subject} (SHA-256 {entry.fingerprint})")


def _pki(config: Path) -> Pki:
    from lineside_gateway.opcua.security import Pki  # noqa: PLC0415
    from lineside_gateway.settings import load_settings  # noqa: PLC0415

    if config == _DEFAULT and not config.is_file():
        return Pki.beside(config)  # `lineside init` meets certificates before there are settings
    return Pki.of(load_settings(config))
