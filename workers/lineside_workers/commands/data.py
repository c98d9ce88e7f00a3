"""``lineside data report`` and ``lineside label``: look at what was recorded, and say what happened."""

from __future__ import annotations

import argparse
from pathlib import Path

from lineside_workers.commands import question
from lineside_workers.commands.parsing import Commands, add_recording, command, say

FOUND_ERRORS = 1


def add(commands: Commands) -> None:
    """Add both commands."""
    data = command(commands, "data", "look at recordings", _report, ["lineside data report var/recorded"])
    below = data.add_subparsers(required=True, metavar="report")
    report = command(
        below, "report", "gaps, frozen and drifting sensors, units, outliers, label balance, leakage, as HTML", _report,
        ["lineside data report var/recorded",
         "lineside data report var/recorded --labels var/labels.csv --split split.json --out var/quality.html"],
        prog="lineside data report",
    )  # fmt: skip
    add_recording(report)
    report.add_argument("--labels", type=Path, help="labels as 'lineside label' writes them")
    report.add_argument("--split", type=Path, help="JSON with lists train, validation and test of units")
    report.add_argument("--out", type=Path, help="page to write [<recording>/quality.html]")
    label = command(
        commands, "label", "labels from events, operators' answers or a CSV, joined by machine and time", _label,
        ["lineside label var/recorded --out var/labels.csv",
         "lineside label var/recorded --kind failure,trip --horizon-h 12 --delay-h 2 --out var/labels.csv",
         "lineside label var/recorded --from answers --task condition --out var/answers.csv",
         "lineside label var/recorded --from inspection.csv --out var/labels.csv",
         "lineside label var/recorded --quantity hours-left --horizon-h 48 --out var/hours.csv",
         "lineside label var/recorded --kind inspection --quantity measured --horizon-h 1 --out var/deviation.csv"],
    )  # fmt: skip
    add_recording(label)
    label.add_argument("--out", type=Path, required=True, help="CSV: equipment_id,start,end,label,known_at,source")
    question.add(label)
    label.add_argument("--task", default="", help="only answers to this task's recommendations")


def _report(args: argparse.Namespace) -> int:
    from lineside_workers.recorded import (  # noqa: PLC0415
        labels,
        quality,
        reading,
        splitting,
    )
    from lineside_workers.reports import quality as page  # noqa: PLC0415

    found = reading.read(args.recording, say)
    rows = labels.read(args.labels) if args.labels else []
    split = splitting.read(args.split) if args.split else None
    facts, findings = quality.inspect(found, quality.expected_units(), rows, split)
    for f in findings:
        say(f"{f.severity.value}: {f.where}: {f.what}; {f.next_step}")
    errors = sum(f.severity is quality.Severity.ERROR for f in findings)
    out = page.write(args.out or args.recording / "quality.html", found, facts, findings, rows)
    say(f"{errors} errors, {len(findings) - errors} warnings; {out}")
    return FOUND_ERRORS if errors else 0


def _label(args: argparse.Namespace) -> None:
    from lineside_workers.recorded import labels, reading  # noqa: PLC0415 - each command imports what it needs

    found = reading.read(args.recording, say)
    rows = question.rows(args, found, args.task)
    labels.write(args.out, rows)
    machines = len({r.equipment_id for r in rows})
    values = sum(r.value is not None for r in rows)
    before = f"{labels.events(rows)} events" + (f", {values} values" if values else "")
    say(f"{args.out}: {len(rows)} stretches of {machines} machines, {before}")
