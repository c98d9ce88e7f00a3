"""The PLC servers, seen by a real OPC UA client."""

from __future__ import annotations

import io
import math
from datetime import UTC, datetime, timedelta

import pytest
from asyncua import ua
from PIL import Image

from lineside_plant import MACHINES, PLANT_EPOCH, TagType, tags_of

DOUBLE, BOOLEAN, STRING = ua.VariantType.Double, ua.VariantType.Boolean, ua.VariantType.String


class Recorder:
    """Subscription handler that keeps every data change."""

    def __init__(self) -> None:
        self.values: dict[str, list[ua.DataValue]] = {}

    def datachange_notification(self, node, _value, data) -> None:
        tag = node.nodeid.Identifier.split(".")[1]
        self.values.setdefault(tag, []).append(data.monitored_item.Value)


async def record(plant, machine: str, tags: tuple[str, ...], by_s: float) -> dict[str, list[ua.DataValue]]:
    """Data changes of ``tags`` while the plant advances by ``by_s``, without the initial values."""
    async with plant.connect(machine) as plc:
        recorder = Recorder()
        subscription = await plc.client.create_subscription(20, recorder)
        await subscription.subscribe_data_change([plc.tag(tag) for tag in tags], queuesize=10_000)
        await plant.settled(lambda: len(recorder.values), least=len(tags))
        initial = {tag: len(values) for tag, values in recorder.values.items()}
        end_s = await plant.advance(by_s)
        marker = plc.tag("PlantTime")
        assert await marker.read_value() == math.floor(end_s)
        await plant.settled(lambda: sum(map(len, recorder.values.values())))
        return {tag: values[initial[tag] :] for tag, values in recorder.values.items()}


@pytest.mark.parametrize("machine", MACHINES)
async def test_a_plc_shows_exactly_its_tags_below_its_machine(lockstep_plant, machine):
    """Browsing Objects/<machine> by name finds every tag of the catalogue with its data type and access."""
    async with lockstep_plant.connect(machine) as plc:
        folder = await plc.client.nodes.objects.get_child(f"{plc.index}:{machine}")
        shown = {(await node.read_browse_name()).Name: node for node in await folder.get_children()}
        assert list(shown) == [tag.name for tag in tags_of(machine)]
        for tag in tags_of(machine):
            node = shown[tag.name]
            assert node.nodeid == ua.NodeId(f"{machine}.{tag.name}", plc.index)
            name = tag.data_type.removesuffix("[]")
            assert (await node.read_data_type()).Identifier == getattr(ua.ObjectIds, name)
            access = await node.get_access_level()
            assert (ua.AccessLevel.CurrentWrite in access) == tag.writable


async def test_measured_tags_carry_unit_and_range(lockstep_plant):
    """EngineeringUnits and EURange stand on every analog tag, with the UNECE code as UnitId."""
    async with lockstep_plant.connect("A1") as plc:
        for tag in tags_of("A1"):
            if tag.data_type is not TagType.DOUBLE:
                continue
            unit = await (await plc.tag(tag.name).get_child("0:EngineeringUnits")).read_value()
            span = await (await plc.tag(tag.name).get_child("0:EURange")).read_value()
            assert unit.DisplayName.Text == (tag.unit or "1")
            assert (span.Low, span.High) == (tag.low, tag.high)
        power = await (await plc.tag("SpindlePower").get_child("0:EngineeringUnits")).read_value()
        assert power.UnitId == int.from_bytes(b"KWT", "big")


async def test_every_second_is_written_in_order_with_plant_time(lockstep_plant):
    """A queued monitored item sees each 1 Hz sample; SourceTimestamp is plant time, ServerTimestamp wall time."""
    seen = await record(lockstep_plant, "A1", ("PlantTime", "VibRms", "Heartbeat"), 90)
    seconds = [value.Value.Value for value in seen["PlantTime"]]
    assert seconds == [seconds[0] + i for i in range(90)]
    assert len(seen["VibRms"]) == len(seen["Heartbeat"]) == 90
    for value in seen["PlantTime"]:
        assert value.SourceTimestamp == PLANT_EPOCH + timedelta(seconds=value.Value.Value)
        assert abs(value.ServerTimestamp - datetime.now(UTC)) < timedelta(minutes=5)


async def test_what_belongs_to_a_part_has_one_time(lockstep_plant):
    """Each SerialNo of the press comes with a ForceCurve of 256 values, a CycleTime and a PartCount of its time."""
    tags = ("SerialNo", "ForceCurve", "PartCount")
    seen = await record(lockstep_plant, "B1", tags, 1200)
    assert len(seen["SerialNo"]) > 5
    assert len({value.Value.Value for value in seen["SerialNo"]}) == len(seen["SerialNo"])
    times = [[value.SourceTimestamp for value in seen[tag]] for tag in tags]
    assert times[0] == times[1] == times[2]
    assert all(len(value.Value.Value) == 256 for value in seen["ForceCurve"])


async def test_the_surface_image_is_rendered_for_who_reads_it(lockstep_plant):
    """SurfaceImage, read or monitored, is a PNG of 128 x 128 grey pixels, new with each part."""
    await lockstep_plant.advance(900)
    async with lockstep_plant.connect("C1") as plc:
        read = await plc.read("SurfaceImage")
        assert read == await plc.read("SurfaceImage")
    seen = await record(lockstep_plant, "C1", ("SurfaceImage", "SerialNo"), 600)
    pictures = [value.Value.Value for value in seen["SurfaceImage"]]
    assert len(pictures) == len(seen["SerialNo"]) > 0
    for png in (read, *pictures):
        with Image.open(io.BytesIO(png)) as image:
            assert (image.format, image.size, image.mode) == ("PNG", (128, 128), "L")
    assert len(set(pictures)) == len(pictures)


