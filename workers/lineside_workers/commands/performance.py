"""``lineside models performance``: what versions were worth once labels arrived."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lineside_workers.commands.parsing import command, say


def add(models: Any) -> None:
    """Add the command to ``models``."""
    parser = command(
        models, "performance", "precision, recall and error of recorded recommendations, now that labels are there",
        _performance,
        ["lineside models performance var/recorded --labels var/labels.csv",
         "lineside models performance var/recorded --labels var/labels.csv --prometheus /var/lib/node/lineside.prom"],
        prog="lineside models performance",
    )  # fmt: skip
    parser.add_argument("recording", type=Path, help="folder that a gateway records to")
    parser.add_argument("--labels", type=Path, required=True, help="labels as 'lineside label' writes them")
    parser.add_argument("--prometheus", type=Path, help="also write gauges to this file, for a textfile collector")


def _performance(args: argparse.Namespace) -> None:
    from lineside_plugins import registry  # noqa: PLC0415 - each command imports what it needs
    from lineside_plugins.contract import DataType  # noqa: PLC0415
    from lineside_workers.recorded import labels, performance, reading  # noqa: PLC0415
    from lineside_workers.training import table  # noqa: PLC0415

    found = reading.read(args.recording, say)
    fields = {}
    for task in sorted({str(r.get("task")) for r in found.recommendations} & set(registry.installed())):
        outputs = registry.create(task).outputs()
        numbers = [f.name for f in outputs.fields if f.data_type is DataType.DOUBLE]
        fields[task] = outputs.flag, numbers[0] if numbers else ""
    worth = performance.measure(found, labels.read(args.labels), fields)
    say(table(performance.rows(worth)))
    if args.prometheus:
        performance.write_prometheus(args.prometheus, worth)
        say(f"gauges: {args.prometheus}")
