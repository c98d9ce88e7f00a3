"""The MES server: Job Control, events and the lock-step, seen by a real OPC UA client."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest
from asyncua import ua

from lineside_plant import PLANT_EPOCH, Observe, Plant, PlantSpec, external_policy

NO_ERROR, UNKNOWN_ORDER, INVALID_STATUS, NOT_ACCEPTED, INVALID_REQUEST = 1 << 0, 1 << 1, 1 << 3, 1 << 4, 1 << 32
NO_COMMENT = ua.Variant([], ua.VariantType.LocalizedText, is_array=True)


class JobControl:
    """What a MES client does: read the list, call the methods."""

    def __init__(self, mes) -> None:
        self.mes = mes

    async def load(self) -> JobControl:
        await self.mes.client.load_data_type_definitions()
        self.standard = await self.mes.client.get_namespace_index("http://opcfoundation.org/UA/ISA95-JOBCONTROL_V2/")
        self.receiver = await self.mes.client.nodes.objects.get_child(f"{self.mes.index}:JobOrderReceiver")
        return self

    async def orders(self, state: str = "") -> dict[str, object]:
        node = await self.receiver.get_child(f"{self.standard}:JobOrderList")
        rows = await node.read_value()
        return {r.JobOrder.JobOrderID: r.JobOrder for r in rows if state in ("", r.State[0].StateText.Text)}

    async def call(self, method: str, *arguments) -> int:
        return await self.receiver.call_method(f"{self.standard}:{method}", *arguments)

    async def update(self, order_id: str, priority: int, mill: str | None) -> int:
        mills = [ua.ISA95EquipmentDataType(ID=mill)] if mill else []
        order = ua.ISA95JobOrderDataType(JobOrderID=order_id, Priority=ua.Int16(priority), EquipmentRequirements=mills)
        return await self.call("Update", order, NO_COMMENT)

    async def counter(self, name: str) -> int:
        return await self.mes.node(f"JobOrderReceiver.{name}").read_value()


async def collect_events(plant, server, act, emitter=ua.ObjectIds.Server) -> list:
    """Plant events of ``emitter`` on ``server`` while ``act`` runs."""
    events = []

    class Handler:
        def event_notification(self, event) -> None:
            events.append(event)

    subscription = await server.client.create_subscription(20, Handler())
    await subscription.subscribe_events(emitter, server.node("PlantEventType"), queuesize=1000)
    await act()
    await plant.settled(lambda: len(events))
    return events


async def test_the_list_holds_the_pool_as_standard_structures(lockstep_plant):
    """JobOrderList holds running and waiting orders with family, quantity, release, due time and state."""
    async with lockstep_plant.connect("MES") as mes:
        control = await JobControl(mes).load()
        waiting, running = await control.orders("AllowedToStart"), await control.orders("Running")
        assert len(waiting) >= 12
        assert all(order.EquipmentRequirements[0].ID in ("A1", "A2") for order in running.values())
        for order in waiting.values():
            assert order.WorkMasterID[0].ID in ("F0", "F1", "F2", "F3")
            quantity = next(p.Value.Value for p in order.JobOrderParameters if p.ID == "Quantity")
            assert 60 <= quantity <= 179
            assert PLANT_EPOCH <= order.StartTime < order.EndTime
            assert order.Priority >= 0


async def test_an_update_chooses_what_a_mill_runs_next(lockstep_plant):
    """A priority set by Update makes the free mill start that order, however late it is due; counters tell."""
    async with lockstep_plant.connect("MES") as mes:
        control = await JobControl(mes).load()
        waiting = await control.orders("AllowedToStart")
        last = max(waiting.values(), key=lambda order: order.EndTime).JobOrderID
        taken, by_priority = await control.counter("UpdatesTaken"), await control.counter("DispatchesByPriority")
        assert await control.update(last, 100, "A1") == NO_ERROR
        assert await control.counter("UpdatesTaken") == taken + 1
        updated = (await control.orders())[last]
        assert (updated.Priority, updated.EquipmentRequirements[0].ID) == (100, "A1")

        async def until_started() -> None:
            for _ in range(50):
                await lockstep_plant.advance(1800)
                if last not in await control.orders("AllowedToStart"):
                    return

        events = await collect_events(lockstep_plant, mes, until_started)
        started = [e for e in events if e.Kind == "job_order_started" and e.EquipmentId == "A1"]
        assert started[0].Text == last
        assert await control.counter("DispatchesByPriority") == by_priority + 1
        assert await control.update(last, 5, None) in (INVALID_STATUS, UNKNOWN_ORDER)  # it runs, or has run


async def test_a_running_order_cannot_be_changed(lockstep_plant):
    """Update, Pause and Abort of a running order answer with the bit for an invalid status."""
    async with lockstep_plant.connect("MES") as mes:
        control = await JobControl(mes).load()
        for _ in range(50):
            if running := await control.orders("Running"):
                break
            await lockstep_plant.advance(1800)
        order_id = next(iter(running))
        assert await control.update(order_id, 3, "A1") == INVALID_STATUS
        assert await control.call("Pause", order_id, NO_COMMENT) == INVALID_STATUS
        assert await control.call("Abort", order_id, NO_COMMENT) == INVALID_STATUS


async def test_an_order_from_outside_waits_for_start(lockstep_plant):
    """Store adds an order that is not allowed to start until Start; Pause holds it again; Abort takes it out."""
    async with lockstep_plant.connect("MES") as mes:
        control = await JobControl(mes).load()
        quantity = ua.ISA95ParameterDataType(ID="Quantity", Value=ua.Variant(80, ua.VariantType.UInt32))
        order = ua.ISA95JobOrderDataType(
            JobOrderID="EXT-1",
            WorkMasterID=[ua.ISA95WorkMasterDataType(ID="F2")],
            EndTime=PLANT_EPOCH + timedelta(days=90),
            JobOrderParameters=[quantity],
        )
        assert await control.call("Store", order, NO_COMMENT) == NO_ERROR
        assert await control.call("Store", order, NO_COMMENT) == NOT_ACCEPTED
        assert "EXT-1" in await control.orders("NotAllowedToStart")
        assert await control.call("Start", "EXT-1", NO_COMMENT) == NO_ERROR
        assert "EXT-1" in await control.orders("AllowedToStart")
        assert await control.call("Pause", "EXT-1", NO_COMMENT) == NO_ERROR
        assert await control.call("Resume", "EXT-1", NO_COMMENT) == NO_ERROR
        assert await control.call("Abort", "EXT-1", NO_COMMENT) == NO_ERROR
        assert "EXT-1" not in await control.orders()
        assert await control.call("Start", "EXT-1", NO_COMMENT) == UNKNOWN_ORDER


async def test_an_impossible_order_is_an_invalid_request(lockstep_plant):
    """Store without a family, and Update to a mill the plant has not, set the bit for an invalid request."""
    async with lockstep_plant.connect("MES") as mes:
        control = await JobControl(mes).load()
        assert await control.call("Store", ua.ISA95JobOrderDataType(JobOrderID="X"), NO_COMMENT) == INVALID_REQUEST
        order_id = next(iter(await control.orders("AllowedToStart")))
        assert await control.update(order_id, 1, "A9") == INVALID_REQUEST
        assert await control.update(order_id, -1, None) == INVALID_REQUEST
        assert await control.update("JO-999999", 1, None) == UNKNOWN_ORDER


@pytest.mark.parametrize(
    ("method", "arguments", "status"),
    [
        ("Start", [], ua.StatusCodes.BadArgumentsMissing),
        ("Start", ["JO-000001", NO_COMMENT, 1], ua.StatusCodes.BadTooManyArguments),
        ("Start", [17, NO_COMMENT], ua.StatusCodes.BadInvalidArgument),
        ("Update", ["JO-000001", NO_COMMENT], ua.StatusCodes.BadInvalidArgument),
        ("Update", [ua.EUInformation(), NO_COMMENT], ua.StatusCodes.BadInvalidArgument),
    ],
)
async def test_wrong_arguments_never_reach_the_plant(lockstep_plant, method, arguments, status):
    """A wrong count or type of arguments gets the StatusCode that says so."""
    async with lockstep_plant.connect("MES") as mes:
        control = await JobControl(mes).load()
        with pytest.raises(ua.UaStatusCodeError) as refusal:
            await control.call(method, *arguments)
        assert refusal.value.code == status


async def test_events_arrive_with_their_fields_and_plant_time(lockstep_plant):
    """Inspections and job orders come as PlantEventType events, stamped with plant time."""
    async with lockstep_plant.connect("MES") as mes:
        events = await collect_events(lockstep_plant, mes, lambda: lockstep_plant.advance(4 * 3600))
        now_s = await mes.node("Simulation.PlantTime").read_value()
    inspections = [event for event in events if event.Kind == "inspection"]
    assert inspections
    for event in inspections:
        assert event.EquipmentId in ("A1", "A2")
        assert event.SerialNo.startswith(event.EquipmentId)
        assert abs(event.Value) < 500
        span = (now_s - 4 * 3600, now_s)
        assert span[0] <= (event.Time - PLANT_EPOCH).total_seconds() <= span[1]
        assert abs(event.ReceiveTime - datetime.now(UTC)) < timedelta(minutes=5)


async def test_a_machine_emits_its_own_events_too(lockstep_plant):
    """What the MES reports of a machine comes from the machine's object on its PLC as well."""

    def told(events) -> list[tuple]:
        return sorted((e.Time, e.Kind, e.SerialNo, e.Value) for e in events if e.EquipmentId == "A1")

    async with lockstep_plant.connect("MES") as mes, lockstep_plant.connect("A1") as plc:
        local = []

        async def act() -> None:
            local.extend(
                await collect_events(lockstep_plant, plc, lambda: lockstep_plant.advance(8 * 3600), plc.node("A1"))
            )

        everywhere = await collect_events(lockstep_plant, mes, act)
    assert local
    assert told(local) == told(everywhere)


