"""URLs of Redis Sentinels, as gateway and workers take them: whoever is master at the moment is the broker.

``sentinel://[user:password@]host[:port][,host[:port]...]/MASTER[/DB]``, ``sentinels://`` with TLS to sentinels and
master alike. User and password are the broker's; ``?sentinel_password=`` is the sentinels' own. ``ssl_ca_certs``,
``ssl_certfile`` and ``ssl_keyfile`` may follow as in a ``rediss://`` URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES = ("sentinel", "sentinels")
DEFAULT_PORT = 26379  # Redis's own
_KNOWN = {"sentinel_password", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Where the sentinels are, which master they are asked for, and how both are spoken to."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    db: int = 0
    username: str | None = None
    password: str | None = None
    own_password: str | None = None
    tls: bool = False
    tls_files: Mapping[str, str] = field(default_factory=dict)

    @property
    def security(self) -> dict[str, object]:
        """Arguments of redis-py for TLS, none without; certificates are always checked."""
        return {"ssl": True, "ssl_cert_reqs": "required", **self.tls_files} if self.tls else {}

    @property
    def login(self) -> dict[str, object]:
        """Arguments of redis-py for user and password at the broker."""
        return {k: v for k, v in (("username", self.username), ("password", self.password)) if v is not None}


def sentinels(url: str) -> Sentinels | None:
    """What ``url`` says; None where it is no URL of sentinels.

    Raises:
        ValueError: It is one and names no master, no host, or an option nobody knows.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        return None
    login, _, where = rest.rpartition("@")
    parts = urlsplit(f"//{where}")
    master, _, db = parts.path.strip("/").partition("/")
    options = dict(parse_qsl(parts.query))
    unknown = sorted(set(options) - _KNOWN)
    hosts = tuple(_host(text) for text in parts.netloc.split(",") if text)
    if not hosts or not master or not (db or "0").isdigit():
        raise ValueError(f"{scheme}://... needs hosts and a master: {scheme}://host:26379,host:26379/mymaster")
    if unknown:
        raise ValueError(f"{scheme}://... has the option '{unknown[0]}'; known: {', '.join(sorted(_KNOWN))}")
    user, _, password = login.partition(":")
    own = options.pop("sentinel_password", None)
    return Sentinels(
        hosts, unquote(master), int(db or 0), unquote(user) or None, unquote(password) or None, own,
        scheme == "sentinels", options,
    )  # fmt: skip


def _host(text: str) -> tuple[str, int]:
    name, _, port = text.rpartition(":") if text.rpartition(":")[2].isdigit() else (text, "", "")
    return name.strip("[]"), int(port or DEFAULT_PORT)
