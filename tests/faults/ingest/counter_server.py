"""An OPC UA server whose tags all count up together, with the faults and limits of old PLCs on request.

Run as a process: ``python counter_server.py '<options as JSON>'``. It prints "ready", then answers each line on stdin
with one line of JSON: ``stats``, ``level N`` (ServiceLevel), ``delete N S`` (the last N tags are gone for S seconds).
Each tick is a line "value time_us" in ``log``; a server started on the same log counts on from there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import ServiceError
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.server.monitored_item_service import MonitoredItemService
from asyncua.server.uaprocessor import UaProcessor

URI = "urn:lineside:test:counters"
OVERFLOW = 0x480


@dataclass
class Options:
    port: int
    log: str
    tags: int = 20
    period_s: float = 0.1
    certificate: str = ""
    key: str = ""
    before: list[str] = field(default_factory=list)
    """Namespaces registered before the tags' own."""
    absent: int = 0
    absent_s: float = 0.0
    """The last ``absent`` tags appear ``absent_s`` after the start."""
    most_items: int = 0
    most_bytes: int = 0
    no_filter: bool = False
    no_transfer: bool = False
    no_resume: bool = False
    no_subscription: bool = False
    service_level: int = 255
    busy_s: float = 0.0


class Counted(InternalServer):
    """Counts CreateSession, and refuses it while busy."""

    creates: list[float]
    busy_until = 0.0
    no_resume = False

    def create_session(self, name, user=None, external=False):
        self.creates.append(time.time())
        if time.monotonic() < self.busy_until:
            raise ServiceError(ua.StatusCodes.BadTooManySessions)
        return super().create_session(name, external=external)

    def lookup_external_session(self, auth_token):
        return None if self.no_resume else super().lookup_external_session(auth_token)


def set_limits(options: Options) -> None:
    """Give asyncua's server what it lacks: an overflow bit, and the limits asked for."""
    InternalSubscription._enqueue_event = enqueue_with_overflow_bit
    limit_items(options)
    if options.no_transfer:
        InternalSession.transfer_subscriptions = unsupported
    if options.no_subscription:
        InternalSession.create_subscription = unsupported
    if options.most_bytes:
        limit_messages(options.most_bytes)


async def enqueue_with_overflow_bit(self, mid, event, size, queue):
    """asyncua drops the oldest value of a full queue without saying so."""
    waiting = queue.setdefault(mid, [])
    waiting.append(event)
    if size and len(waiting) > size and isinstance(event, ua.MonitoredItemNotification):
        waiting.pop(0)
        value = replace(waiting[0].Value, StatusCode=ua.StatusCode(OVERFLOW))
        waiting[0] = ua.MonitoredItemNotification(waiting[0].ClientHandle, value)
    await self._trigger_publish()


async def unsupported(_self, *_args, **_more):
    """A service that this server does not have."""
    raise ServiceError(ua.StatusCodes.BadServiceUnsupported)


def limit_items(options: Options) -> None:
    """At most ``most_items`` items per request, and no filter where there is none."""
    create = InternalSession.create_monitored_items
    create_one = MonitoredItemService._create_data_change_monitored_item

    async def create_items(self, params):
        if options.most_items and len(params.ItemsToCreate) > options.most_items:
            raise ServiceError(ua.StatusCodes.BadTooManyOperations)
        return await create(self, params)

    async def create_item(self, params):
        if options.no_filter and isinstance(params.RequestedParameters.Filter, ua.DataChangeFilter):
            result = ua.MonitoredItemCreateResult()
            result.StatusCode = ua.StatusCode(ua.StatusCodes.BadMonitoredItemFilterUnsupported)
            return result
        return await create_one(self, params)

    InternalSession.create_monitored_items = create_items
    MonitoredItemService._create_data_change_monitored_item = create_item


