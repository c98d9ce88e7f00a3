"""How a worker process gets at its broker: one URL for redis-py and Celery, TLS that is always checked, Sentinels."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from redis import ConnectionPool
from redis.sentinel import Sentinel, SentinelConnectionPool

from lineside_plugins.sentinels import Sentinels, sentinels

_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def pool(url: str, **options: Any) -> ConnectionPool:
    """Connections of redis-py to the broker at ``url``; ``options`` as redis-py's connections take them.

    Raises:
        ValueError: The URL cannot be used.
    """
    found = sentinels(url)
    if found is None:
        return ConnectionPool.from_url(url, protocol=2, **options)
    manager: Any = Sentinel(found.hosts, sentinel_kwargs=_sentinel_options(found, options))  # type: ignore[no-untyped-call]  # redis-py
    arguments = {**options, **found.login, **found.security, "protocol": 2, "db": found.db}
    return SentinelConnectionPool(found.master, manager, **arguments)  # type: ignore[no-untyped-call]  # redis-py


def celery_options(url: str) -> dict[str, Any]:
    """Celery's settings for the broker at ``url``: ``broker_url``, ``broker_use_ssl``, ``broker_transport_options``.

    Certificates are required and checked: kombu by itself connects to any ``rediss://`` without a look.

    Raises:
        ValueError: The URL cannot be used.
    """
    scheme, _, rest = url.partition("://")
    found = sentinels(url)
    if found is not None:
        login = f"{quote(found.username or '', safe='')}:{quote(found.password or '', safe='')}@" if found.login else ""
        urls = ";".join(f"sentinel://{login}{host}:{port}/{found.db}" for host, port in found.hosts)
        out: dict[str, Any] = {"broker_url": urls}
        out["broker_transport_options"] = {"master_name": found.master, "sentinel_kwargs": _sentinel_options(found, {})}
        tls = dict(found.tls_files) if found.tls else None
    else:
        out = {"broker_url": f"redis+socket://{rest}" if scheme == "unix" else url}
        query = dict(parse_qsl(urlsplit(url).query))
        tls = {k: query[k] for k in _TLS_FILES if k in query} if scheme == "rediss" else None
    if tls is not None:
        out["broker_use_ssl"] = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, **tls}
    return out


def _sentinel_options(found: Sentinels, options: dict[str, Any]) -> dict[str, Any]:
    password = {"password": found.own_password} if found.own_password else {}
    limits = {k: v for k, v in options.items() if k in {"socket_timeout", "socket_connect_timeout"}}
    return {"protocol": 2, **limits, **found.security, **password}
