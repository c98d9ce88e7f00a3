"""Runs a gateway until it is told to stop, and says in one sentence why it could not go on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from lineside_gateway.errors import LinesideError
from lineside_gateway.runtime.gateway import Gateway
from lineside_plugins.memory import keep_what_is_loaded

CANCEL_AGAIN_S = 15.0


async def run_as_main(gateway: Gateway, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
    """``run_until`` for a process that is there for this gateway: SIGINT and SIGTERM set ``stop``.

    Once it listens, Python's collector looks no more through what is loaded by then.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def listening() -> None:
        keep_what_is_loaded()
        ready()

    await run_until(gateway, stop, listening)


async def run_until(gateway: Gateway, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
    """Run the gateway until ``stop`` is set or this is cancelled, then end it in order."""
    running = asyncio.create_task(gateway.run(ready), name="gateway")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    except BaseExceptionGroup as group:
        raise the_error(group) from group
    finally:
        stopping.cancel()
        await _end(running)


async def _end(running: asyncio.Task[None]) -> None:
    while not running.done():  # Python 3.11's wait_for, which asyncua uses, may swallow a cancellation: ask again
        running.cancel()
        await asyncio.wait({running}, timeout=CANCEL_AGAIN_S)
        if running.done() and not running.cancelled():
            running.result()


def the_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one sentence for the operator in what a task group raised, else the whole group."""
    told = group.subgroup(LinesideError)
    while isinstance(told, BaseExceptionGroup):
        told = told.exceptions[0]  # type: ignore[assignment]  # the loop ends at the error itself
    return told or group
