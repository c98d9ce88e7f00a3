"""The plant as a process: arguments in, six servers out, and a quick end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import json
import logging
import math
import os
import signal
import sys
import time

from lineside_plant.plant import Observe, Plant
from lineside_plant.policies import Policy, baseline_policy, external_policy, family_first_policy, oracle_policy
from lineside_plant.servers.endpoint import check_ports, free_ports
from lineside_plant.servers.errors import PlantServerError
from lineside_plant.servers.faults import KINDS, parse_fault
from lineside_plant.servers.interlocks import WATCHDOG_S
from lineside_plant.servers.mes import MES, kpis_json
from lineside_plant.servers.pace import Pace
from lineside_plant.servers.past import Past, observed_from_s, run_to
from lineside_plant.servers.site import Site
from lineside_plant.spec import MACHINES, PlantSpec

TICK_S = 0.1
"""Wall time between two steps of the plant in real time."""
PARENT_DIED_SIGNAL = 1  # PR_SET_PDEATHSIG, linux/prctl.h
POLICIES = {
    "external": external_policy,
    "baseline": baseline_policy,
    "family_first": family_first_policy,
    "oracle": oracle_policy,
}
EXAMPLES = """examples:
  lineside plant --speed 60 --seed 7
      a plant hour a minute, open to commands, A1 at opc.tcp://127.0.0.1:4841, MES at :4846
  lineside plant --speed 60 --start-h 60 --inject bad:A1:VibRms:600:900 --inject late:C2,delay_s=20
      machines 60 h old; a broken sensor from minute 10 to 15, and half of C2's samples 20 s late
  lineside plant --lockstep --port 0
      free ports; time moves only by the method Simulation.Advance of the MES
"""
_log = logging.getLogger("lineside_plant")


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``serve``."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=4841, help="port of A1; A2, B1, C1, C2 and the MES follow; 0 = any free ports (default %(default)s)")  # fmt: skip  # noqa: E501
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--speed", type=_positive, default=1.0, metavar="X", help="plant seconds per second (default 1)")
    pace.add_argument("--lockstep", action="store_true", help="time moves only by the MES's method Simulation.Advance")
    parser.add_argument("--seed", type=int, default=7, help="seed of everything that happens (default %(default)s)")
    parser.add_argument("--spec-seed", type=int, metavar="N", help="draw the plant's constants from this seed; without it the nominal plant")  # fmt: skip  # noqa: E501
    parser.add_argument("--policy", choices=POLICIES, default="external", help="who decides: commands from outside, or a rule (default %(default)s)")  # fmt: skip  # noqa: E501
    parser.add_argument("--start-h", type=_not_negative, default=0.0, metavar="H", help="run the plant to this hour before serving, so that machines are worn and their tags have a history")  # fmt: skip  # noqa: E501
    parser.add_argument("--hours", type=_positive, metavar="H", help="end after this many plant hours of serving; in lock-step time then stands still")  # fmt: skip  # noqa: E501
    parser.add_argument("--warmup-h", type=_not_negative, default=72.0, metavar="H", help="plant hours that the KPIs leave out (default 72)")  # fmt: skip  # noqa: E501
    parser.add_argument("--inject", action="append", default=[], metavar="FAULT", help=f"KIND:MACHINE[:TAG[:FROM:TO]][,option=value], may be repeated; kinds: {', '.join(KINDS)}; FROM and TO in plant seconds since serving began")  # fmt: skip  # noqa: E501
    parser.add_argument("--watchdog-s", type=_positive, default=WATCHDOG_S, metavar="S", help="wall time without the gateway's heartbeat after which a PLC is on its own (default %(default)s)")  # fmt: skip  # noqa: E501
    parser.add_argument(
        "--die-with-parent", action="store_true", help="end when the process that started this one ends"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal, the end of the run or the parent's end; the exit code."""
    _configure_log()
    try:
        asyncio.run(_serve(arguments))
    except PlantServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def build_plant(arguments: argparse.Namespace) -> tuple[Plant, Past]:
    """The plant the arguments describe, run to ``--start-h``, and what its servers remember of that time."""
    spec = PlantSpec() if arguments.spec_seed is None else PlantSpec.draw(arguments.spec_seed)
    policy: Policy = POLICIES[arguments.policy]()
    start_s = 3600.0 * arguments.start_h
    end_h = arguments.start_h + arguments.hours if arguments.hours else math.inf
    warmup_h = min(arguments.warmup_h, end_h)
    plant = Plant(
        spec,
        arguments.seed,
        policy,
        horizon_h=end_h,
        warmup_h=warmup_h,
        observe=Observe.FULL,
        observe_from_s=observed_from_s(start_s),
    )
    return plant, run_to(plant, start_s)


