"""How the gateway gets at its broker: URL with password, and the key that signs."""

from __future__ import annotations

import os
from urllib.parse import quote

from lineside_gateway.settings import Settings, secret


def broker_url(settings: Settings) -> str:
    """The broker's URL with the password of ``password_file`` in it."""
    password = secret(settings.broker)
    if not password:
        return settings.broker.url
    scheme, _, rest = settings.broker.url.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}://{user.split(':')[0] if at else ''}:{quote(password, safe='')}@{host}"


def hmac_key() -> bytes:
    """The key that signs tensors and results, from ``LINESIDE_HMAC_KEY``; empty for unsigned."""
    return os.environ.get("LINESIDE_HMAC_KEY", "").encode()
