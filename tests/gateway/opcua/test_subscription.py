"""Tags arrive as columns, in order, with their source's time; what cannot be had is listed while the rest flows."""

from __future__ import annotations

import numpy as np
import pytest
from asyncua import ua

from lineside_gateway.opcua.client import ServerLink
from lineside_gateway.opcua.session import LinkState
from lineside_gateway.opcua.values import number

START_US = 1_767_592_800_000_000  # 2026-01-05T06:00:00Z


async def test_numbers_arrive_in_order_with_source_time(bench):
    """Every write between two publishes is a sample, in order, at the time the source gave it."""
    plc = await bench.plc("A1", {"Vib": 0.0, "State": 1})
    link = bench.link(plc.url, "Vib", "State")
    await bench.until(lambda: bench.sink.values("A1", "Vib"))
    for k in range(50):
        await plc.write("Vib", float(k + 1), at_s=k / 10)
    await bench.until(lambda: len(bench.sink.values("A1", "Vib")) == 51)
    rows = bench.sink.numbers["A1", "Vib"][1:]
    assert [v for _, v, _ in rows] == [float(k + 1) for k in range(50)]
    assert [t for t, _, _ in rows] == [START_US + k * 100_000 for k in range(50)]
    assert link.status.counters.sequence_gaps == 0
    assert link.status.counters.overflows == 0


async def test_an_unchanged_value_with_a_new_time_is_a_sample(bench):
    """A machine that reports the same state each second gives one sample each second."""
    plc = await bench.plc("A1", {"State": 1})
    bench.link(plc.url, "State")
    await bench.until(lambda: bench.sink.values("A1", "State"))
    for k in range(5):
        await plc.write("State", 1, at_s=k)
    await bench.until(lambda: len(bench.sink.values("A1", "State")) == 6)


async def test_text_arrays_and_bytes_are_delivered_by_time(bench):
    """Two parts within one publish arrive as curve, serial, curve, serial: no curve meets another part."""
    plc = await bench.plc("A1", {"Serial": "", "Curve": [0.0, 0.0], "Image": b""})
    bench.link(plc.url, "Serial", "Curve", "Image")
    await bench.until(lambda: ("A1", "Serial") in bench.sink.others)
    bench.sink.order.clear()
    for k in range(2):
        await plc.write("Curve", [float(k), 2.5], at_s=10 + k)
        await plc.write("Serial", f"A1-{k}", at_s=10 + k)
    await plc.write("Image", b"\x89PNG", at_s=13)
    await bench.until(lambda: len(bench.sink.order) >= 5)
    assert bench.sink.order == ["Curve", "Serial", "Curve", "Serial", "Image"]
    _, curve, good = bench.sink.others["A1", "Curve"][-1]
    assert good
    assert curve.dtype == np.float32
    assert curve.tolist() == [1.0, 2.5]
    assert bench.sink.others["A1", "Image"][-1] == (START_US + 13_000_000, b"\x89PNG", True)


async def test_bad_status_and_overflow_are_kept_and_counted(bench):
    """The 32 bits of a StatusCode reach the sink, and the overflow bit is counted."""
    plc = await bench.plc("A1", {"Vib": 0.0})
    link = bench.link(plc.url, "Vib")
    await bench.until(lambda: bench.sink.values("A1", "Vib"))
    await plc.write("Vib", 1.0, at_s=1, status=ua.StatusCodes.BadSensorFailure)
    await plc.write("Vib", 2.0, at_s=2, status=0x480)
    await bench.until(lambda: len(bench.sink.values("A1", "Vib")) == 3)
    assert [s for _, _, s in bench.sink.numbers["A1", "Vib"][1:]] == [ua.StatusCodes.BadSensorFailure, 0x480]
    assert link.status.counters.overflows == 1


def test_a_value_of_the_wrong_type_is_no_number():
    """Text on a numeric tag becomes NaN with BadTypeMismatch; it never becomes a good number."""
    value, status = number(ua.DataValue(ua.Variant("12.5", ua.VariantType.String)))
    assert np.isnan(value)
    assert status == ua.StatusCodes.BadTypeMismatch
    assert number(ua.DataValue(ua.Variant(True, ua.VariantType.Boolean))) == (1.0, 0)


