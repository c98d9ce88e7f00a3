"""One server under test in a process of its own: ``hosted`` (ours) or ``asyncua`` (its ``write_attribute_value``).

Prints its endpoint as JSON, waits for a line on stdin, measures its idle CPU, writes, and prints what that cost.
The address space and the values are the same for both; only the internals and the call that writes differ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from asyncua import Server, ua

from lineside_gateway.hosting import Access, Rights, hosting_server
from lineside_gateway.hosting.address_space import HostedAddressSpace, NodeValue

FOLDER_OF = 100  # nodes per folder; asyncua looks at all siblings when it adds one
Write = Callable[[Sequence[NodeValue]], Awaitable[None]]


async def build(kind: str, nodes: int) -> tuple[Server, list[ua.NodeId]]:
    """A server with ``nodes`` Double Variables, listening on a free port of the loopback."""
    if kind == "hosted":
        server = hosting_server(Access(), Rights())
        await server.init()
    else:
        server = Server()
        await server.init()
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    server.set_endpoint("opc.tcp://127.0.0.1:0/bench")
    index = await server.register_namespace("urn:lineside:bench")
    ids = []
    for i in range(nodes):
        if i % FOLDER_OF == 0:
            folder = await server.nodes.objects.add_object(index, f"folder{i // FOLDER_OF}")
        node_id = ua.NodeId(f"v{i}", index)
        await folder.add_variable(node_id, f"v{i}", 0.0, ua.VariantType.Double)
        ids.append(node_id)
    await server.start()
    return server, ids


def writer(server: Server) -> Write:
    """The call under test."""
    space = server.iserver.aspace
    if isinstance(space, HostedAddressSpace):

        async def batch(values: Sequence[NodeValue]) -> None:
            space.set_values(values)

        return batch

    async def one_by_one(values: Sequence[NodeValue]) -> None:
        for node_id, value in values:
            await server.write_attribute_value(node_id, value)

    return one_by_one


async def write_steadily(write: Write, ids: Sequence[ua.NodeId], rate: float, seconds: float) -> int:
    """Write ``rate`` values a second in ticks of 10 ms; how many were written."""
    per_tick, done, started = max(1, round(rate / 100)), 0, time.monotonic()
    while time.monotonic() - started < seconds:
        now = datetime.now(UTC)
        values = []
        for k in range(per_tick):
            variant = ua.Variant(float(done + k + 1), ua.VariantType.Double)
            value = ua.DataValue(variant, SourceTimestamp=now, ServerTimestamp=now)
            values.append((ids[(done + k) % len(ids)], value))
        await write(values)
        done += per_tick
        await asyncio.sleep(max(0.0, started + done / rate - time.monotonic()))
    return done


async def measure(options: argparse.Namespace) -> None:
    """Serve until the run is over."""
    server, ids = await build(options.kind, options.nodes)
    try:
        say({"endpoint": f"opc.tcp://127.0.0.1:{server.bserver.port}/bench", "namespace": ids[0].NamespaceIndex})
        await asyncio.to_thread(sys.stdin.readline)
        cpu = time.process_time()
        await asyncio.sleep(options.idle)
        idle = (time.process_time() - cpu) / options.idle
        cpu, wall = time.process_time(), time.monotonic()
        written = await write_steadily(writer(server), ids, options.rate, options.seconds)
        await asyncio.sleep(0.5)  # what was written last is published, too
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        say({"written": written, "us_per_write": (cpu - idle * wall) / written * 1e6, "idle_share": idle})
        await asyncio.to_thread(sys.stdin.readline)
    finally:
        await server.stop()


def say(line: dict[str, object]) -> None:
    """One JSON line for the driver."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["hosted", "asyncua"])
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--idle", type=float, required=True)
    asyncio.run(measure(parser.parse_args()))
