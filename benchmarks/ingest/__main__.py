"""``make bench-ingest``: client CPU per value change, Lineside beside asyncua, node-opcua and the transport alone.

Every client gets the same publish responses from the same load generator, in turns, in a process of its own. CPU is
the client's own over its wall time, from the socket to where its user has the value; Lineside's includes the write
into the tag table. Medians over the rounds; on a busy machine trust the ratios. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NODE_OPCUA = "node-opcua@2.186.4"
NODE_FOLDER = ROOT / ".bench" / "node-opcua"
TIMEOUT_S = 90
KINDS = ("handler", "iterator", "lineside", "transport", "floor", "node-opcua")


@dataclass(frozen=True)
class Case:
    """One load: what is sent, and who takes it."""

    name: str
    what: str
    tags: int
    generator: tuple[str, ...] = ()
    client: tuple[str, ...] = ()
    kinds: tuple[str, ...] = KINDS


CASES = (
    Case("5000", "5,000 Doubles a publish", 5000),
    Case("1000", "1,000 Doubles a publish", 1000),
    Case("100", "100 Doubles a publish", 100),
    Case(
        "mixed", "5,000 of four types, a new layout in each", 5000, ("--mixed", "--variants", "96"), ("--mixed",),
        ("handler", "lineside", "transport", "node-opcua"),
    ),
    Case(
        "encrypted", "5,000 Doubles, SignAndEncrypt", 5000, ("--keys", "{keys}/server"), ("--keys", "{keys}"),
        ("handler", "lineside", "transport"),
    ),
)  # fmt: skip


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each client has its turn (default 3)")
    parser.add_argument("--seconds", type=float, default=1.5, help="measured time of one turn (default 1.5)")
    parser.add_argument("--only", default="", help="cases, comma-separated: " + ", ".join(c.name for c in CASES))
    options = parser.parse_args()
    cases = [c for c in CASES if not options.only or c.name in options.only.split(",")]
    kinds = list(KINDS)
    reason = set_up_node_opcua()
    if reason:
        print(f"node-opcua is left out: {reason}")
        kinds.remove("node-opcua")
    with tempfile.TemporaryDirectory() as keys:
        results = run(cases, kinds, options, keys)
    report(cases, results)
    return 0 if all(("lineside" in r) for r in results.values()) else 1


def run(cases: list[Case], kinds: list[str], options: argparse.Namespace, keys: str) -> dict[str, dict[str, Any]]:
    """Medians by case and client, interleaved over the rounds."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {c.name: defaultdict(list) for c in cases}
    generators = [start_generator(c, keys) for c in cases]
    try:
        urls = [url_of(g) for g in generators]
        for turn in range(options.rounds):
            for case, url in zip(cases, urls, strict=True):
                for kind in (k for k in case.kinds if k in kinds):
                    took = turn_of(kind, case, url, options.seconds, keys)
                    if took is not None:
                        found[case.name][kind].append(took)
                        print(
                            f"round {turn + 1}/{options.rounds}  {case.name:>9}  {kind:<10} {took['ns']:10.1f} ns",
                            flush=True,
                        )
    finally:
        for generator in generators:
            generator.terminate()
            generator.wait(timeout=20)
    return {
        name: {kind: {k: median(t[k] for t in turns) for k in turns[0]} for kind, turns in by_kind.items()}
        for name, by_kind in found.items()
    }


def environment() -> dict[str, str]:
    """One thread each, and this checkout's packages where they are not installed."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "NODE_PATH": str(NODE_FOLDER / "node_modules")}


def start_generator(case: Case, keys: str) -> subprocess.Popen[str]:
    """The load generator of one case."""
    command = [sys.executable, str(HERE / "generator.py"), *(a.format(keys=keys) for a in case.generator)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())


def url_of(generator: subprocess.Popen[str]) -> str:
    """Its endpoint, once it is ready."""
    for line in generator.stdout or ():
        if line.startswith("ready "):
            return line.split()[1]
    raise SystemExit("the load generator ended before it was ready; see above")


def turn_of(kind: str, case: Case, url: str, seconds: float, keys: str) -> dict[str, float] | None:
    """One turn of one client; None, and a line that says why, where it failed."""
    if kind == "node-opcua":
        command = ["node", str(HERE / "node_client.js"), url, str(case.tags), str(seconds)]
    else:
        command = [sys.executable, str(HERE / "clients.py"), kind, "--url", url, "--tags", str(case.tags)]
        command += ["--seconds", str(seconds), *(a.format(keys=keys) for a in case.client)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=environment()
        )
    except subprocess.TimeoutExpired:
        print(f"{case.name} {kind}: no answer within {TIMEOUT_S} s")
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        print(f"{case.name} {kind} failed: {done.stderr.strip()[-400:]}")
        return None
    took: dict[str, float] = json.loads(lines[-1])
    return took


def report(cases: list[Case], results: dict[str, dict[str, Any]]) -> None:
    """Print the table, then the JSON."""
    kinds = [k for k in KINDS if any(k in r for r in results.values())]
    print(f"\nns of client CPU per value\n{'':>44}" + "".join(f"{k:>12}" for k in kinds))
    for case in cases:
        row = "".join(
            f"{results[case.name][k]['ns']:12,.0f}" if k in results[case.name] else f"{'':>12}" for k in kinds
        )
        print(f"{case.name:>9}  {case.what:<33}{row}")
    settle = [r["lineside"]["settle_ns"] for r in results.values() if r.get("lineside", {}).get("settle_ns")]
    if settle:
        print(f"settling, which the windows ask for later, takes Lineside another {median(settle):.0f} ns per value")
    print("transport: asyncua's protocol, four requests outstanding, nothing decoded; floor: Lineside's own, likewise")
    print(json.dumps({
        "vs_asyncua_handler": ratios(results, "handler"),
        "vs_asyncua_iterator": ratios(results, "iterator"),
        "vs_node_opcua": ratios(results, "node-opcua"),
        "vs_transport": ratios(results, "transport", inverse=True),
        "vs_own_transport": ratios(results, "floor", inverse=True),
    }))  # fmt: skip


def ratios(results: dict[str, dict[str, Any]], peer: str, *, inverse: bool = False) -> dict[str, float]:
    """How many times Lineside's CPU the peer spends, or the inverse, by case."""
    found: dict[str, float] = {}
    for name, by_kind in results.items():
        if peer in by_kind and "lineside" in by_kind:
            ratio = by_kind[peer]["ns"] / by_kind["lineside"]["ns"]
            found[name] = round(1 / ratio if inverse else ratio, 2)
    return found


def set_up_node_opcua() -> str:
    """Install node-opcua into ``.bench/`` once; why it cannot be used, or "" where it can."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not installed"
    if (NODE_FOLDER / "node_modules" / "node-opcua").is_dir():
        return ""
    print(f"installing {NODE_OPCUA} into {NODE_FOLDER.relative_to(ROOT)}")
    NODE_FOLDER.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(NODE_FOLDER), NODE_OPCUA]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"npm install {NODE_OPCUA} failed: {done.stderr.strip()[-200:]}"


if __name__ == "__main__":
    sys.exit(main())
