"""What a worker process is told from outside: environment variables, so that a container needs no file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lineside_plugins import sentinels as sentinel_urls
from lineside_plugins.registry import installed
from lineside_plugins.sentinels import sentinels
from lineside_workers.errors import SettingsError
from lineside_workers.models.signing import KeyRing

ALL = "all"
SCHEMES = ("redis", "rediss", "unix", *sentinel_urls.SCHEMES)
DEFAULT_BROKER = "redis://127.0.0.1:6379/0"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings of one worker process.

    ``broker_url``: LINESIDE_BROKER_URL, redis://, rediss://, unix:// or sentinel://. ``tasks``: LINESIDE_TASKS, "all"
    or names with commas. ``device``: LINESIDE_DEVICE, auto, cpu or cuda:N. ``models``: LINESIDE_MODELS, a models
    directory.
    ``keys``: LINESIDE_KEYS, folder of the keys whose models are trusted, and LINESIDE_REQUIRE_SIGNATURE, yes or no.
    ``hmac_key``: LINESIDE_HMAC_KEY, the same text as the gateway's. ``threads``: LINESIDE_THREADS, CPU threads of
    torch; one, because the other cores belong to other workers. ``redeliver_after_s``: LINESIDE_REDELIVER_AFTER_S, how
    long after its delivery an unanswered batch goes to another worker; longer than the slowest batch takes.
    ``memory_mb``: LINESIDE_MEMORY_MB, MiB of weights to keep on the device, 0 for as many as come; room for activations
    is beside it. ``join_windows``: LINESIDE_JOIN_WINDOWS, how many windows of requests that wait are computed at once;
    64, 1 for each request alone. ``metrics_port``: LINESIDE_METRICS_PORT, where Prometheus finds this process; 0 for
    nowhere. A supervisor gives its devices the ports from there on. ``metrics_host``: LINESIDE_METRICS_HOST.
    ``beat``: LINESIDE_BEAT, set by a supervisor that listens to standard output. ``restarts``: LINESIDE_RESTARTS, how
    often the supervisor has started the worker of this device again.
    """

    broker_url: str = DEFAULT_BROKER
    tasks: tuple[str, ...] = ()
    device: str = "auto"
    models: Path | None = None
    hmac_key: bytes = b""
    threads: int = 1
    redeliver_after_s: int = 30
    memory_mb: int = 0
    join_windows: int = 64
    metrics_port: int = 0
    metrics_host: str = "127.0.0.1"
    beat: bool = False
    restarts: int = 0
    keys: KeyRing = field(default_factory=KeyRing.from_env)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> WorkerSettings:
        """Read the variables; ``tasks`` becomes the names of installed tasks.

        Raises:
            SettingsError: A value does not fit; the message says what does.
        """
        url = environ.get("LINESIDE_BROKER_URL") or DEFAULT_BROKER
        if url.partition("://")[0] not in SCHEMES:
            raise SettingsError(
                f"LINESIDE_BROKER_URL starts with '{url.partition('://')[0][:20]}'; use "
                + ", ".join(f"{s}://" for s in SCHEMES)
            )
        try:
            sentinels(url)
        except ValueError as e:
            raise SettingsError(f"LINESIDE_BROKER_URL: {e}") from e
        models = environ.get("LINESIDE_MODELS", "")
        return cls(
            broker_url=url,
            tasks=_tasks(environ.get("LINESIDE_TASKS") or ALL),
            device=environ.get("LINESIDE_DEVICE") or "auto",
            models=Path(models) if models else None,
            hmac_key=environ.get("LINESIDE_HMAC_KEY", "").encode(),
            threads=_count(environ, "LINESIDE_THREADS", cls().threads),
            redeliver_after_s=_count(environ, "LINESIDE_REDELIVER_AFTER_S", cls().redeliver_after_s),
            memory_mb=_count(environ, "LINESIDE_MEMORY_MB", 0) if environ.get("LINESIDE_MEMORY_MB") else 0,
            join_windows=_count(environ, "LINESIDE_JOIN_WINDOWS", cls().join_windows),
            metrics_port=_count(environ, "LINESIDE_METRICS_PORT", 0) if environ.get("LINESIDE_METRICS_PORT") else 0,
            metrics_host=environ.get("LINESIDE_METRICS_HOST") or cls().metrics_host,
            beat=environ.get("LINESIDE_BEAT", "") == "1",
            restarts=int(environ.get("LINESIDE_RESTARTS") or 0),
            keys=KeyRing.from_env(environ),
        )


def _count(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdigit() or int(text) < 1:
        raise SettingsError(f"{name} is '{text}'; use a whole number from 1")
    return int(text)


def _tasks(text: str) -> tuple[str, ...]:
    have = installed()
    if text == ALL:
        return tuple(have)
    names = tuple(dict.fromkeys(n.strip() for n in text.split(",") if n.strip()))
    unknown = [n for n in names if n not in have]
    if unknown or not names:
        raise SettingsError(f"task '{(unknown or [text])[0]}' is not installed; installed: {', '.join(have) or 'none'}")
    return names
