"""Ending a gateway, also one that does not hear the first time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from lineside_gateway.runtime import running
from lineside_gateway.runtime.running import run_as_main, run_until


class Deaf:
    """Swallows one cancellation, as a wait_for of Python 3.11 may."""

    ended = False

    async def run(self, ready: Callable[[], None]) -> None:
        ready()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


@pytest.mark.parametrize("by", ["stop", "cancel"])
async def test_a_swallowed_cancellation_is_asked_for_again(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to stop, or cancelled as asyncio.run does at Ctrl-C: the gateway ends either way."""
    monkeypatch.setattr(running, "CANCEL_AGAIN_S", 0.05)
    gateway: Any = Deaf()
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(run_until(gateway, stop, ready.set))
    await ready.wait()
    if by == "stop":
        stop.set()
    else:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 10)
    assert gateway.ended
    assert task.done()


async def test_the_main_program_ends_at_a_signal_and_spares_the_collector_what_is_loaded() -> None:
    """``run`` and ``demo`` alike: SIGTERM ends the gateway, and what it had loaded is looked through no more."""

    class Plain:
        async def run(self, ready: Callable[[], None]) -> None:
            ready()
            await asyncio.Event().wait()

    gateway: Any = Plain()
    before = gc.get_freeze_count()
    try:
        await run_as_main(gateway, asyncio.Event(), lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
