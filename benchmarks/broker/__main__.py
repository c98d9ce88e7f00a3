"""Load one broker with simulated gateways and workers, and set what it does beside docs/scale.md's arithmetic.

``python -m benchmarks.broker [--seconds 10] [--json FILE] [--write]``. Gateways send claims and messages and read their
result streams as ``lineside_gateway.dispatch`` does; workers take messages, claims and attempts, and answer, as
``lineside_workers`` does, without Celery, models or windows: what is measured is the server. It runs in a process of
its own; its CPU seconds over the batches are what a batch costs it, whatever else the machine does. Then a whole site
(``site``). About two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from redis import Redis

from benchmarks.broker import plan, site
from benchmarks.broker.load import Book, Load, carry
from benchmarks.broker.site import Site
from lineside_gateway.dispatch import EmbeddedBroker

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
SITE_PACES = (1.0, 130.0)  # batches a second: at rest, and a million tags with a window every ten seconds
PLANNED = "batches of 32"  # the load that the plan is made of
RUNS = (
    Load("small windows", gateways=4, workers=4, windows=32, samples=16, tags=8),
    Load(PLANNED, gateways=4, workers=4, windows=32, samples=plan.SAMPLES, tags=plan.TAGS_PER_MACHINE),
    Load("single windows", gateways=4, workers=4, windows=1, samples=plan.SAMPLES, tags=plan.TAGS_PER_MACHINE),
    Load("many gateways", gateways=32, workers=32, windows=32, samples=plan.SAMPLES, tags=plan.TAGS_PER_MACHINE),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One load. ``cpu_us`` is the server's CPU per batch, ``per_core`` the batches a second that fill one core."""

    load: str
    batches_per_s: float
    windows_per_s: float
    mb_per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    peak_mb: float
    per_core: float


@dataclass(frozen=True, slots=True)
class SiteRow:
    """The site at one pace: what the server does, and how long a batch takes to a worker and back again."""

    batches_per_s: float
    connections: int
    commands_per_s: float
    cores: float
    peak_mb: float
    to_worker_p50_ms: float
    to_worker_p99_ms: float
    answered_p50_ms: float
    answered_p99_ms: float
    unanswered: int


@dataclass(frozen=True, slots=True)
class Seen:
    """The server at one moment, counters since its start."""

    at_s: float
    cpu_s: float
    commands: int
    connections: int
    peak: int


def cpu_s(server: psutil.Process) -> float:
    """Seconds of CPU it has used."""
    times = server.cpu_times()
    return float(times.user + times.system)


def ms(waits: Sequence[float], share: float) -> float:
    """The quantile ``share`` of ``waits`` in ms."""
    return round(1e3 * sorted(waits)[int(share * (len(waits) - 1))], 2) if waits else 0.0


async def measure(load: Load, seconds: float) -> Row:
    """One load for ``seconds`` against a fresh server."""
    with EmbeddedBroker() as broker, Redis.from_url(broker.url) as redis:
        assert broker.pid is not None  # noqa: S101 - it has just started
        server = psutil.Process(broker.pid)
        before, started = cpu_s(server), time.monotonic()
        book = await carry(load, broker.url, seconds)
        took, spent = time.monotonic() - started, cpu_s(server) - before
        peak = int(redis.info("memory")["used_memory_peak"])
    batches = len(book.answered)
    cpu_us = 1e6 * spent / batches
    return Row(
        load.name, round(batches / took, 1), round(batches * load.windows / took, 1),
        round(batches * book.claim_bytes / took / 1e6, 1), round(cpu_us, 1), ms(book.answered, 0.5),
        ms(book.answered, 0.99), round(peak / 1e6, 1), round(1e6 / cpu_us),
    )  # fmt: skip


async def measure_site(whole: Site, paces: Sequence[float], seconds: float) -> list[SiteRow]:
    """The site for ``seconds`` at each of ``paces``, against a fresh server."""
    with EmbeddedBroker() as broker, Redis.from_url(broker.url) as redis:
        assert broker.pid is not None  # noqa: S101 - it has just started
        server = psutil.Process(broker.pid)
        seen: list[Seen] = []

        def look() -> None:
            info = redis.info()
            seen.append(Seen(time.monotonic(), cpu_s(server), info["total_commands_processed"],
                             info["connected_clients"], info["used_memory_peak"]))  # fmt: skip

        books = await site.run(whole, broker.url, paces, seconds, look)
    return [_site_row(*row) for row in zip(books, seen[::2], seen[1::2], strict=True)]


def _site_row(book: Book, before: Seen, after: Seen) -> SiteRow:
    took = after.at_s - before.at_s
    return SiteRow(
        round(len(book.answered) / took, 1), after.connections, round((after.commands - before.commands) / took),
        round((after.cpu_s - before.cpu_s) / took, 3), round(after.peak / 1e6, 1), ms(book.taken_in, 0.5),
        ms(book.taken_in, 0.99), ms(book.answered, 0.5), ms(book.answered, 0.99), len(book.sent),
    )  # fmt: skip


HEAD = (
    "load", "batches/s", "windows/s", "MB/s in", "CPU us/batch", "p50 ms", "p99 ms", "peak MB", "batches/s per core",
)  # fmt: skip
SITE_HEAD = (
    "batches/s", "connections", "commands/s", "broker cores", "peak MB", "to a worker p50 ms", "p99 ms",
    "answered p50 ms", "p99 ms", "unanswered",
)  # fmt: skip


def table(rows: Sequence[Row | SiteRow], head: Sequence[str]) -> str:
    """The rows as Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    cells = [[c if isinstance(c, str) else f"{c:,}" for c in asdict(row).values()] for row in rows]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in cells)])


def write(rows: Sequence[Row], sites: Sequence[SiteRow], page: Path = PAGE) -> None:
    """Put the tables into docs/scale.md."""
    text = page.read_text(encoding="utf-8")
    cpu_us = next(r.cpu_us for r in rows if r.load == PLANNED)
    for name, content in (("plan", plan.table(cpu_us)), ("load", table(rows, HEAD)), ("site", table(sites, SITE_HEAD))):
        head, end = f"<!-- {name}: written by make bench-broker -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(head)
        text = before + head + "\n" + content + "\n\n" + end + rest.partition(end)[2]
    page.write_text(text, encoding="utf-8")


def main() -> None:
    """Measure, print the table, and a last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="per load [10]")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scale.md")
    args = parser.parse_args()
    logging.getLogger("lineside_gateway.fleet").setLevel(logging.ERROR)  # who leads is no news here
    rows = []
    for load in RUNS:
        rows.append(asyncio.run(measure(load, args.seconds)))
        print(f"{load.name}: {rows[-1].batches_per_s:,} batches/s", flush=True)
    print("a site of 100 hosts: its connections are made", flush=True)
    sites = asyncio.run(measure_site(Site(), SITE_PACES, args.seconds))
    print(table(rows, HEAD))
    print(table(sites, SITE_HEAD))
    if args.write:
        write(rows, sites)
    text = json.dumps({"rows": [asdict(r) for r in rows], "site": [asdict(s) for s in sites]})
    if args.json:
        args.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
