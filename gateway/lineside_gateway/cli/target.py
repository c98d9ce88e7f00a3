"""The server that a command line names, as the settings' section that a file would have for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from lineside_gateway.errors import SettingsError

if TYPE_CHECKING:
    from lineside_gateway.settings import ServerSettings

_OPTIONS = {("url",): "URL", ("name",): "--name", ("security", "policy"): "--security", ("security", "user"): "--user"}


def server_of(url: str, security: str, user: str | None, *, name: str = "server", **more: object) -> ServerSettings:
    """The server at ``url``; the password of ``user`` is asked for.

    Raises:
        SettingsError: An option's value is not valid; the sentence names the option.
    """
    from pydantic import ValidationError  # noqa: PLC0415 - each command imports what it needs

    from lineside_gateway.settings import ServerSettings  # noqa: PLC0415

    secured: dict[str, object] = {"policy": security, "user": user}
    given: dict[str, object] = {"name": name, "url": url, "security": secured, **more}
    try:
        ServerSettings.model_validate(given)
        if user is not None:
            secured["password"] = typer.prompt(f"password of {user}", hide_input=True)
        return ServerSettings.model_validate(given)
    except ValidationError as e:
        first = e.errors()[0]
        place = tuple(str(p) for p in first["loc"])
        option = _OPTIONS.get(place, ".".join(place))
        value = f" is '{first['input']}'" if isinstance(first["input"], str) else ""
        wanted = "expected opc.tcp://host:port/path" if option == "URL" else first["msg"]
        raise SettingsError(f"{option}{value}: {wanted}") from None  # its text would show a password