async def test_a_set_point_is_clamped_and_reads_back_clamped(lockstep_plant):
    """SpeedOverride beyond its range is answered GoodClamped and reads back at the limit; the mill goes by it."""
    async with lockstep_plant.connect("A2") as plc:
        assert (await plc.write("SpeedOverride", 3.0, DOUBLE)).value == ua.StatusCodes.GoodClamped
        assert await plc.read("SpeedOverride") == 1.15
        await lockstep_plant.advance(5)
        assert await plc.read("SpeedOverride") == 1.15
        assert (await plc.write("SpeedOverride", 0.9, DOUBLE)).value == ua.StatusCodes.Good
        await lockstep_plant.advance(5)
        assert await plc.read("SpeedOverride") == 0.9
        assert (await plc.write("SpeedOverride", 1.0, DOUBLE)).value == ua.StatusCodes.Good


@pytest.mark.parametrize(
    ("tag", "value", "data_type", "status"),
    [
        ("SpeedOverride", math.nan, DOUBLE, ua.StatusCodes.BadOutOfRange),
        ("SpeedOverride", 1, ua.VariantType.Int64, ua.StatusCodes.BadTypeMismatch),
        ("SpeedOverride", [1.0], DOUBLE, ua.StatusCodes.BadTypeMismatch),
        ("RejectSerialNo", "x" * 200, STRING, ua.StatusCodes.BadOutOfRange),
        ("VibRms", 1.0, DOUBLE, ua.StatusCodes.BadUserAccessDenied),
        ("Nonsense", 1.0, DOUBLE, ua.StatusCodes.BadUserAccessDenied),
    ],
)
async def test_a_wrong_write_is_refused_and_changes_nothing(lockstep_plant, tag, value, data_type, status):
    """Type, range and access are checked before the PLC takes a value."""
    async with lockstep_plant.connect("A2") as plc:
        before = await plc.read("SpeedOverride")
        assert (await plc.write(tag, value, data_type)).value == status
        assert await plc.read("SpeedOverride") == before


async def test_a_client_may_not_change_the_address_space(lockstep_plant):
    """AddNodes is refused whoever asks."""
    async with lockstep_plant.connect("A2") as plc:
        with pytest.raises(ua.UaStatusCodeError):
            await plc.client.nodes.objects.add_object(plc.index, "Intruder")


async def test_a_maintenance_request_is_carried_out_and_falls_back(lockstep_plant):
    """MaintenanceRequest stands, cannot be withdrawn, is taken at the next boundary, counted, and falls back."""
    async with lockstep_plant.connect("C2") as plc:
        taken = await plc.read("MaintenanceTaken")
        for _ in range(40):  # a machine that is down already has no use for a request
            if await plc.read("State") < 4:
                break
            await lockstep_plant.advance(1800)
        assert (await plc.write("MaintenanceRequest", True, BOOLEAN)).is_good()
        assert (await plc.write("MaintenanceRequest", False, BOOLEAN)).value == ua.StatusCodes.BadInvalidState
        assert await plc.read("MaintenanceRequest") is True
    seen = await record(lockstep_plant, "C2", ("MaintenanceTaken", "State", "MaintenanceRequest"), 3 * 3600)
    assert [value.Value.Value for value in seen["MaintenanceTaken"]] == [taken + 1]
    begin = seen["MaintenanceTaken"][0].SourceTimestamp
    assert any(v.Value.Value == 6 and v.SourceTimestamp - begin < timedelta(seconds=2) for v in seen["State"])
    assert seen["MaintenanceRequest"][-1].Value.Value is False


async def test_a_part_in_the_line_is_rejected_and_a_part_that_left_is_refused(lockstep_plant):
    """The rising edge of RejectFlag rejects RejectSerialNo; the flag falls back, and the counters tell the outcome."""
    async with lockstep_plant.connect("A1") as plc:
        serial = ""
        for _ in range(100):
            await lockstep_plant.advance(600)
            if await plc.read("SerialNo") != serial and serial:
                break
            serial = await plc.read("SerialNo")
        serial = await plc.read("SerialNo")
        taken, refused = await plc.read("RejectsTaken"), await plc.read("RejectsRefused")
        for candidate in (serial, "A1-9999999"):
            assert (await plc.write("RejectSerialNo", candidate, STRING)).is_good()
            assert (await plc.write("RejectFlag", True, BOOLEAN)).is_good()
            assert await plc.read("RejectFlag") is True
        await lockstep_plant.advance(2)
        assert await plc.read("RejectFlag") is False
        assert await plc.read("RejectsTaken") == taken + 1
        assert await plc.read("RejectsRefused") == refused + 1
        assert await plc.read("LastRejectedSerialNo") == serial


async def test_a_flag_that_still_stands_makes_no_second_edge(lockstep_plant):
    """Writing RejectFlag twice for one serial number rejects once."""
    async with lockstep_plant.connect("B1") as plc:
        refused = await plc.read("RejectsRefused")
        await plc.write("RejectSerialNo", "A1-9999998", STRING)
        await plc.write("RejectFlag", True, BOOLEAN)
        await plc.write("RejectFlag", True, BOOLEAN)
        await lockstep_plant.advance(2)
        assert await plc.read("RejectsRefused") == refused + 1