async def test_time_stands_still_between_advances(lockstep_plant):
    """Advance returns the plant time reached, never goes back, and nothing moves in between."""
    async with lockstep_plant.connect("MES") as mes:
        now_s = await lockstep_plant.advance(10)
        assert await lockstep_plant.advance(-100) == now_s
        await asyncio.sleep(0.3)
        assert await lockstep_plant.advance(0) == now_s
        with pytest.raises(ua.UaStatusCodeError) as refusal:
            await mes.node("Simulation").call_method(f"{mes.index}:Advance", float("nan"))
        assert refusal.value.code == ua.StatusCodes.BadOutOfRange


async def test_the_same_seed_gives_the_same_kpis_in_process_and_over_opcua(serve_plant):
    """Over OPC UA in lock-step, with the same commands at the same times, the KPIs equal those in process."""
    served = serve_plant("--lockstep", "--seed", "5", "--spec-seed", "3", "--warmup-h", "0", "--hours", "9")
    plant = Plant(PlantSpec.draw(3), 5, external_policy(), horizon_h=9, warmup_h=0, observe=Observe.FULL)
    async with served.connect("MES") as mes, served.connect("A1") as mill, served.connect("C1") as grinder:
        control = await JobControl(mes).load()

        async def to(hours: float) -> None:
            await served.advance_to(mes, 3600.0 * hours)
            plant.advance(3600.0 * hours)

        await to(1)
        last = plant.job_orders()[-1].id
        assert await control.update(last, 7, "A2") == NO_ERROR
        assert plant.update_job_order(last, 7, "A2")
        await to(2.5)
        await grinder.write("MaintenanceRequest", True, ua.VariantType.Boolean)
        plant.request_maintenance("C1")
        await mill.write("SpeedOverride", 1.1, ua.VariantType.Double)
        plant.set_speed("A1", 1.1)
        await to(6)
        serial = await mill.read("SerialNo")
        await mill.write("RejectSerialNo", serial, ua.VariantType.String)
        await mill.write("RejectFlag", True, ua.VariantType.Boolean)
        plant.reject("A1", serial)
        await to(9)
        shown = json.loads(await mes.node("Simulation").call_method(f"{mes.index}:Kpis"))
        assert await served.advance(3600) == 9 * 3600  # the run is over, time stands
    assert shown == asdict(plant.kpis())
    assert plant.maintenance_taken("C1") == 1
    assert shown["oee"] > 0.2
