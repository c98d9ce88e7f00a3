"""``python -m benchmarks.dispatch``: a table on standard output, its last line JSON. See ``--help``."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.dispatch.contestants import Bare, Contestant, Lineside, TaskPerRequest
from benchmarks.dispatch.environments import EnvironmentMissingError, python_of
from benchmarks.dispatch.measure import closed_loop, open_loop
from benchmarks.dispatch.model import WINDOWS
from benchmarks.dispatch.peers import HttpPeer, Server, as_bytes, as_json

IN_FLIGHT = 3
BATCHES, SINGLES = 240, 1500
SINGLES_IN_FLIGHT = 64
OPEN_PER_S, OPEN_S = 1000, 5
# Up to 64 requests run at once after a wait of 3 ms, as one would set it for single windows, and as Lineside's own
# batcher waits; and "tuned" to what is measured here: requests that are batches already, ``IN_FLIGHT`` of them.
FOR_ANY, TUNED = (64, 3), (IN_FLIGHT, 1)
SERVERS = {
    "ray": Server("ray", "ray_server.py", "/", as_bytes),
    "litserve": Server("litserve", "litserve_server.py", "/predict", as_json, FOR_ANY),
    "litserve_tuned": Server("litserve", "litserve_server.py", "/predict", as_json, TUNED),
    "mosec": Server("mosec", "mosec_server.py", "/inference", as_bytes, FOR_ANY),
    "mosec_tuned": Server("mosec", "mosec_server.py", "/inference", as_bytes, TUNED),
}


@dataclass(frozen=True, slots=True)
class Row:
    """What one round measured of one contestant."""

    windows_per_s: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float
    singles_per_s: float = 0.0
    open_p50_ms: float = 0.0
    open_p99_ms: float = 0.0


def contestants(chosen: list[str]) -> tuple[dict[str, Callable[[], Contestant]], dict[str, str]]:
    """What can be run by short name, and why the others cannot."""
    out: dict[str, Callable[[], Contestant]] = {"bare": Bare, "lineside": Lineside, "task_per_request": TaskPerRequest}
    out = {name: make for name, make in out.items() if name in chosen}
    skipped: dict[str, str] = {}
    for peer in [p for p in SERVERS if p in chosen]:
        server = SERVERS[peer]
        try:
            python = python_of(server.title)
        except EnvironmentMissingError as e:
            skipped[peer] = str(e)
            continue
        out[peer] = lambda p=python, s=server: HttpPeer(p, s)
    return out, skipped


async def run(contestant: Contestant, name: str) -> Row:
    """One round of one contestant."""
    try:
        await contestant.start()
        await closed_loop(contestant.batch, BATCHES // 4, IN_FLIGHT)
        batches = await closed_loop(contestant.batch, BATCHES, IN_FLIGHT, contestant.processes)
        row = Row(batches.per_s * WINDOWS, batches.cpu_s * 1e3, batches.latency_ms(50), batches.latency_ms(99))
        if name not in {"lineside", "task_per_request"}:
            return row
        await closed_loop(contestant.single, SINGLES // 8, SINGLES_IN_FLIGHT)
        singles = await closed_loop(contestant.single, SINGLES, SINGLES_IN_FLIGHT)
        if name == "task_per_request":  # cannot keep up with the open loop: its queue would only grow
            return Row(row.windows_per_s, row.cpu_ms, row.p50_ms, row.p99_ms, singles.per_s)
        paced = await open_loop(contestant.single, OPEN_PER_S, OPEN_S)
        return Row(
            row.windows_per_s, row.cpu_ms, row.p50_ms, row.p99_ms, singles.per_s,
            paced.latency_ms(50), paced.latency_ms(99),
        )  # fmt: skip
    finally:
        await contestant.stop()


def median(rows: list[Row]) -> Row:
    """Each figure's median over the rounds."""
    return Row(*(statistics.median(getattr(r, f) for r in rows) for f in Row.__slots__))


def summary(rows: dict[str, Row]) -> dict[str, object]:
    """The last line: Lineside against each of the others; null where one was not run."""
    ours = rows.get("lineside")

    def ratio(name: str, figure: Callable[[Row, Row], float]) -> float | None:
        return round(figure(ours, rows[name]), 3) if ours and name in rows else None

    through = {p: ratio(p, lambda us, it: us.windows_per_s / it.windows_per_s) for p in SERVERS}
    through["task_per_request"] = ratio("task_per_request", lambda us, it: us.singles_per_s / it.singles_per_s)
    return {
        "cpu_vs_bare": ratio("bare", lambda us, it: us.cpu_ms / it.cpu_ms),
        "throughput_vs": through,
        "cpu_vs": {p: ratio(p, lambda us, it: us.cpu_ms / it.cpu_ms) for p in SERVERS},
        "p99_ms": round(ours.open_p99_ms, 2) if ours else None,
    }


def table(rows: dict[str, Row]) -> str:
    """Medians, one line per contestant."""
    head = ("", "windows/s", "CPU ms/batch", "p50 ms", "p99 ms", "singles/s", "p50/p99 ms at 1,000/s")
    lines = [f"{head[0]:18}" + "".join(f"{h:>14}" for h in head[1:6]) + f"{head[6]:>24}"]
    for name, r in rows.items():
        figures = f"{r.windows_per_s:14,.0f}{r.cpu_ms:14.2f}{r.p50_ms:14.2f}{r.p99_ms:14.2f}"
        singles = f"{r.singles_per_s:14,.0f}" if r.singles_per_s else f"{'':14}"
        paced = f"{r.open_p50_ms:.1f} / {r.open_p99_ms:.1f}" if r.open_p99_ms else ""
        lines.append(f"{name:18}{figures}{singles}{paced:>24}")
    return "\n".join(lines)


async def main(chosen: list[str], rounds: int) -> int:
    """Run the rounds, contestants in turn within each, and print."""
    runnable, skipped = contestants(chosen)
    rows: dict[str, list[Row]] = defaultdict(list)
    for turn in range(rounds):
        for name, make in runnable.items():
            if name in skipped:
                continue
            try:
                row = await run(make(), name)
            except (RuntimeError, OSError, AssertionError) as e:
                if name in {"bare", "lineside"}:
                    raise
                skipped[name] = str(e)
                continue
            rows[name].append(row)
            print(f"round {turn + 1}/{rounds} {name}: {row.windows_per_s:,.0f} windows/s, "
                  f"{row.cpu_ms:.2f} ms CPU per batch", file=sys.stderr, flush=True)  # fmt: skip
    medians = {name: median(found) for name, found in rows.items()}
    print(f"batches of {WINDOWS} windows of 128x24, {IN_FLIGHT} in flight, medians of {rounds} interleaved rounds")
    print(table(medians))
    for name, why in skipped.items():
        print(f"{name}: skipped, {why}")
    print(json.dumps(summary(medians)))
    return 0


if __name__ == "__main__":
    every = ["bare", "lineside", "task_per_request", *SERVERS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dispatch",
        description="The same model and batches through each way of dispatching; last line of the output is JSON.",
        epilog="example: python -m benchmarks.dispatch --only bare,lineside --rounds 5",
    )
    parser.add_argument("--only", default=",".join(every), help=f"of {','.join(every)} [all]")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds [3]")
    given = parser.parse_args()
    raise SystemExit(asyncio.run(main(given.only.split(","), given.rounds)))
