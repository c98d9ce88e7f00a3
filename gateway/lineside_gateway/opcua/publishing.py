"""The stream of publish responses: sequence numbers checked, a hung publish loop cured."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

import numpy as np
from asyncua import ua

from lineside_gateway.opcua.standard import Client
from lineside_gateway.opcua.values import event_time_us
from lineside_gateway.opcua.wire import DataChanges, Published

LAST_SEQUENCE_NUMBER = 0xFFFF_FFFF
"""After it follows 1 (OPC UA Part 4, 7.23)."""
MAX_REPUBLISHED = 100
"""Messages asked for again after one gap; more were lost by a server that keeps none."""


MAX_HELD_BYTES = 64 << 20
"""Live values that wait while history is read: 40 s of 60,000 tags at 1 Hz."""
ITEM_BYTES, OBJECT_BYTES = 28, 500
"""A number with handle, timestamp and StatusCode; an object of asyncua around a value that is none."""


class SequenceNumbers:
    """Finds the messages that never came."""

    def __init__(self) -> None:
        self._expected = 0

    def check(self, number: int, *, has_data: bool) -> list[int]:
        """Numbers missing before ``number``, at most the newest ``MAX_REPUBLISHED``.

        A keep-alive carries the number that the next message will have (OPC UA Part 4, 5.14.1.1).
        """
        expected = self._expected or number
        self._expected = _next(number) if has_data else number
        missing: list[int] = []
        while expected != number and len(missing) <= MAX_REPUBLISHED:
            missing.append(expected)
            expected = _next(expected)
        # Numbers that do not reach ``number`` in that many steps tell of a new count, not of single losses.
        return missing if expected == number else [number]


def _next(number: int) -> int:
    return 1 if number == LAST_SEQUENCE_NUMBER else number + 1


async def restart_publishing(client: Client) -> None:
    """Start the publish loop anew.

    After a stall of the server asyncua's loop may wait for ever on a request that was sent before the channel was
    renewed. The answer to that request, should it still come, is lost to the loop; the sequence numbers tell, and the
    server is asked for the message again. The task has no public name; a test fails when another asyncua drops it.
    """
    session = client.uaclient.session
    task = session._publish_task  # noqa: SLF001  # see above
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    session.ensure_publish_loop()


class Hold:
    """Publish responses that wait, in order, while what lies before them is being read, up to ``most_bytes``.

    Nothing is thrown away when it is full: whoever let it wait has to release it then.
    """

    def __init__(self, most_bytes: int = MAX_HELD_BYTES) -> None:
        self.waiting: deque[Published] = deque()
        self.most_bytes = most_bytes
        self.when_full: Callable[[], None] | None = None
        """Called once with the response that fills it."""
        self._bytes = 0
        self._first_us = 0
        self._begun = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether no more should wait."""
        return self._bytes > self.most_bytes

    def add(self, result: Published) -> None:
        """Keep a response; the first one with values tells where live samples begin."""
        self.waiting.append(result)
        self._weigh(result)
        if self._begun.is_set():
            return
        for notification in result.notifications:
            if isinstance(notification, DataChanges) and len(notification):
                self._first_us = _newest_first_us(notification)
                self._begun.set()

    def _weigh(self, result: Published) -> None:
        was_full = self.full
        for notification in result.notifications:
            if isinstance(notification, DataChanges):
                self._bytes += ITEM_BYTES * len(notification) + sum(_bytes(dv) for _, dv in notification.others)
        if self.full and not was_full and self.when_full is not None:
            self.when_full()

    async def first_us(self) -> int:
        """Wait for the first value of each node: the newest of their SourceTimestamps in us since 1970 UTC, or 0.

        What a node first reports is its present value, which may have stood for long where it is reported on change.
        """
        await self._begun.wait()
        return self._first_us


def _bytes(dv: ua.DataValue) -> int:
    """About what an object holds beyond a number."""
    value = None if dv.Value is None else dv.Value.Value
    return OBJECT_BYTES + (
        ITEM_BYTES * len(value) if isinstance(value, list) else len(value) if isinstance(value, bytes | str) else 0
    )


def _newest_first_us(changes: DataChanges) -> int:
    """Newest among the first values of each node; 0 where none has a SourceTimestamp."""
    if not changes.newest_us and not changes.others:
        return 0
    times: list[int] = []
    if changes.newest_us:
        _, first = np.unique(changes.handle_array, return_index=True)
        times += [int(changes.times_us[first].max())]
    seen: set[int] = set()
    for handle, dv in changes.others:
        if dv.SourceTimestamp is not None and handle not in seen:
            seen.add(handle)
            times.append(event_time_us(dv))
    return max(times, default=0)
