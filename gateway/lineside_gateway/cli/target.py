"""The server that a command line names, as the settings' section that a file would have for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from lineside_gateway.errors import SettingsError

if TYPE_CHECKING:
    from lineside_gateway.settings import ServerSettings

_OPTIONS = {("url",): "URL", ("name",): "--name", ("security", "policy"): "--security", ("security", "user"): "--user"}


def server_of(url: str, security: str, user: str | None, **more: object) -> ServerSettings:
    """The server at ``url``; the password of ``user`` is asked for.

    Raises:
        SettingsError: An option's value is not valid; the sentence names the option.
    """
    return servers_of([url], security, user, name="server", **more)[0]


def servers_of(
    urls: Sequence[str], security: str, user: str | None, *, name: str, **more: object
) -> tuple[ServerSettings, ...]:
    """The servers at ``urls``, ``name`` or, where there are several, ``name`` numbered from 1; one user for all.

    Raises:
        SettingsError: An option's value is not valid; the sentence names the option.
    """
    from pydantic import ValidationError  # noqa: PLC0415 - each command imports what it needs

    from lineside_gateway.settings import ServerSettings  # noqa: PLC0415

    secured: dict[str, object] = {"policy": security, "user": user}
    names = [name] if len(urls) == 1 else [f"{name}{i}" for i in range(1, len(urls) + 1)]
    given = [{"name": n, "url": url, "security": secured, **more} for n, url in zip(names, urls, strict=True)]
    try:
        servers = [ServerSettings.model_validate(one) for one in given]
        if user is not None:
            secured["password"] = typer.prompt(f"password of {user}", hide_input=True)
            servers = [ServerSettings.model_validate(one) for one in given]
        return tuple(servers)
    except ValidationError as e:
        first = e.errors()[0]
        place = tuple(str(p) for p in first["loc"])
        option = _OPTIONS.get(place, ".".join(place))
        value = f" is '{first['input']}'" if isinstance(first["input"], str) else ""
        wanted = "expected opc.tcp://host:port/path" if option == "URL" else first["msg"]
        raise SettingsError(f"{option}{value}: {wanted}") from None  # its text would show a password
