from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery

from lineside_gateway.dispatch import CeleryDispatcher, EmbeddedBroker
from lineside_plugins import WindowBatch
from lineside_plugins.wire import Status

TELLS = ["task-received", "task-started", "task-succeeded"]


@contextmanager
def watched(url: str) -> Iterator[dict[str, list[str]]]:
    """What Flower does: ask the workers for events, and listen; yields the types of events by task id."""
    seen: dict[str, list[str]] = defaultdict(list)

    def note(event: dict[str, Any]) -> None:
        seen[event["uuid"]].append(event["type"])

    app = Celery(broker=url, set_as_current=False)
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers=dict.fromkeys(TELLS, note))
        listening = threading.Thread(target=lambda: receiver.capture(limit=None, timeout=None, wakeup=False))
        listening.start()
        try:
            assert app.control.enable_events(reply=True, timeout=10, limit=1), "no worker answers"
            yield seen
        finally:
            receiver.should_stop = True
            listening.join()
            app.control.disable_events(reply=True, timeout=10, limit=1)
            app.close()


async def test_celerys_events_tell_whoever_asks_of_each_request(
    broker: EmbeddedBroker, start_worker: Callable[..., object], make_batch: Callable[..., WindowBatch]
) -> None:
    """A watcher such as Flower sees each request come and succeed; before and after it all is answered as well."""
    start_worker()

    async def ask(times: int) -> None:
        for _ in range(times):
            result = await dispatcher.submit(make_batch(0.9), "tiny", datetime.now(UTC) + timedelta(seconds=20))
            assert result.status is Status.ANSWERED, result.error

    async with CeleryDispatcher("gw", broker.url) as dispatcher:
        await ask(2)
        watching = watched(broker.url)
        seen = await asyncio.to_thread(watching.__enter__)
        try:
            await ask(3)
            until = time.monotonic() + 20
            while [sorted(kinds) for kinds in seen.values()] != [sorted(TELLS)] * 3:
                assert time.monotonic() < until, dict(seen)
                await asyncio.sleep(0.05)
        finally:
            await asyncio.to_thread(watching.__exit__, None, None, None)
        await ask(2)
        assert len(seen) == 3
