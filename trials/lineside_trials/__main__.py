"""``lineside evaluate``: paired closed-loop trials on plants no training saw."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from lineside_gateway.errors import LinesideError
from lineside_plant import PlantError
from lineside_plugins.registry import TaskError
from lineside_trials import summary
from lineside_trials.arms import KPIS, Arm, Replication
from lineside_trials.campaign import Campaign, run
from lineside_workers.errors import WorkerError

FIRST_PLANT = 1  # training draws its plants from 10000 up, so that no default meets it
CANNOT_GO_ON = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials the arguments ask for; returns the exit code."""
    args = _parse(arguments)
    console = Console()
    try:
        replications = _replications(args)
        started = time.monotonic()
        outcomes = run(Campaign(replications, args.settings, args.jobs, args.through_opcua), console)
    except (LinesideError, TaskError, WorkerError, PlantError) as e:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(str(e))}", highlight=False)
        return CANNOT_GO_ON
    console.print(*summary.tables(outcomes), sep="\n")
    plot = args.plot or (args.json.with_suffix(".png") if args.json else None)
    if plot:
        summary.plot(outcomes, plot)
        console.print(f"plot: {plot}")
    if args.json:
        report = {
            "replications": [
                {**asdict(r), "kpis": {arm.value: {k: o[arm][k] for k in KPIS} for arm in Arm}}
                for r, o in zip(replications, outcomes, strict=True)
            ],
            "kpis": summary.document(outcomes),
            "hours": args.hours,
            "through_opcua": args.through_opcua,
            "wall_s": round(time.monotonic() - started, 1),
        }
        args.json.write_text(json.dumps(report, indent=2))
        console.print(f"report: {args.json}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="lineside evaluate",
        description="Run the same plants with today's practice (P3), family-first EDD, Lineside and an oracle, and "
        "report each KPI with a 95 % interval and the share of the gap closed.",
        epilog="examples:\n  lineside evaluate --replications 8 --json report.json\n"
        "  lineside evaluate --plants 501,502,503 --replications 6\n"
        "  lineside evaluate --replications 1 --hours 6 --warmup 0 --through-opcua",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--replications", type=_positive, default=8, help="paired runs (default 8)")
    parser.add_argument("--plants", type=_seeds, help="PlantSpec seeds, used in turn (default: 1, 2, 3, ...)")
    parser.add_argument("--seed", type=int, default=0, help="first seed of the random streams (default 0)")
    parser.add_argument("--hours", type=float, default=672.0, help="plant hours of a run (default 672)")
    parser.add_argument("--warmup", type=float, default=72.0, help="first hours, which are not counted (default 72)")
    parser.add_argument("--low-gain", action="store_true", help="plants with short setups where little can be gained")
    parser.add_argument("--settings", type=Path, help="settings whose tasks are run (default: those of the demo)")
    parser.add_argument("--jobs", type=_positive, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--through-opcua", action="store_true", help="the Lineside arm reads and writes over OPC UA")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report here, and the plot beside it")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the plot here (PNG, SVG or PDF)")
    args = parser.parse_args(arguments)
    if not 0 <= args.warmup < args.hours:
        parser.error(f"--warmup is {args.warmup}; it must be at least 0 and below --hours, {args.hours}")
    return args


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


def _seeds(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _replications(args: argparse.Namespace) -> tuple[Replication, ...]:
    plants = args.plants or [FIRST_PLANT + i for i in range(args.replications)]
    return tuple(
        Replication(plants[i % len(plants)], args.seed + i, args.hours, args.warmup, args.low_gain)
        for i in range(args.replications)
    )


if __name__ == "__main__":
    sys.exit(main())
