"""``python -m benchmarks.dispatch``: a table on standard output, its last line JSON. See ``--help``."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from collections.abc import Callable
from functools import partial

from rich.console import Console
from rich.table import Table

from benchmarks.dispatch.contestant import Contestant
from benchmarks.dispatch.contestants import Bare, Lineside, TaskPerRequest
from benchmarks.dispatch.environments import EnvironmentMissingError, python_of
from benchmarks.dispatch.measure import percentile_ms
from benchmarks.dispatch.model import WINDOWS
from benchmarks.dispatch.peers import HttpPeer, Server, as_bytes, as_json
from benchmarks.dispatch.rounds import IN_FLIGHT, Rounds

SPEED, CPU, SINGLES = "windows_per_s", "cpu_ms", "singles_per_s"
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
        out[peer] = partial(HttpPeer, python, server)
    return out, skipped


def paired(rounds: Rounds, name: str, figure: str) -> list[float]:
    """What Lineside's ``figure`` is beside that of ``name``, for each turn or round; empty where one was not run."""
    ours, its = rounds.seen.get("lineside"), rounds.seen.get(name)
    return [a / b for a, b in zip(getattr(ours, figure), getattr(its, figure), strict=True)] if ours and its else []


def summary(rounds: Rounds) -> dict[str, object]:
    """The last line: medians of the ratios of turns (``task_per_request``: of rounds); null where one was not run."""

    def ratio(name: str, figure: str) -> float | None:
        found = paired(rounds, name, figure)
        return round(statistics.median(found), 3) if found else None

    through = {peer: ratio(peer, SPEED) for peer in SERVERS}
    through["task_per_request"] = ratio("task_per_request", SINGLES)
    ours = rounds.seen.get("lineside")
    return {
        "cpu_vs_bare": ratio("bare", CPU),
        "throughput_vs": through,
        "cpu_vs": {peer: ratio(peer, CPU) for peer in SERVERS},
        "p99_ms": round(statistics.median(ours.open_p99_ms), 2) if ours else None,
    }


def table(rounds: Rounds) -> Table:
    """A line per contestant: medians over the turns, latencies of all batches, and Lineside beside it."""
    out = Table(box=None, caption="in brackets: the middle half of the turns", caption_justify="left")
    out.add_column("")
    for head in ("windows/s", "CPU ms/batch", "p50 ms", "p99 ms", "singles/s", "p50/p99 ms at 1,000/s",
                 "Lineside: throughput x", "CPU x"):  # fmt: skip
        out.add_column(head, justify="right")
    for name, seen in rounds.seen.items():
        middle = statistics.median
        out.add_row(
            name, f"{middle(seen.windows_per_s):,.0f}", f"{middle(seen.cpu_ms):.2f}",
            *(f"{percentile_ms(seen.latency_s, p):.2f}" for p in (50, 99)),
            f"{middle(seen.singles_per_s):,.0f}" if seen.singles_per_s else "",
            f"{middle(seen.open_p50_ms):.1f} / {middle(seen.open_p99_ms):.1f}" if seen.open_p99_ms else "",
            *("" if name == "lineside" else _spread(paired(rounds, name, figure)) for figure in (SPEED, CPU)),
        )  # fmt: skip
    return out


def _spread(ratios: list[float]) -> str:
    if len(ratios) < 2:
        return "".join(f"{r:.2f}" for r in ratios)
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


async def main(chosen: list[str], rounds: int, turns: int) -> int:
    """Run the rounds and print."""
    runnable, skipped = contestants(chosen)
    measured = Rounds(runnable)
    await measured.run(rounds, turns)
    print(f"batches of {WINDOWS} windows of 128x24, {IN_FLIGHT} in flight, {rounds} starts, {turns} turns after each")
    console = Console(width=160)
    console.print(table(measured))
    for name, why in (skipped | measured.skipped).items():
        console.print(f"{name}: skipped, {why}", markup=False)
    print(json.dumps(summary(measured)))
    return 0


if __name__ == "__main__":
    every = ["bare", "lineside", "task_per_request", *SERVERS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dispatch",
        description="The same model and batches through each way of dispatching; last line of the output is JSON.",
        epilog="example: python -m benchmarks.dispatch --only bare,lineside --rounds 5",
    )
    parser.add_argument("--only", default=",".join(every), help=f"of {','.join(every)} [all]")
    parser.add_argument("--rounds", type=int, default=3, help="how often all start anew [3]")
    parser.add_argument("--turns", type=int, default=8, help="turns of each after a start [8]")
    given = parser.parse_args()
    raise SystemExit(asyncio.run(main(given.only.split(","), given.rounds, given.turns)))
