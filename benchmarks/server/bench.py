"""``make bench-server``: what a subscribed write costs the hosted server, beside asyncua's and node-opcua's.

10,000 nodes, 1,000 writes a second, three clients that monitor every node. CPU is that of the whole server process
over the run less what it uses idle with the same subscriptions, so encoding and sending are in it. Servers take turns,
a fresh process each time. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NODE_OPCUA = "node-opcua@2.186.4"
NODE_FOLDER = ROOT / ".bench" / "node-opcua"
INTERVAL_MS = 100.0
TIMEOUT_S = 180


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=1_000.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    kinds = ["hosted", "asyncua"]
    reason = set_up_node_opcua()
    if reason:
        print(f"node-opcua is left out: {reason}")
    else:
        kinds.append("node-opcua")
    rounds: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for number in range(options.rounds):
        for kind in kinds:
            figures = one_round(kind, options)
            rounds[kind].append(figures)
            print(f"round {number + 1} {kind}: {figures['us_per_write']:.1f} us/write, "
                  f"p99 {figures['p99_ms']:.0f} ms, received {figures['received']:.0f}", flush=True)  # fmt: skip
    report(rounds)
    return 0


def report(rounds: dict[str, list[dict[str, float]]]) -> None:
    """The table and the JSON line; ratios are medians over rounds of one server's figure by the other's."""
    print("\n| server | us of CPU per write (median, rounds) | p50 ms | p99 ms | p99 / publishing interval |")
    print("|---|---|---|---|---|")
    for kind, rows in rounds.items():
        cost = [r["us_per_write"] for r in rows]
        p99 = median(r["p99_ms"] for r in rows)
        print(f"| {kind} | {median(cost):.1f} ({', '.join(f'{c:.1f}' for c in cost)}) "
              f"| {median(r['p50_ms'] for r in rows):.0f} | {p99:.0f} | {p99 / INTERVAL_MS:.2f} |")  # fmt: skip
    ours = rounds["hosted"]

    def ratio(kind: str) -> float | None:
        if kind not in rounds:
            return None
        pairs = zip(rounds[kind], ours, strict=True)
        return round(median(t["us_per_write"] / o["us_per_write"] for t, o in pairs), 2)

    print("\ncost_vs_* is their CPU per write by ours, in the same round: above 1 ours is cheaper.")
    print(json.dumps({
        "p99_vs_interval": round(median(r["p99_ms"] for r in ours) / INTERVAL_MS, 3),
        "cost_vs_asyncua": ratio("asyncua"),
        "cost_vs_node_opcua": ratio("node-opcua"),
    }))  # fmt: skip


def one_round(kind: str, options: argparse.Namespace) -> dict[str, float]:
    """Start server and clients, write, stop both."""
    host = start(host_command(kind, options))
    try:
        where = json.loads(line_of(host))
        watch = start([sys.executable, str(HERE / "watch.py"), where["endpoint"], "--namespace",
                       str(where["namespace"]), "--nodes", str(options.nodes), "--interval-ms",
                       str(INTERVAL_MS)])  # fmt: skip
        try:
            line_of(watch)
            tell(host)
            cost = json.loads(line_of(host))
            tell(watch)
            return {**cost, **json.loads(line_of(watch))}
        finally:
            stop(watch)
    finally:
        tell(host)
        stop(host)


def host_command(kind: str, options: argparse.Namespace) -> list[str]:
    """Command line of the server process."""
    idle = max(2.0, options.seconds / 3)
    if kind == "node-opcua":
        numbers = (options.nodes, options.rate, options.seconds, idle)
        return ["node", str(HERE / "node_opcua_host.js"), *map(str, numbers)]
    return [sys.executable, str(HERE / "host.py"), kind, "--nodes", str(options.nodes), "--rate", str(options.rate),
            "--seconds", str(options.seconds), "--idle", str(idle)]  # fmt: skip


def start(command: list[str]) -> subprocess.Popen[str]:
    """A child that speaks in lines."""
    environment = {**os.environ, "NODE_PATH": str(NODE_FOLDER / "node_modules")}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)  # noqa: S603


def line_of(child: subprocess.Popen[Any]) -> str:
    """The next JSON or ``ready`` line; libraries' own chatter is skipped."""
    assert child.stdout is not None  # noqa: S101 - opened with a pipe
    for line in child.stdout:
        if line.startswith("{") or line.strip() == "ready":
            return str(line)
    raise SystemExit(f"{child.args} ended with {child.wait()} before it had said anything")


def tell(child: subprocess.Popen[str]) -> None:
    """Let the child go on."""
    if child.poll() is None and child.stdin is not None:
        child.stdin.write("\n")
        child.stdin.flush()


def stop(child: subprocess.Popen[str]) -> None:
    """Wait for the child to end by itself, then end it."""
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def set_up_node_opcua() -> str:
    """Install node-opcua into ``.bench/`` once; why it cannot be used, or "" where it can."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not installed"
    if (NODE_FOLDER / "node_modules" / "node-opcua").is_dir():
        return ""
    NODE_FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"installing {NODE_OPCUA} into {NODE_FOLDER.relative_to(ROOT)} (once)", flush=True)
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(NODE_FOLDER), NODE_OPCUA]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return "" if done.returncode == 0 else f"npm install {NODE_OPCUA} failed: {done.stderr.strip()[-200:]}"


if __name__ == "__main__":
    sys.exit(main())