async def _serve(arguments: argparse.Namespace) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if arguments.die_with_parent:
        _die_with_parent()
    faults = [parse_fault(text) for text in arguments.inject]
    names = (*MACHINES, MES)
    ports = _ports(arguments.host, arguments.port, len(names))
    urls = {name: f"opc.tcp://{arguments.host}:{port}" for name, port in zip(names, ports, strict=True)}
    plant, past = build_plant(arguments)
    until_s = plant.now_s + 3600.0 * arguments.hours if arguments.hours else math.inf
    site = Site(
        plant,
        urls,
        lock_step=arguments.lockstep,
        faults=faults,
        until_s=until_s,
        past=past,
        watchdog_s=arguments.watchdog_s,
    )
    await _start_without_collector(site)
    try:
        print(json.dumps({"ready": True, "endpoints": urls}), flush=True)
        _log.info("serving plant=%s seed=%d policy=%s", plant.spec.name, plant.seed, arguments.policy)
        pace = "lockstep" if arguments.lockstep else f"speed={arguments.speed:g}"
        _log.info("running %s plant_time_s=%g", pace, plant.now_s)
        if arguments.lockstep:
            await _until(stopping, arguments.die_with_parent)
        else:
            await _run_by_wall_clock(site, arguments, stopping)
    finally:
        await site.stop()
    _log.info("stopped plant_time_s=%g kpis=%s", plant.now_s, kpis_json(plant.kpis()))


async def _start_without_collector(site: Site) -> None:
    """Start ``site`` and keep its address spaces out of the garbage collector.

    Some 40,000 nodes that live as long as the process: collecting among them doubles the start and stalls the loop.
    """
    gc.disable()
    try:
        await site.start()
    finally:
        gc.freeze()
        gc.enable()


async def _run_by_wall_clock(site: Site, arguments: argparse.Namespace, stopping: asyncio.Event) -> None:
    pace = Pace(arguments.speed, site.plant.now_s, time.monotonic())
    slow = False
    parent = os.getppid()
    while not stopping.is_set() and site.plant.now_s < site.until_s:
        before_s = time.monotonic()
        await site.advance(pace.target(before_s, site.plant.now_s))
        if pace.given_up_s and not slow:
            slow = True
            _log.warning("too slow for speed=%g; the plant runs as fast as it can", arguments.speed)
        if arguments.die_with_parent and os.getppid() != parent:
            return
        # A plant that cannot keep up still leaves its clients a tenth of the time.
        remaining_s = max(TICK_S - (time.monotonic() - before_s), TICK_S / 10)
        await _pause(stopping, remaining_s)


async def _until(stopping: asyncio.Event, with_parent: bool) -> None:
    parent = os.getppid()
    while not stopping.is_set() and not (with_parent and os.getppid() != parent):
        await _pause(stopping, 1.0)


async def _pause(stopping: asyncio.Event, at_most_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):
            await stopping.wait()


def _ports(host: str, first: int, count: int) -> list[int]:
    ports = list(range(first, first + count)) if first else free_ports(host, count)
    check_ports(host, ports)
    return ports


def _die_with_parent() -> None:
    """Ask Linux to send SIGTERM when the parent ends; elsewhere the loops watch the parent's id."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DIED_SIGNAL, signal.SIGTERM)


def _configure_log() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # asyncua logs every publish at INFO and refusals we raise ourselves at ERROR.
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text} is negative or not a number")
    return value
