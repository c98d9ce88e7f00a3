"""Old and odd servers: tags are sampled as asked, polled where they are not monitored, and known limits are kept."""

from __future__ import annotations

import math

import numpy as np
from asyncua import ua

from lineside_gateway.opcua import client
from lineside_gateway.opcua.client import ServerLink
from lineside_gateway.opcua.connection import Limit, OperationLimits
from lineside_gateway.opcua.coverage import Coverage
from lineside_gateway.settings import ServerSettings
from tests.gateway.opcua.conftest import Recorder

LATER_S = 100_000_000
"""After the first values, which have the wall clock's time."""


async def test_a_deadband_leaves_small_changes_out_of_one_tag(bench):
    """An absolute deadband for tags that match; the others report every value."""
    plc = await bench.plc("A1", {"Vib": 0.0, "Temp": 0.0})
    sampling = {"Vi*": {"deadband": 0.5, "queue_size": 7, "sampling_interval_ms": 50}}
    link = ServerLink(bench.plan(plc.url, {"Vib": "Vib", "Temp": "Temp"}, sampling=sampling), bench.pki)
    bench.start(link.run(bench.sink))
    await bench.until(lambda: bench.sink.values("A1", "Vib") and bench.sink.values("A1", "Temp"))
    for k in range(1, 11):
        await plc.write("Vib", k / 10, at_s=k)
        await plc.write("Temp", k / 10, at_s=k)
    await bench.until(lambda: len(bench.sink.values("A1", "Temp")) == 11)
    assert len(bench.sink.values("A1", "Vib")) < 5


async def test_tags_beyond_what_a_server_monitors_are_polled(bench):
    """Of 6 tags 4 are monitored and 2 read in turn; each new SourceTimestamp is a sample once."""
    plc = await bench.plc("A1", {f"T{k}": 0.0 for k in range(6)})
    tags = {f"T{k}": f"T{k}" for k in range(6)}
    link = ServerLink(bench.plan(plc.url, tags, max_monitored_items=4, poll_interval_s=0.1), bench.pki)
    bench.start(link.run(bench.sink))
    await bench.until(lambda: all(bench.sink.values("A1", t) for t in tags))
    for k in range(3):
        for t in tags:
            await plc.write(t, float(k + 1), at_s=LATER_S + k)
        await bench.until(lambda k=k: all(bench.sink.values("A1", t)[-1] == k + 1.0 for t in tags))
    assert all(bench.sink.values("A1", t)[-3:] == [1.0, 2.0, 3.0] for t in tags)
    assert (link.status.tags, link.status.polled) == (6, 2)
    assert link.status.pending == {}


async def test_a_sensor_that_sends_nan_is_no_dead_subscription(bench, monkeypatch):
    """What is no sample has come all the same: audits that read NaN at the server leave the session alone."""
    audits = []

    async def counted(self: Coverage, own=Coverage.audit) -> None:
        await own(self)
        audits.append(self)

    class Finite(Recorder):
        def samples(self, indices, times_us, values, status):
            good = np.isfinite(values)
            super().samples(indices[good], times_us[good], values[good], None if status is None else status[good])

    monkeypatch.setattr(client, "AUDIT_S", 0.05)
    monkeypatch.setattr(Coverage, "audit", counted)
    plc, sink = await bench.plc("A1", {"Vib": 1.0}), Finite()
    link = bench.link(plc.url, "Vib", sink=sink)
    await bench.until(lambda: sink.values("A1", "Vib"))
    await plc.write("Vib", math.nan, at_s=LATER_S)
    seen = len(audits)
    await bench.until(lambda: len(audits) > seen + 4 or link.status.connects > 1)
    assert link.status.connects == 1
    assert sink.values("A1", "Vib") == [1.0]


async def test_the_better_of_two_endpoints_is_used(bench):
    """Of redundant servers the one in full service is connected, though it is the second; it takes over when lost."""
    first, second = await bench.plc("A1", {"Vib": 1.0}), await bench.plc("A1", {"Vib": 2.0})
    level = first.endpoint.server.get_node(ua.NodeId(ua.ObjectIds.Server_ServiceLevel))
    await level.write_value(ua.Variant(100, ua.VariantType.Byte))
    link = ServerLink(bench.plan(first.url, {"Vib": "Vib"}, alternates=[second.url]), bench.pki)
    bench.start(link.run(bench.sink))
    await bench.until(lambda: bench.sink.values("A1", "Vib") == [2.0])
    await second.stop()
    await bench.until(lambda: bench.sink.values("A1", "Vib")[-1] == 1.0, within_s=40)


def test_a_profile_sets_defaults_and_the_file_counts():
    """An S7-1200 gets small batches and slow publishing, except where the file says otherwise."""
    plain = {"name": "S", "url": "opc.tcp://10.0.0.1:4840", "profile": "s7-1200"}
    server = ServerSettings.model_validate(plain | {"batch_size": 50})
    assert (server.batch_size, server.max_monitored_items, server.publishing_interval_ms) == (50, 1000, 500.0)


def test_a_limit_that_was_found_is_kept_for_the_next_connection():
    """Batches stay at half of what was too much, whatever the server declares when it is connected again."""
    caps: dict[str, int] = {}
    first = OperationLimits(dict.fromkeys(Limit, 4000), caps)
    first.lower(Limit.MONITOR, 2500, "S")
    assert (first.monitor, first.read) == (1250, 4000)
    assert OperationLimits(dict.fromkeys(Limit, 4000), caps).monitor == 1250
