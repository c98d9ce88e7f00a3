"""The stream of publish responses: sequence numbers checked, a hung publish loop cured."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

import numpy as np

from lineside_gateway.opcua.standard import Client
from lineside_gateway.opcua.values import event_time_us
from lineside_gateway.opcua.wire import DataChanges, Published

LAST_SEQUENCE_NUMBER = 0xFFFF_FFFF
"""After it follows 1 (OPC UA Part 4, 7.23)."""
MAX_REPUBLISHED = 100
"""Messages asked for again after one gap; more were lost by a server that keeps none."""


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
    """Publish responses that wait, in order, while what lies before them is being read."""

    def __init__(self) -> None:
        self.waiting: deque[Published] = deque()
        self._first_us = 0
        self._begun = asyncio.Event()

    def add(self, result: Published) -> None:
        """Keep a response; the first one with values tells where live samples begin."""
        self.waiting.append(result)
        if self._begun.is_set():
            return
        for notification in result.notifications:
            if isinstance(notification, DataChanges) and len(notification):
                self._first_us = _newest_first_us(notification)
                self._begun.set()

    async def first_us(self) -> int:
        """Wait for the first value of each node: the newest of their SourceTimestamps in us since 1970 UTC, or 0.

        What a node first reports is its present value, which may have stood for long where it is reported on change.
        """
        await self._begun.wait()
        return self._first_us


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