def limit_messages(most_bytes: int) -> None:
    """No response beyond ``most_bytes``: publishes are cut into several, everything else is refused."""
    send = UaProcessor.send_response
    pop = InternalSubscription._pop_triggered_datachanges

    def send_small(self, handle, header, response, msgtype=ua.MessageType.SecureMessage):
        size = len(ua.ua_binary.struct_to_binary(response))
        if size > most_bytes:
            fault = ua.ServiceFault()
            fault.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadResponseTooLarge)
            response = fault
        send(self, handle, header, response, msgtype)

    def pop_some(self, result):
        now: dict[int, list[Any]] = {}
        for mid in list(self._triggered_datachanges)[: most_bytes // 80]:
            now[mid] = self._triggered_datachanges.pop(mid)
        rest, self._triggered_datachanges = self._triggered_datachanges, now
        pop(self, result)
        self._triggered_datachanges = rest

    UaProcessor.send_response = send_small
    InternalSubscription._pop_triggered_datachanges = pop_some


class CounterServer:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.iserver = Counted()
        self.iserver.creates = []
        self.iserver.no_resume = options.no_resume
        self.server = Server(iserver=self.iserver)
        self.log = Path(options.log)
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.value = int(lines[-1].split()[0]) if lines else 0
        self.nodes: list[Any] = []

    async def start(self) -> None:
        o = self.options
        set_limits(o)
        await self.server.init()
        self.server.set_endpoint(f"opc.tcp://127.0.0.1:{o.port}/")
        await self.server.set_application_uri("urn:lineside:test:server")
        if o.certificate:
            self.server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
            await self.server.load_certificate(o.certificate)
            await self.server.load_private_key(o.key)
        else:
            self.server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        if o.most_bytes:
            self.server.limits = TransportLimits(65535, 65535, o.most_bytes // 65535 + 1, o.most_bytes)
        for uri in o.before:
            await self.server.register_namespace(uri)
        self.ns = await self.server.register_namespace(URI)
        level = self.server.get_node(ua.NodeId(ua.ObjectIds.Server_ServiceLevel))
        await level.write_value(ua.Variant(o.service_level, ua.VariantType.Byte))
        self.root = await self.server.nodes.objects.add_object(ua.NodeId("M1", self.ns), f"{self.ns}:M1")
        await self.add(o.tags - o.absent)
        self.iserver.busy_until = time.monotonic() + o.busy_s
        await self.server.start()

    async def add(self, until: int) -> None:
        for k in range(len(self.nodes), until):
            self.nodes.append(
                await self.root.add_variable(
                    ua.NodeId(f"M1.T{k}", self.ns), f"{self.ns}:T{k}", self.value, ua.VariantType.Int64
                )
            )

    async def count(self) -> None:
        started = time.monotonic()
        with self.log.open("a") as log:
            while True:
                await asyncio.sleep(self.options.period_s)
                if self.options.absent and time.monotonic() - started > self.options.absent_s:
                    await self.add(self.options.tags)
                self.value += 1
                now = datetime.now(UTC)
                log.write(f"{self.value} {round(now.timestamp() * 1e6)}\n")
                log.flush()
                dv = ua.DataValue(
                    ua.Variant(self.value, ua.VariantType.Int64), SourceTimestamp=now, ServerTimestamp=now
                )
                for node in tuple(self.nodes):
                    await self.iserver.aspace.write_attribute_value(node.nodeid, ua.AttributeIds.Value, dv)

    async def obey(self, line: str) -> dict[str, Any]:
        word, *rest = line.split()
        if word == "level":
            level = self.server.get_node(ua.NodeId(ua.ObjectIds.Server_ServiceLevel))
            await level.write_value(ua.Variant(int(rest[0]), ua.VariantType.Byte))
        elif word == "delete":
            gone = [self.nodes.pop() for _ in range(int(rest[0]))]
            await self.server.delete_nodes(gone)
            self.options.absent, self.options.absent_s = 0, 0.0
            asyncio.get_running_loop().call_later(
                float(rest[1]), lambda: asyncio.ensure_future(self.add(self.options.tags))
            )
        service = self.iserver.subscription_service
        items = [len(s.monitored_item_srv._monitored_items) for s in service.subscriptions.values()]
        return {
            "sessions": len(self.iserver._external_sessions), "creates": self.iserver.creates,
            "subscriptions": len(service.subscriptions), "items": items, "value": self.value,
            "connections": len(self.iserver.asyncio_transports),
        }  # fmt: skip


async def main() -> None:
    server = CounterServer(Options(**json.loads(sys.argv[1])))
    await server.start()
    counting = asyncio.create_task(server.count())
    print("ready", flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().strip():
        print(json.dumps(await server.obey(line)), flush=True)
        if counting.done():
            counting.result()
    counting.cancel()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main())
