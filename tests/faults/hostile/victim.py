"""A well-behaved client in a process of its own: reads every 20 ms, tells p99 and count at each line on stdin."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time

from asyncua import Client


async def main(endpoint: str) -> None:
    """Read until stdin closes."""
    took: list[float] = []
    async with Client(endpoint, timeout=60, watchdog_intervall=600) as client:
        node = client.get_node("i=2258")

        async def read() -> None:
            while True:
                began = time.perf_counter()
                await node.read_value()
                took.append(time.perf_counter() - began)
                await asyncio.sleep(0.02)

        reading = asyncio.create_task(read())
        say({"ready": True})
        while await asyncio.to_thread(sys.stdin.readline):
            if reading.done():
                reading.result()
            ranked = sorted(took)
            took.clear()
            say({"reads": len(ranked), "p99_ms": ranked[int(len(ranked) * 0.99)] * 1000 if ranked else None})
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading


def say(line: dict[str, object]) -> None:
    """One JSON line."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


asyncio.run(main(sys.argv[1]))