async def test_one_bad_node_id_among_good_ones(bench):
    """A NodeId that does not exist is listed with its cause; the others deliver; it joins when it appears."""
    plc = await bench.plc("A1", {"Vib": 3.0})
    tags = {"Vib": "Vib", "Late": f"nsu={plc.uri};s=A1.Late", "Other": "nsu=urn:nowhere;s=A1.X"}
    link = bench.link(plc.url, **tags)
    await bench.until(lambda: bench.sink.values("A1", "Vib") == [3.0])
    assert "BadNodeIdUnknown" in link.status.pending["A1", "Late"]
    assert "urn:nowhere" in link.status.pending["A1", "Other"]
    await plc.add("Late", 7.0)
    await bench.until(lambda: bench.sink.values("A1", "Late") == [7.0])
    assert set(link.status.pending) == {("A1", "Other")}
    assert bench.sink.values("A1", "Vib") == [3.0]


async def test_a_node_that_appears_late_is_found_by_browse_name(bench):
    """A tag of a PLC that is still booting is found when it appears, and the sink hears of it."""
    plc = await bench.plc("A1", {"Vib": 3.0})
    bench.link(plc.url, "Vib", "State")
    await bench.until(lambda: bench.sink.values("A1", "Vib"))
    assert "State" in bench.sink.found["S"][0].missing
    await plc.add("State", 2)
    await bench.until(lambda: bench.sink.values("A1", "State") == [2.0])
    assert "State" in bench.sink.found["S"][0].tags


async def test_more_items_than_the_server_takes_at_once(bench):
    """Items are created in batches no larger than batch_size and OperationLimits; all of them deliver."""
    plc = await bench.plc("A1", {f"T{k}": float(k) for k in range(25)})
    tags = {f"T{k}": f"T{k}" for k in range(25)}
    link = ServerLink(bench.plan(plc.url, tags, batch_size=7), bench.pki)
    bench.start(link.run(bench.sink))
    await bench.until(lambda: all(bench.sink.values("A1", f"T{k}") == [float(k)] for k in range(25)))


async def test_namespaces_reordered_by_a_restart(bench):
    """After a restart with other namespace indices the same tags arrive in the same columns."""
    plc = await bench.plc("A1", {"Vib": 1.0, "Text": "a"})
    tags = {"Vib": f"nsu={plc.uri};s=A1.Vib", "Text": "Text"}
    link = bench.link(plc.url, **tags)
    await bench.until(lambda: bench.sink.values("A1", "Vib"))
    first = link.tag("A1", "Vib")
    assert link.status.connects == 1
    await plc.stop()
    await bench.until(lambda: link.status.state is LinkState.LOST)
    assert not link.connected
    again = await bench.plc("A1", {"Vib": 2.0, "Text": "b"}, others=("urn:x", "urn:y"), port=plc.port)
    await bench.until(lambda: bench.sink.values("A1", "Vib")[-1] == 2.0)
    await bench.until(lambda: bench.sink.others["A1", "Text"][-1][1] == "b")
    second = link.tag("A1", "Vib")
    assert first.node_id.NamespaceIndex != second.node_id.NamespaceIndex
    assert first.address == second.address
    assert link.namespaces.index(again.uri) == again.ns
    assert bench.sink.losses == ["S"]
    assert len(bench.sink.columns) == 1


async def test_an_unreachable_server_is_waited_for(bench, new_recorder):
    """A server that is down at the start is waited for while another one delivers, and joins when it comes up."""
    port = bench.free_port()
    late, there = new_recorder(), new_recorder()
    absent = bench.link(f"opc.tcp://127.0.0.1:{port}", "Vib", sink=late)
    plc = await bench.plc("A1", {"Vib": 5.0})
    bench.link(plc.url, "Vib", sink=there)
    await bench.until(lambda: there.values("A1", "Vib"))
    assert absent.status.state is LinkState.WAITING
    assert "refuses the connection; start it or correct url" in absent.status.error
    await bench.plc("A1", {"Vib": 6.0}, port=port)
    await bench.until(lambda: late.values("A1", "Vib") == [6.0])
    assert absent.status.state is LinkState.CONNECTED
    assert absent.status.error == ""


async def test_the_watermark_is_the_newest_source_time(bench):
    """flush follows each response with the newest SourceTimestamp, and never goes back."""
    plc = await bench.plc("A1", {"Vib": 0.0})
    bench.link(plc.url, "Vib")
    await bench.until(lambda: bench.sink.values("A1", "Vib"))
    before = bench.sink.watermarks[-1]
    stamp = before / 1e6 - START_US / 1e6 + 100
    await plc.write("Vib", 1.0, at_s=stamp)
    await plc.write("Vib", 2.0, at_s=stamp - 50)
    await bench.until(lambda: len(bench.sink.values("A1", "Vib")) == 3)
    await bench.until(lambda: bench.sink.watermarks[-1] > before)
    assert bench.sink.watermarks == sorted(bench.sink.watermarks)
    assert bench.sink.watermarks[-1] == pytest.approx(before + 100_000_000, abs=2)
