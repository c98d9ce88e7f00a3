"""``run``, ``worker``, ``broker``, ``plant`` and ``demo``: the processes of the line."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lineside_gateway import processes
from lineside_gateway.cli import panels
from lineside_gateway.cli.extras import require

_LOOK_EVERY_S = 0.5
_PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel=panels.RUN)(run)
    app.command(context_settings=_PASS_THROUGH, rich_help_panel=panels.RUN)(worker)
    app.command(rich_help_panel=panels.RUN)(broker)
    app.command(context_settings=_PASS_THROUGH, rich_help_panel=panels.RUN)(plant)
    app.command(rich_help_panel=panels.RUN)(demo)


def run(
    file: Annotated[Path, typer.Argument(help="Settings of the gateway (YAML).")],
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log every change of state, not only trouble.")
    ] = False,
) -> None:
    """Run the gateway until it is stopped (Ctrl-C, SIGTERM).

    Example: lineside run lineside.yaml
    """
    from lineside_gateway.runtime import Gateway  # noqa: PLC0415 - asyncua and Celery take a second to import
    from lineside_gateway.settings import load_settings  # noqa: PLC0415

    set_up_logging(verbose=verbose)
    gateway = Gateway(load_settings(file))
    console = Console(stderr=True)
    asyncio.run(_serve(gateway, console))


async def _serve(gateway: object, console: Console) -> None:
    from lineside_gateway.runtime.gateway import Gateway  # noqa: PLC0415
    from lineside_gateway.runtime.running import run_as_main  # noqa: PLC0415

    assert isinstance(gateway, Gateway)  # noqa: S101 - typed as object to keep the import lazy

    def ready() -> None:
        console.print(f"hosting {gateway.hosted.endpoint}", highlight=False)

    await run_as_main(gateway, asyncio.Event(), ready)


def worker(context: typer.Context) -> None:
    """Host task models on this machine's CPU or GPU; [dim]lineside worker --help[/] lists the options."""
    require("workers", ("celery",))  # a box of lineside[edge] has no torch
    raise typer.Exit(processes.replace("lineside_workers", ["serve", *context.args]))


def broker(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 6379,
    password_file: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="File that holds a password. Default: this machine's users come in."
        ),
    ] = None,
) -> None:
    """Run the Valkey server that comes with Lineside, on loopback and in memory: a broker for one box.

    [bold]Examples[/]

      lineside broker

      lineside broker --port 6380 --password-file broker.password
    """  # fmt: skip
    from lineside_gateway.dispatch import EmbeddedBroker  # noqa: PLC0415 - redis takes a moment to import

    password = "" if password_file is None else password_file.read_text(encoding="utf-8").strip()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with EmbeddedBroker(port, password) as server:
        where = f"redis://127.0.0.1:{server.port}/0"
        Console(stderr=True).print(f"broker at {where}, in memory, until Ctrl-C", highlight=False, soft_wrap=True)
        while not stop.wait(_LOOK_EVERY_S):
            server.check()


def plant(context: typer.Context) -> None:
    """Run the simulated plant behind OPC UA servers; [dim]lineside plant --help[/] lists the options."""
    require("plant")
    raise typer.Exit(processes.replace("lineside_plant", ["serve", *context.args]))


def demo(
    seconds: Annotated[
        float | None, typer.Option("--for", min=10, help="End after so many seconds. Default: run until Ctrl-C.")
    ] = None,
    enough: Annotated[
        bool, typer.Option("--enough", help="End as soon as a recommendation of every kind was acted on.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write what happened as JSON; the exit code tells whether every kind of recommendation was acted on."
        ),
    ] = None,
    speed: Annotated[float, typer.Option(min=1, max=600, help="Plant seconds per second.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Seed of the plant's random streams.")] = 29,
    port: Annotated[int, typer.Option(help="Port of the hosted OPC UA server; 0 takes a free one.")] = 4850,
    picture: Annotated[Path | None, typer.Option(help="Write the last table as SVG.")] = None,
) -> None:
    """Plant, broker, worker and gateway on loopback, watched in a live table.

    [bold]Examples[/]

      lineside demo

      lineside demo --for 90 --report report.json

      lineside demo --for 180 --enough --report report.json
    """  # fmt: skip
    require("plant")
    require("workers")
    from lineside_gateway.demo.run import DemoOptions, run_demo  # noqa: PLC0415

    set_up_logging(verbose=False)
    code = run_demo(DemoOptions(seconds, enough, report, speed, seed, port, picture))
    if code:
        raise typer.Exit(code)


def set_up_logging(*, verbose: bool) -> None:
    """Events as key=value on stderr."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
