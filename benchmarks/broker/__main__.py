"""Load one broker with simulated gateways and workers, and set what it does beside docs/scale.md's arithmetic.

``python -m benchmarks.broker [--seconds 10] [--json FILE] [--write]``. Gateways send claims and messages and read their
result streams as ``lineside_gateway.dispatch`` does; workers take messages, claims and attempts, and answer, as
``lineside_workers`` does, without Celery, models or windows: what is measured is the server. It runs in a process of
its own; its CPU seconds over the batches are what a batch costs it, whatever else the machine does. About a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from redis import Redis

from benchmarks.broker import plan
from benchmarks.broker.load import Load, carry
from lineside_gateway.dispatch import EmbeddedBroker

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
PLANNED = "batches of 32"  # the load that the plan is made of
WINDOW_BYTES = plan.SAMPLES * plan.TAGS_PER_MACHINE * plan.CELL_BYTES
RUNS = (
    Load("small windows", gateways=4, workers=4, windows=32, window_bytes=16 * 8 * 5),
    Load(PLANNED, gateways=4, workers=4, windows=32, window_bytes=WINDOW_BYTES),
    Load("single windows", gateways=4, workers=4, windows=1, window_bytes=WINDOW_BYTES),
    Load("many gateways", gateways=32, workers=32, windows=32, window_bytes=WINDOW_BYTES),
)
HEAD = (
    "load",
    "batches/s",
    "windows/s",
    "MB/s in",
    "CPU us/batch",
    "p50 ms",
    "p99 ms",
    "peak MB",
    "batches/s per core",
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


async def measure(load: Load, seconds: float) -> Row:
    """One load for ``seconds`` against a fresh server."""
    with EmbeddedBroker() as broker, Redis.from_url(broker.url) as redis:
        assert broker.pid is not None  # noqa: S101 - it has just started
        server = psutil.Process(broker.pid)
        before, started = server.cpu_times(), time.monotonic()
        done = await carry(load, broker.url, seconds)
        took, after = time.monotonic() - started, server.cpu_times()
        cpu_s = after.user + after.system - before.user - before.system
        peak = int(redis.info("memory")["used_memory_peak"])
    batches = len(done)
    waits = sorted(done)
    cpu_us = 1e6 * cpu_s / batches
    return Row(
        load.name, round(batches / took, 1), round(batches * load.windows / took, 1),
        round(batches * load.claim_bytes / took / 1e6, 1), round(cpu_us, 1), round(1e3 * waits[batches // 2], 2),
        round(1e3 * waits[int(0.99 * (batches - 1))], 2), round(peak / 1e6, 1), round(1e6 / cpu_us),
    )  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    cells = [[c if isinstance(c, str) else f"{c:,}" for c in asdict(row).values()] for row in rows]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in cells)])


def write(rows: Sequence[Row], page: Path = PAGE) -> None:
    """Put both tables into docs/scale.md."""
    text = page.read_text(encoding="utf-8")
    cpu_us = next(r.cpu_us for r in rows if r.load == PLANNED)
    for name, content in (("plan", plan.table(cpu_us)), ("load", table(rows))):
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
    rows = []
    for load in RUNS:
        rows.append(asyncio.run(measure(load, args.seconds)))
        print(f"{load.name}: {rows[-1].batches_per_s:,} batches/s", flush=True)
    print(table(rows))
    if args.write:
        write(rows)
    text = json.dumps({"rows": [asdict(r) for r in rows]})
    if args.json:
        args.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
