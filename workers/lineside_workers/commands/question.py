"""Which labels a command asks for: the options, the labels, and the options handed on to another command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lineside_workers.recorded.labels import Label
    from lineside_workers.recorded.reading import Recorded

QUANTITIES = ("hours-left", "measured")
EVENTS, ANSWERS = "events", "answers"


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--from", dest="source", default=EVENTS, help="events, answers, or a CSV file [events]")
    parser.add_argument("--kind", default="failure", help="kinds of events that are to be foreseen [failure]")
    parser.add_argument("--horizon-h", type=float, default=24.0, help="how far ahead they are to be foreseen, h [24]")
    parser.add_argument("--delay-h", type=float, default=0.0, help="how long after it happened it becomes known, h [0]")
    parser.add_argument("--quantity", choices=QUANTITIES, help="a value too, for heads regression and quantiles: "
                        "hours-left until the event, --horizon-h at most; what events of --kind measured")  # fmt: skip


def rows(args: argparse.Namespace, found: Recorded, task: str = "") -> list[Label]:
    """The labels asked for; of answers only those to recommendations of ``task``, '' for all.

    Raises:
        LabelError: There are none.
    """
    from lineside_workers.recorded import labels  # noqa: PLC0415 - each command imports what it needs

    if args.source == ANSWERS:
        return labels.from_answers(found, args.delay_h, task)
    if args.source != EVENTS:
        return labels.of_machines(labels.read(Path(args.source)), found)
    kinds = tuple(k.strip() for k in args.kind.split(",") if k.strip())
    question = labels.Question(kinds, args.horizon_h, args.delay_h)
    if args.quantity == "measured":
        return labels.measured(found, question)
    found_rows = labels.from_events(found, question)
    return labels.hours_left(found_rows, args.horizon_h) if args.quantity == "hours-left" else found_rows


def handed_on(args: argparse.Namespace) -> list[str]:
    """The same options for ``lineside label``."""
    said = ["--from", args.source, "--kind", args.kind, f"--horizon-h={args.horizon_h}", f"--delay-h={args.delay_h}"]
    return [*said, "--quantity", args.quantity] if args.quantity else said
