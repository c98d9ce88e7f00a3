"""What stops a machine and what brings it back: failures, trips, maintenance, tool changes, and the one crew."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import simpy

from lineside_plant.events import EventKind, Journal, PlantEvent, time_us
from lineside_plant.kpis import Ledger
from lineside_plant.machines import Machine, State, Stop
from lineside_plant.mills import Mill, Part
from lineside_plant.policies import Maintenance, Policy, Tools
from lineside_plant.spec import PlantSpec
from lineside_plant.streams import Streams

Process = Generator[simpy.Event, Part, None]


@dataclass(frozen=True, slots=True)
class Office:
    """What the line reports to: the rules it follows, the books it keeps, the journal it writes."""

    policy: Policy
    ledger: Ledger
    journal: Journal
    streams: Streams
    label_share: float = 0.0


class Upkeep:
    """Stops machines and renews them. Its generators run inside the processes of the line."""

    def __init__(self, env: simpy.Environment, spec: PlantSpec, office: Office) -> None:
        self._env = env
        self._spec = spec
        self._policy = office.policy
        self._journal = office.journal
        self._ledger = office.ledger
        self._counts = office.ledger.counts
        self._crew = simpy.PriorityResource(env, 1)

    def maintenance_due(self, machine: Machine) -> bool:
        """Whether ``machine`` goes to maintenance at this boundary."""
        if machine.maintenance_requested:
            return True
        policy = self._policy
        match policy.maintenance:
            case Maintenance.AGE:
                return machine.life.age_h >= policy.maintenance_age_h
            case Maintenance.ORACLE:
                return machine.life.x >= policy.oracle_x
            case Maintenance.RANDOM_AGE:
                low, high = policy.random_age_h
                return machine.life.age_h >= low + machine.life_age_draw * (high - low)
            case _:
                return False

    def maintain(self, machine: Machine) -> Process:
        """Hold ``machine`` for planned maintenance, waiting for the crew included, and renew it."""
        start_s = self._env.now
        if machine.maintenance_requested:
            machine.maintenance_taken += 1
            self._journal.change(machine.name, start_s, "MaintenanceTaken", machine.maintenance_taken)
            self._clear_request(machine)
        machine.enter(State.MAINTENANCE, start_s)
        yield from self._with_crew(machine.maintenance_s(), priority=1)
        self._counts.maintenances += self._ledger.counted(self._env.now)
        self._renew(machine, EventKind.MAINTENANCE, start_s)

    def stop(self, machine: Machine, why: Stop) -> Process:
        """Hold ``machine`` for a trip, or for a failure until it is repaired and as good as new."""
        start_s = self._env.now
        counted = self._ledger.counted(start_s)
        if why is Stop.TRIP:
            self._counts.trips += counted
            duration_s = machine.trip_s()
            self.report(EventKind.TRIP, machine, value=duration_s / 3600.0)
            machine.enter(State.TRIPPED, start_s)
            yield self._env.timeout(duration_s)
            machine.stopped(start_s, self._env.now)
            return
        self._counts.failures += counted
        self.report(EventKind.FAILURE, machine)
        machine.enter(State.FAILED, start_s)
        yield from self._with_crew(machine.repair_s(), priority=0)
        self._renew(machine, EventKind.REPAIR, start_s)

    def _with_crew(self, duration_s: float, priority: int) -> Process:
        with self._crew.request(priority=priority) as request:
            yield request
            yield self._env.timeout(duration_s)

    def _renew(self, machine: Machine, kind: EventKind, start_s: float) -> None:
        """Report what the crew found and begin a new life."""
        now, life = self._env.now, machine.life
        drifted = life.sensor_gain(self._spec) > 1.1
        self.report(
            kind,
            machine,
            mode=life.mode.value if life.x >= self._spec.visible_x else "",
            value=(now - start_s) / 3600.0,
            text="vibration sensor had drifted" if drifted else "",
        )
        machine.renew()
        machine.stopped(start_s, now)
        if machine.maintenance_requested:
            self._clear_request(machine)

    def _clear_request(self, machine: Machine) -> None:
        machine.maintenance_requested = False
        self._journal.change(machine.name, self._env.now, "MaintenanceRequest", False)

    # --- tools

    def tool_due(self, mill: Mill) -> bool:
        """Whether ``mill``'s tool is to be changed before the next part."""
        if self._policy.tools is Tools.ORACLE:
            return mill.tool.wear >= self._policy.oracle_wear
        return mill.tool.parts >= self._policy.tool_change_parts

    def change_tool(self, mill: Mill) -> Process:
        """Hold ``mill`` while its tool is changed."""
        self._counts.tool_changes += self._ledger.counted(self._env.now)
        self.report(EventKind.TOOL_CHANGE, mill, value=mill.tool.parts)
        mill.enter(State.TOOL_CHANGE, self._env.now)
        yield self._env.timeout(60.0 * self._spec.tool_change_min)
        self._new_tool(mill)

    def break_tool(self, mill: Mill, part: Part) -> Process:
        """Scrap the part, repair the mill without the crew, mount a new tool."""
        start_s = self._env.now
        counts = self._counts
        if self._ledger.counted(start_s):
            counts.made += 1
            counts.defects += 1
            counts.rejected += 1
            counts.tool_breaks += 1
        self.report(EventKind.TOOL_BREAK, mill, value=mill.tool.parts, serial_no=part.serial_no)
        mill.enter(State.FAILED, start_s)
        yield self._env.timeout(60.0 * self._spec.break_min)
        mill.stopped(start_s, self._env.now)
        self._new_tool(mill)

    def _new_tool(self, mill: Mill) -> None:
        mill.change_tool()
        self._journal.change(mill.name, self._env.now, "ToolCount", 0)
        self.note_offset(mill)

    def note_offset(self, mill: Mill) -> None:
        """Write down the mill's compensation after it changed between parts."""
        self._journal.change(mill.name, self._env.now, "ToolOffset", mill.offset_um)

    def report(
        self,
        kind: EventKind,
        machine: Machine,
        *,
        mode: str = "",
        value: float = 0.0,
        text: str = "",
        serial_no: str = "",
    ) -> None:
        """Write an event of ``machine`` down for the MES."""
        self._journal.events.append(
            PlantEvent(time_us(self._env.now), kind, machine.name, serial_no, mode, value, text=text)
        )
