"""``train`` and ``evaluate``: recordings become models, and models are held against the plant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lineside_gateway import processes
from lineside_gateway.cli import panels
from lineside_gateway.cli.extras import require

_PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


FIRST_TRAINING_PLANT = 10_000  # PlantSpec seeds from here up are for training; trials draw theirs from 1 up


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel=panels.LEARN)(train)
    app.command(context_settings=_PASS_THROUGH, rich_help_panel=panels.LEARN)(evaluate)


def train(
    task: Annotated[str, typer.Argument(help="An installed task that learns: compensation, maintenance, reject.")],
    recordings: Annotated[
        Path, typer.Option(help="Folder of recordings; filled from simulated plants where it is empty.")
    ] = Path("var/recordings"),
    out: Annotated[
        Path | None, typer.Option(help="Where the model goes; default: the weights that ship with the task.")
    ] = None,
    plants: Annotated[int, typer.Option(min=6, help="Simulated plants to record, each with its own PlantSpec.")] = 30,
    hours: Annotated[float, typer.Option(min=100, help="Plant hours to record of each.")] = 504.0,
    seed: Annotated[int, typer.Option(help="Seed of plants, splits and initial weights.")] = 0,
) -> None:
    """Train TASK from seeds: record plants, fit network and trees, choose by validation plants, save the winner.

    [bold]Examples[/]

      lineside train maintenance

      lineside train reject --plants 12 --hours 300 --out var/models/reject
    """
    require("workers")
    if not any(recordings.glob("*/events.jsonl")):
        require("plant")
        first = str(FIRST_TRAINING_PLANT + seed)
        _run("lineside_plant", ["record", "--plants", str(plants), "--hours", str(hours), "--seed", first,
                                "--curve-every", "3", "--out", str(recordings)])  # fmt: skip
    args = ["train", task, "--recordings", str(recordings), "--seed", str(seed)]
    _run("lineside_workers", [*args, "--out", str(out)] if out else args)


def evaluate(context: typer.Context) -> None:
    """Paired closed-loop trials on plants no training saw; [dim]lineside evaluate --help[/] lists the options."""
    require("trials")
    _run("lineside_trials", context.args)


def _run(module: str, args: list[str]) -> None:
    code = processes.replace(module, args)
    if code:
        raise typer.Exit(code)
