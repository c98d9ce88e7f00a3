"""The ``lineside`` command line. Exit codes: 0 done, 1 a check or trial failed, 2 it could not go on."""

from __future__ import annotations

import inspect
import logging
import sys

import typer
from rich.console import Console
from rich.markup import escape

from lineside_gateway.cli import (
    fleet,
    importing,
    init,
    inspection,
    learning,
    models,
    oversight,
    parked,
    people,
    privacy,
    recorded,
    service,
    standing,
    trust,
)
from lineside_gateway.errors import LinesideError
from lineside_plugins.registry import TaskError

CANNOT_GO_ON = 2

app = typer.Typer(
    name="lineside",
    help="AI plugin for MES/SCADA gateways: OPC UA tags in, bounded and explained recommendations out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
service.register(app)
init.register(app)
inspection.register(app)
standing.register(app)
learning.register(app)
recorded.register(app)
importing.register(app)
models.register(app)
trust.register(app)
oversight.register(app)
people.register(app)
parked.register(app)
fleet.register(app)
privacy.register(app)


def _unwrapped(commands: typer.Typer) -> None:
    """Let each paragraph of the help run on as wide as the terminal is; the lines of the source are wider than some."""
    for command in commands.registered_commands:
        if command.callback is not None and command.help is None:
            paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
            command.help = "\n\n".join(p if p.startswith("  ") else " ".join(p.split("\n")) for p in paragraphs)
    for group in commands.registered_groups:
        if group.typer_instance is not None:
            _unwrapped(group.typer_instance)


_unwrapped(app)


def main() -> None:
    """Run it; an error that ends a command is one sentence on stderr and exit code 2."""
    for name in ("asyncua", "celery", "kombu", "amqp"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters of theirs is said in our words
    try:
        app()
    except (LinesideError, TaskError) as e:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(str(e))}", highlight=False)
        sys.exit(CANNOT_GO_ON)
