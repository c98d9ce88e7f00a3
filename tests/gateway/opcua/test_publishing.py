"""Publishing over real connections: the plain path, exact integers, missing messages, bytes that are no OPC UA."""

from __future__ import annotations

import asyncio
import logging
import struct

from asyncua import ua

from lineside_gateway.opcua.wire import library
from lineside_gateway.opcua.wire.session import OUTSTANDING


async def test_an_unknown_asyncua_is_told_in_one_line_and_values_flow(bench, monkeypatch, caplog):
    """With an asyncua that is not known values come one by one through asyncua's own decoder, and the log says why."""
    monkeypatch.setattr(library, "KNOWN", "9.9.")
    library.tell.cache_clear()
    plc = await bench.plc("A1", {"Vib": 1.5, "State": 3, "On": True, "Text": "a"})
    with caplog.at_level(logging.WARNING):
        link = bench.link(plc.url, "Vib", "State", "On", "Text")
        await bench.until(lambda: ("A1", "Text") in bench.sink.others and len(bench.sink.numbers) == 3)
    assert [bench.sink.values("A1", t) for t in ("Vib", "State", "On")] == [[1.5], [3.0], [1.0]]
    await plc.write("Vib", 2.5, at_s=1, status=0x480)
    await bench.until(lambda: len(bench.sink.values("A1", "Vib")) == 2)
    assert bench.sink.numbers["A1", "Vib"][1][1:] == (2.5, 0x480)
    assert link.status.counters.overflows == 1
    told = [r.message for r in caplog.records if r.message.startswith("plain_path")]
    assert len(told) == 1
    assert "is not 9.9.*" in told[0]


async def test_requests_wait_at_the_server_and_messages_are_acknowledged(bench):
    """The server always has requests to answer, as many as allowed for, and keeps no message that has arrived."""
    plc = await bench.plc("A1", {"Vib": 0.0})
    bench.link(plc.url, "Vib")
    await bench.until(lambda: bench.sink.values("A1", "Vib"))
    for k in range(30):
        await plc.write("Vib", float(k + 1), at_s=k)
        await asyncio.sleep(0.02)
    await bench.until(lambda: len(bench.sink.values("A1", "Vib")) == 31)
    (connection,) = plc.endpoint.server.bserver.clients
    (subscription,) = plc.endpoint.server.iserver.subscription_service.subscriptions.values()
    waiting = connection.processor._publish_requests  # noqa: SLF001  # the server is looked at from inside
    await bench.until(lambda: len(waiting) == OUTSTANDING + 1)
    # What the last answer brought is acknowledged with the next answer's request.
    assert len(subscription._not_acknowledged_results) <= OUTSTANDING + 1  # noqa: SLF001  # see above


async def test_a_64_bit_integer_arrives_exactly(bench):
    """A serial number of 19 digits is the same number on the other side, beside its column."""
    plc = await bench.plc("A1", {"Vib": 0.0})
    serial = 9_007_199_254_740_993
    await plc.endpoint.add_variable(
        plc.root,
        ua.NodeId("A1.Serial", plc.ns),
        ua.Variant(serial, ua.VariantType.Int64),
        data_type=ua.NodeId(ua.VariantType.Int64.value),
    )
    bench.link(plc.url, "Serial")
    await bench.until(lambda: bench.sink.integers.get(("A1", "Serial")))
    time_us, value, status = bench.sink.numbers["A1", "Serial"][0]
    assert bench.sink.integers["A1", "Serial"] == [(time_us, serial)]
    assert (value, status) == (float(serial), 0)


async def test_a_message_that_is_no_opc_ua_is_counted_and_the_rest_flows(bench, monkeypatch):
    """Of a response whose notification is broken nothing is taken; it is counted, and the next one is taken."""
    plc = await bench.plc("A1", {"Vib": 0.0})
    link = bench.link(plc.url, "Vib")
    await bench.until(lambda: bench.sink.values("A1", "Vib"))
    (connection,) = plc.endpoint.server.bserver.clients
    write = connection.transport.write

    def tamper(data: bytes) -> None:
        place = data.find(b"\x01\x00\x2b\x03\x01")
        if place > 0:
            data = data[: place + 9] + struct.pack("<i", 7) + data[place + 13 :]  # seven items where one is
        write(data)

    monkeypatch.setattr(connection.transport, "write", tamper, raising=False)
    await plc.write("Vib", 1.0, at_s=1)
    await bench.until(lambda: link.status.counters.undecodable == 1)
    monkeypatch.undo()
    await plc.write("Vib", 2.0, at_s=2)
    await bench.until(lambda: bench.sink.values("A1", "Vib") == [0.0, 2.0])
    assert link.status.connects == 1


async def test_a_message_that_did_not_arrive_is_asked_for_again(bench, monkeypatch):
    """A response that goes astray shows as a gap in the sequence numbers, and its values come late by Republish."""
    plc = await bench.plc("A1", {"Vib": 0.0})
    link = bench.link(plc.url, "Vib")
    await bench.until(lambda: bench.sink.values("A1", "Vib"))
    (connection,) = plc.endpoint.server.bserver.clients
    write = connection.transport.write
    astray: list[int] = []

    def redirect(data: bytes) -> None:
        place = data.find(b"\x01\x00\x3d\x03")
        if b"\x01\x00\x2b\x03\x01" in data:
            data = data[: place + 28] + struct.pack("<I", 99) + data[place + 32 :]  # of a subscription never made
            astray.append(place)
        write(data)

    monkeypatch.setattr(connection.transport, "write", redirect, raising=False)
    await plc.write("Vib", 1.0, at_s=1)
    await bench.until(lambda: astray)
    monkeypatch.undo()
    await plc.write("Vib", 2.0, at_s=2)
    await bench.until(lambda: sorted(bench.sink.values("A1", "Vib")) == [0.0, 1.0, 2.0])
    counters = link.status.counters
    assert (counters.sequence_gaps, counters.republished, counters.undecodable) == (1, 1, 0)


async def test_a_server_that_breaks_the_protocol_is_disconnected(bench):
    """Noise in place of a chunk ends the connection, and the link connects again."""
    plc = await bench.plc("A1", {"Vib": 0.0})
    link = bench.link(plc.url, "Vib")
    await bench.until(lambda: bench.sink.values("A1", "Vib"))
    transports = [p.transport for p in plc.endpoint.server.bserver.clients]
    for transport in transports:
        transport.write(struct.pack("<4sI", b"MSGF", 1 << 30) + b"noise")
    await bench.until(lambda: link.status.connects + link.status.resumes == 2)
    await plc.write("Vib", 1.0, at_s=1)
    await bench.until(lambda: bench.sink.values("A1", "Vib")[-1] == 1.0)
