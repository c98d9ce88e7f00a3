"""``users``: who may come to the hosted server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from lineside_gateway.cli import panels, terminal

if TYPE_CHECKING:
    from lineside_gateway.settings import Settings

_Config = Annotated[Path, typer.Option("--config", "-c", help="Settings of the gateway (YAML); its data_dir is used.")]
_DEFAULT = Path("lineside.yaml")
ROLES = ("viewer", "operator", "engineer")


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    users = typer.Typer(help="Users of the hosted server and their roles.", no_args_is_help=True)
    users.command()(add)
    users.command()(remove)
    users.command("list")(list_users)
    users.command()(roles)
    app.add_typer(users, name="users", rich_help_panel=panels.CONNECT)


def add(
    name: Annotated[str, typer.Argument(help="User name.")],
    role: Annotated[str, typer.Option(help="viewer, operator or engineer; see lineside users roles.")] = "viewer",
    config: _Config = _DEFAULT,
    password_file: Annotated[
        Path | None, typer.Option(help="File that holds the password, - for stdin. Default: it is asked for.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="The user's certificate, DER or PEM, instead of a password.")
    ] = None,
) -> None:
    """Add a user, or change the role, password or certificate of one. A running gateway knows it at once.

    [bold]Examples[/]

      lineside users add anna --role operator

      lineside users add hmi-3 --certificate hmi-3.der -c line1.yaml
    """  # fmt: skip
    from lineside_gateway.hosting import Role  # noqa: PLC0415 - asyncua takes a second to import
    from lineside_gateway.hosting.users import UsersFile  # noqa: PLC0415
    from lineside_gateway.opcua.certificates import der_of  # noqa: PLC0415

    if role not in ROLES:
        raise typer.BadParameter(f"role '{role}' is not one of {', '.join(ROLES)}")
    file = UsersFile(_settings(config).gateway.users_file)
    der = der_of(certificate) if certificate is not None else b""
    password = "" if der and password_file is None else _password(name, password_file)
    new = file.add(name, Role(role), password=password, certificate=der)
    typer.echo(f"{'added' if new else 'changed'} {name}, {role}")


def remove(name: Annotated[str, typer.Argument(help="User name.")], config: _Config = _DEFAULT) -> None:
    """Remove a user. A running gateway refuses him at once and ends his sessions within a second.

    Example: lineside users remove anna
    """
    from lineside_gateway.hosting.users import UsersFile  # noqa: PLC0415

    UsersFile(_settings(config).gateway.users_file).remove(name)
    typer.echo(f"removed {name}")


def list_users(config: _Config = _DEFAULT) -> None:
    """List the users with their roles and what they log in with.

    Example: lineside users list -c line1.yaml
    """
    from lineside_gateway.hosting.users import UsersFile  # noqa: PLC0415

    table = Table("user", "role", "logs in with", box=None, pad_edge=False)
    for user in UsersFile(_settings(config).gateway.users_file).users().values():
        ways = [*(["password"] if user.password else []), *([f"certificate {user.certificate[:16]}..."]
                if user.certificate else [])]  # fmt: skip
        table.add_row(escape(user.name), user.role.value, " or ".join(ways))
    terminal.show(table)


def roles() -> None:
    """Say what each role may do.

    Example: lineside users roles
    """
    from lineside_gateway.hosting.roles import MAY  # noqa: PLC0415

    for role, words in MAY.items():
        typer.echo(f"{role.value:9} {words}")


def _password(name: str, file: Path | None) -> str:
    if file is None:
        return str(typer.prompt(f"password of {name}", hide_input=True, confirmation_prompt=True))
    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    return text.removesuffix("\n").removesuffix("\r")


def _settings(config: Path) -> Settings:
    from lineside_gateway.settings import load_settings  # noqa: PLC0415

    return load_settings(config)
