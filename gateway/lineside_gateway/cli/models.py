"""``models``: who made a model, and whose models are loaded; the work is done by the workers' own command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lineside_gateway import processes
from lineside_gateway.cli.extras import require


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    models = typer.Typer(help="Models: keys and signatures.", no_args_is_help=True)
    models.command()(keygen)
    models.command()(sign)
    models.command()(verify)
    models.command()(trust)
    models.command()(keys)
    app.add_typer(models, name="models")


def keygen(
    out: Annotated[
        Path | None, typer.Option(help="File for the private key. Default: the key of this machine, trusted here.")
    ] = None,
) -> None:
    """Make a key that signs models; training makes the one of this machine by itself.

    [bold]Examples[/]

      lineside models keygen

      lineside models keygen --out plant-7.pem
    """
    run_models("keygen", *(["--out", str(out)] if out else []))


def sign(
    folder: Annotated[Path, typer.Argument(help="Model folder.")],
    key: Annotated[Path | None, typer.Option(help="File of the private key. Default: the key of this machine.")] = None,
) -> None:
    """Sign a model whose files are as its manifest says: you vouch for it.

    [bold]Example[/]

      lineside models sign var/models/reject --key plant-7.pem
    """
    run_models("sign", str(folder), *(["--key", str(key)] if key else []))


def verify(model: Annotated[str, typer.Argument(help="Model folder, or a task for the model in use.")]) -> None:
    """Check the files of a model and who signed it. Exit code 2 where a worker would not load it.

    [bold]Examples[/]

      lineside models verify maintenance

      lineside models verify var/models/reject
    """
    run_models("verify", model)


def trust(
    file: Annotated[Path, typer.Argument(help="Public key of who signs, PEM.")],
    name: Annotated[str, typer.Option(help="Name to keep it under. Default: the name of the file.")] = "",
) -> None:
    """Let workers of this machine load models that the owner of a public key has signed.

    [bold]Example[/]

      lineside models trust plant-7.pub.pem --name plant-7
    """
    run_models("trust", str(file), *(["--name", name] if name else []))


def keys() -> None:
    """List the keys whose models workers of this machine load.

    Example: lineside models keys
    """
    run_models("keys")


def run_models(*args: str) -> None:
    """Run ``python -m lineside_workers models ...`` in this terminal, and end with its exit code."""
    require("workers")
    code = processes.replace("lineside_workers", ["models", *args])
    if code:
        raise typer.Exit(code)
