"""Injected faults, seen by a real OPC UA client: one plant with all of them, recorded once, judged fault by fault."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from asyncua import Client, ua

from lineside_plant import PLANT_EPOCH
from lineside_plant.servers.errors import FaultSpecError
from lineside_plant.servers.faults import FaultSpec, parse_fault

FAULTS = (
    "bad:A1:VibRms:60:120",
    "uncertain:A1:SpindleTemp:60:120",
    "frozen:A1:SpindlePower:60:120",
    "lost:A2:VibRms,share=0.4",
    "late:A2:SpindleTemp,delay_s=20,share=0.5",
    "clock_skew:B1,skew_s=-45",
    "restart:C1:*:300:310",
    "late_nodes:C2:Vib*:0:60",
)
SPAN_S = 180


@dataclass
class Seen:
    """What a client saw of the faulty plant."""

    values: dict[tuple[str, str], list[ua.DataValue]] = field(default_factory=dict)
    c2_early: list[str] = field(default_factory=list)
    c2_late: list[str] = field(default_factory=list)
    c1_down: bool = False
    c1_namespaces: list[list[str]] = field(default_factory=list)
    c1_old_nodeid: int = 0
    c1_value: ua.DataValue | None = None
    restart_client_alive: bool = True

    def of(self, machine: str, tag: str) -> list[ua.DataValue]:
        """Samples of a tag, its state from before the run left out."""
        first = PLANT_EPOCH - timedelta(minutes=1)
        waiting = ua.StatusCodes.BadWaitingForInitialData
        samples = [v for v in self.values[machine, tag] if v.StatusCode.value != waiting]
        assert all(v.SourceTimestamp > first for v in samples)
        return samples


@asynccontextmanager
async def watching(plant, seen: Seen, machine: str, *tags: str) -> AsyncIterator[None]:
    """Record ``tags`` while the body runs; a new timestamp alone counts as a change."""

    class Handler:
        def datachange_notification(self, node, _value, data) -> None:
            key = (machine, node.nodeid.Identifier.split(".")[1])
            seen.values.setdefault(key, []).append(data.monitored_item.Value)

    async with plant.connect(machine) as plc:
        subscription = await plc.client.create_subscription(20, Handler())
        requests = []
        for handle, tag in enumerate(tags, start=1):
            request = ua.MonitoredItemCreateRequest(MonitoringMode=ua.MonitoringMode.Reporting)
            request.ItemToMonitor = ua.ReadValueId(NodeId=plc.tag(tag).nodeid, AttributeId=ua.AttributeIds.Value)
            request.RequestedParameters.ClientHandle = handle
            request.RequestedParameters.QueueSize = 1000
            request.RequestedParameters.Filter = ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.StatusValueTimestamp)
            requests.append(request)
        await subscription.create_monitored_items(requests)
        yield
        await plant.settled(lambda: sum(map(len, seen.values.values())))


async def names_of(plant, machine: str) -> list[str]:
    async with plant.connect(machine) as plc:
        return [(await node.read_browse_name()).Name for node in await plc.node(machine).get_children()]


async def restart_of(plant, seen: Seen, by_s: float) -> None:
    """Connect to C1 before, during and after its restart."""
    async with plant.connect("C1") as plc:
        old = plc.tag("VibRms").nodeid
        seen.c1_namespaces.append(await plc.client.get_namespace_array())
    await plant.advance(by_s)
    with pytest.raises(ConnectionRefusedError):
        async with Client(plant.endpoints["C1"]):
            pass
    seen.c1_down = True
    await plant.advance(60)
    async with plant.connect("C1") as plc:
        seen.c1_namespaces.append(await plc.client.get_namespace_array())
        seen.c1_old_nodeid = (
            await plc.client.get_node(old).read_data_value(raise_on_bad_status=False)
        ).StatusCode.value
        seen.c1_value = await plc.tag("VibRms").read_data_value()


async def observe(plant) -> Seen:
    seen = Seen()
    seen.c2_early = await names_of(plant, "C2")
    async with (
        watching(plant, seen, "A1", "VibRms", "SpindleTemp", "SpindlePower", "VibKurtosis"),
        watching(plant, seen, "A2", "VibRms", "SpindleTemp"),
        watching(plant, seen, "B1", "VibRms", "PlantTime"),
    ):
        await plant.advance(SPAN_S)
    seen.c2_late = await names_of(plant, "C2")
    await restart_of(plant, seen, 305 - SPAN_S)
    return seen


@pytest.fixture(scope="module")
def seen(serve_plant) -> Seen:
    injected = [argument for fault in FAULTS for argument in ("--inject", fault)]
    return asyncio.run(observe(serve_plant("--lockstep", "--start-h", "1", *injected)))


def ages(samples: list[ua.DataValue]) -> list[float]:
    """Seconds since serving began, by SourceTimestamp."""
    return [(v.SourceTimestamp - PLANT_EPOCH).total_seconds() - 3600.0 for v in samples]


def test_a_bad_sensor_shows_bad_status_without_a_value(seen):
    """BadSensorFailure and no value within the span of the fault, Good outside; other tags are untouched."""
    for value, age in zip(seen.of("A1", "VibRms"), ages(seen.of("A1", "VibRms")), strict=True):
        inside = 60 <= age < 120
        assert value.StatusCode.value == (ua.StatusCodes.BadSensorFailure if inside else ua.StatusCodes.Good)
        assert (value.Value.Value is None) == inside
    assert len(seen.of("A1", "VibRms")) == SPAN_S
    assert all(value.StatusCode.is_good() for value in seen.of("A1", "VibKurtosis"))


def test_an_uncertain_sensor_keeps_its_value(seen):
    """UncertainSensorNotAccurate with a value within the span of the fault."""
    samples = seen.of("A1", "SpindleTemp")
    uncertain = [v for v in samples if v.StatusCode.value == ua.StatusCodes.UncertainSensorNotAccurate]
    assert ages(uncertain) == list(range(60, 120))
    assert all(isinstance(value.Value.Value, float) for value in uncertain)


def test_a_frozen_value_stands_still_while_time_goes_on(seen):
    """Within the span the value is the last one before it, Good, with a new timestamp every second."""
    samples = seen.of("A1", "SpindlePower")
    frozen = [v.Value.Value for v, age in zip(samples, ages(samples), strict=True) if 59 <= age < 120]
    assert len(frozen) == 61
    assert len(set(frozen)) == 1
    assert len({v.Value.Value for v in samples}) > 100
    assert all(v.StatusCode.is_good() for v in samples)


def test_lost_samples_leave_gaps(seen):
    """About the configured share of samples is missing, the rest comes in order."""
    came = ages(seen.of("A2", "VibRms"))
    assert came == sorted(came)
    assert 0.25 < 1 - len(came) / SPAN_S < 0.55


def test_late_samples_come_after_younger_ones(seen):
    """Late samples arrive out of order, each once, with the timestamp of their measurement."""
    came = ages(seen.of("A2", "SpindleTemp"))
    assert came != sorted(came)
    assert len(set(came)) == len(came)
    assert set(range(1, SPAN_S - 20)) <= set(came)


def test_a_skewed_clock_moves_timestamps_and_plant_time(seen):
    """Every SourceTimestamp and PlantTime of the PLC is 45 s behind."""
    assert ages(seen.of("B1", "VibRms")) == [second - 45 for second in range(1, SPAN_S + 1)]
    for value in seen.of("B1", "PlantTime"):
        assert value.SourceTimestamp == PLANT_EPOCH + timedelta(seconds=value.Value.Value)


def test_late_nodes_are_missing_at_first(seen):
    """The nodes are not there when the client first browses, and are there, with values, later."""
    assert not [name for name in seen.c2_early if name.startswith("Vib")]
    assert {"VibRms", "VibKurtosis"} <= set(seen.c2_late)
    assert set(seen.c2_early) < set(seen.c2_late)


def test_a_restarted_server_has_other_namespace_indices(seen):
    """After the restart the namespaces stand in another order: old NodeIds are unknown, new ones show live values."""
    before, after = seen.c1_namespaces
    assert seen.c1_down
    assert sorted(before) == sorted(after)
    assert before.index("urn:refplant:plc:C1") != after.index("urn:refplant:plc:C1")
    assert seen.c1_old_nodeid == ua.StatusCodes.BadNodeIdUnknown
    assert ages([seen.c1_value]) == [365.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bad:Z9", "machine 'Z9' in 'bad:Z9' is unknown; machines: A1, A2, B1, C1, C2"),
        ("melt:A1", "fault kind 'melt' in 'melt:A1' is unknown; kinds: bad, uncertain, frozen, late, lost"),
        ("late:A1,delay=3", "option 'delay' in 'late:A1,delay=3' is unknown; options of late: delay_s, share"),
        ("bad:A1:VibRms:90:60", "has no proper span"),
        ("bad:A1:VibRms:x:60", "holds no number where one is due"),
        ("lost:A1,share", "holds no number where one is due"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_what_could(text, message):
    """The message names the argument and what is valid."""
    with pytest.raises(FaultSpecError, match=re.escape(message)):
        parse_fault(text)


def test_a_fault_argument_has_defaults():
    """Without tag and span a fault is about all tags and lasts for good."""
    assert parse_fault("lost:A1") == FaultSpec("lost", "A1", "*", 0.0, float("inf"), {})
    assert parse_fault("late:C2:Vib*:5:9,delay_s=2") == FaultSpec("late", "C2", "Vib*", 5.0, 9.0, {"delay_s": 2.0})
