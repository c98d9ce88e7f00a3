"""The line as SimPy processes: mills, press, grinders, buffers, the crew. Environment time is plant time in seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass

import simpy

from lineside_plant.curves import PressCurve
from lineside_plant.dispatching import FreeMill
from lineside_plant.events import EventKind, Journal, PlantEvent, time_us
from lineside_plant.images import Surface
from lineside_plant.inspection import Campaign, EndOfLine
from lineside_plant.kpis import Ledger
from lineside_plant.machines import Machine, State, Stop
from lineside_plant.mills import Material, Mill, Part, Stage
from lineside_plant.orders import Order, OrderBook
from lineside_plant.policies import Maintenance, Policy, Tools
from lineside_plant.spec import GRINDERS, MACHINES, MILLS, PRESS, PlantSpec
from lineside_plant.streams import Streams

Process = Generator[simpy.Event, Part, None]
_RETRY_S = 60.0  # a mill without an order it may start looks again


class Buffer:
    """Parts between two stations. Hands over without an event where nobody has to wait, which halves the run time."""

    def __init__(self, env: simpy.Environment, capacity: int) -> None:
        self._env = env
        self._capacity = capacity
        self._parts: deque[Part] = deque()
        self._takers: deque[simpy.Event] = deque()
        self._givers: deque[tuple[simpy.Event, Part]] = deque()

    def put(self, part: Part) -> simpy.Event | None:
        """Give ``part``; None when it was taken at once, else the event of its being taken."""
        if self._takers:
            self._takers.popleft().succeed(part)
            return None
        if len(self._parts) < self._capacity:
            self._parts.append(part)
            return None
        event = self._env.event()
        self._givers.append((event, part))
        return event

    def take(self) -> Part | None:
        """Take the oldest part; None when there is none."""
        if not self._parts:
            return None
        part = self._parts.popleft()
        if self._givers:
            event, waiting = self._givers.popleft()
            self._parts.append(waiting)
            event.succeed()
        return part

    def wait(self) -> simpy.Event:
        """The event whose value is the next part; ask only after ``take`` gave None."""
        event = self._env.event()
        self._takers.append(event)
        return event


@dataclass(frozen=True, slots=True)
class Office:
    """What the line reports to: the rules it follows, the books it keeps, the journal it writes."""

    policy: Policy
    ledger: Ledger
    journal: Journal
    streams: Streams
    label_share: float = 0.0


class Line:
    """Runs the physics. ``env.step`` is called by the plant; everything else happens in the processes here."""

    def __init__(self, spec: PlantSpec, office: Office, seed: int) -> None:
        self._spec = spec
        self._policy = office.policy
        self._journal = office.journal
        self._counts = office.ledger.counts
        self._ledger = office.ledger
        self.env = simpy.Environment()
        streams, ledger = office.streams, office.ledger
        self.machines: dict[str, Machine] = {
            n: (Mill if n in MILLS else Machine)(n, spec, streams, ledger) for n in MACHINES
        }
        self.mills: dict[str, Mill] = {n: m for n, m in self.machines.items() if isinstance(m, Mill)}
        self.orders = OrderBook(spec, office.policy, streams)
        campaign = Campaign(office.label_share, streams.uniform("campaign"))
        self.end_of_line = EndOfLine(
            spec, office.policy, self.orders, ledger=ledger, journal=office.journal, campaign=campaign
        )
        self.end_of_line.on_offset = self.note_offset
        self._material = Material(spec, streams)
        self._curve = PressCurve(spec, streams)
        self._seed = seed
        self._crew = simpy.PriorityResource(self.env, 1)
        self._to_press = Buffer(self.env, spec.buffer_parts)
        self._to_grinders = Buffer(self.env, spec.buffer_parts)
        self._conveyor: deque[Part] = deque()
        for mill in self.mills.values():
            mill.set_speed(office.policy.speed)
            self.env.process(self._mill(mill))
        self.env.process(self._press(self.machines[PRESS]))
        for name in GRINDERS:
            self.env.process(self._grind(self.machines[name]))

    # --- stations

    def _mill(self, mill: Mill) -> Process:
        env, other = self.env, self.mills[MILLS[1 - MILLS.index(mill.name)]]
        while True:
            if self._due_for_maintenance(mill):
                yield from self._maintain(mill)
            family = mill.family
            order = self.orders.dispatch(FreeMill(mill.name, family, other.family, env.now))
            if order is None:
                mill.enter(State.IDLE, env.now)
                yield env.timeout(_RETRY_S)
                continue
            self._started(order, mill)
            setup_s = self._spec.setup_s(family, order.family)
            mill.family, mill.load = order.family, self._spec.load[order.family]
            self._journal.change(mill.name, env.now, "ActiveFamily", order.family)
            mill.enter(State.SETUP, env.now, self._spec.setup_kw)
            yield env.timeout(setup_s)
            while order.remaining:
                if self._tool_due(mill):
                    yield from self._change_tool(mill)
                yield from self._cut(mill, order)
            self.orders.milled(mill.name)
            self._journal.job_orders_changed = True

    def _cut(self, mill: Mill, order: Order) -> Process:
        env, spec = self.env, self._spec
        order.remaining -= 1
        mill.hardness = self._material.take()
        speed = mill.speed
        cycle_s = spec.mill_cycle_s(order.family, speed)
        mill.enter(State.RUNNING, env.now, spec.mill_kw * speed)
        yield env.timeout(cycle_s)
        part = mill.finish_part(order, env.now, self._policy.tools is Tools.ORACLE)
        self.end_of_line.in_line[part.serial_no] = part
        if self._journal.observing:
            self._journal.change(mill.name, env.now, "ToolCount", mill.tool.parts)
            self._journal.change(mill.name, env.now, "ToolOffset", part.offset_um)
        self._completed(mill, part, cycle_s)
        stop = mill.run(cycle_s / 3600.0, mill.load * speed**spec.speed_exponent)
        if stop is not None:
            yield from self._stop(mill, stop)
        if part.broken:
            yield from self._break_tool(mill, part)
            return
        taken = self._to_press.put(part)
        if taken is not None:
            mill.enter(State.BLOCKED, env.now)
            yield taken

    def _press(self, press: Machine) -> Process:
        env, spec = self.env, self._spec
        while True:
            part = self._to_press.take()
            if part is None:
                press.enter(State.IDLE, env.now)
                part = yield self._to_press.wait()
            if self._due_for_maintenance(press):
                yield from self._maintain(press)
            self._load(press, part)
            cycle_s = 60.0 * spec.press_cycle_min * (1.0 + spec.press_slowdown * press.life.x**2)
            press.enter(State.RUNNING, env.now, spec.press_kw)
            yield env.timeout(cycle_s)
            part.stage = Stage.PRESSED
            press.part_count += 1
            if self._journal.observing:
                self._journal.change(press.name, env.now, "ForceCurve", self._curve.draw(press, part))
            self._completed(press, part, cycle_s)
            stop = press.run(cycle_s / 3600.0, press.load)
            if stop is not None:
                yield from self._stop(press, stop)
            taken = self._to_grinders.put(part)
            if taken is not None:
                press.enter(State.BLOCKED, env.now)
                yield taken

    def _grind(self, grinder: Machine) -> Process:
        env, spec = self.env, self._spec
        cycle_s = 60.0 * spec.grind_cycle_min
        while True:
            part = self._to_grinders.take()
            if part is None:
                grinder.enter(State.IDLE, env.now)
                part = yield self._to_grinders.wait()
            if self._due_for_maintenance(grinder):
                yield from self._maintain(grinder)
            self._load(grinder, part)
            grinder.enter(State.RUNNING, env.now, spec.grind_kw)
            yield env.timeout(cycle_s)
            part.stage = Stage.GROUND
            grinder.part_count += 1
            if self._journal.observing:
                image = Surface(self._seed, part.serial_no, part.porous, part.wear, grinder.life.x)
                self._journal.change(grinder.name, env.now, "SurfaceImage", image)
            self._completed(grinder, part, cycle_s)
            stop = grinder.run(cycle_s / 3600.0, grinder.load)
            if stop is not None:
                yield from self._stop(grinder, stop)
            self._conveyor.append(part)
            env.timeout(spec.conveyor_s).callbacks.append(self._off_conveyor)

    def _off_conveyor(self, _: simpy.Event) -> None:
        self.end_of_line.check(self._conveyor.popleft(), self.env.now)

    def _load(self, machine: Machine, part: Part) -> None:
        """Put ``part`` into press or grinder."""
        machine.hardness = part.hardness
        if machine.family != part.order.family:
            machine.family = part.order.family
            machine.load = self._spec.load[machine.family]
            self._journal.change(machine.name, self.env.now, "ActiveFamily", machine.family)

    # --- stops

    def _due_for_maintenance(self, machine: Machine) -> bool:
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

    def _maintain(self, machine: Machine) -> Process:
        start_s = self.env.now
        if machine.maintenance_requested:
            machine.maintenance_taken += 1
            self._journal.change(machine.name, start_s, "MaintenanceTaken", machine.maintenance_taken)
            self._clear_request(machine)
        machine.enter(State.MAINTENANCE, start_s)
        yield from self._with_crew(machine.maintenance_s(), priority=1)
        self._counts.maintenances += self._ledger.counted(self.env.now)
        self._renew(machine, EventKind.MAINTENANCE, start_s)

    def _stop(self, machine: Machine, why: Stop) -> Process:
        start_s = self.env.now
        counted = self._ledger.counted(start_s)
        if why is Stop.TRIP:
            self._counts.trips += counted
            duration_s = machine.trip_s()
            self._event(EventKind.TRIP, machine, value=duration_s / 3600.0)
            machine.enter(State.TRIPPED, start_s)
            yield self.env.timeout(duration_s)
            machine.stopped(start_s, self.env.now)
            return
        self._counts.failures += counted
        self._event(EventKind.FAILURE, machine)
        machine.enter(State.FAILED, start_s)
        yield from self._with_crew(machine.repair_s(), priority=0)
        self._renew(machine, EventKind.REPAIR, start_s)

    def _with_crew(self, duration_s: float, priority: int) -> Process:
        with self._crew.request(priority=priority) as request:
            yield request
            yield self.env.timeout(duration_s)

    def _renew(self, machine: Machine, kind: EventKind, start_s: float) -> None:
        """Report what the crew found and begin a new life."""
        now, life = self.env.now, machine.life
        drifted = life.sensor_gain(self._spec) > 1.1
        self._event(
            kind,
            machine,
            mode=life.mode if life.x >= self._spec.visible_x else "",
            value=(now - start_s) / 3600.0,
            text="vibration sensor had drifted" if drifted else "",
        )
        machine.renew()
        machine.stopped(start_s, now)
        if machine.maintenance_requested:
            self._clear_request(machine)

    def _clear_request(self, machine: Machine) -> None:
        machine.maintenance_requested = False
        self._journal.change(machine.name, self.env.now, "MaintenanceRequest", False)

    # --- tools

    def _tool_due(self, mill: Mill) -> bool:
        if self._policy.tools is Tools.ORACLE:
            return mill.tool.wear >= self._policy.oracle_wear
        return mill.tool.parts >= self._policy.tool_change_parts

    def _change_tool(self, mill: Mill) -> Process:
        self._counts.tool_changes += self._ledger.counted(self.env.now)
        self._event(EventKind.TOOL_CHANGE, mill, value=mill.tool.parts)
        mill.enter(State.TOOL_CHANGE, self.env.now)
        yield self.env.timeout(60.0 * self._spec.tool_change_min)
        self._new_tool(mill)

    def _break_tool(self, mill: Mill, part: Part) -> Process:
        """Scrap the part, repair the mill without the crew, mount a new tool."""
        start_s = self.env.now
        counts = self._counts
        if self._ledger.counted(start_s):
            counts.made += 1
            counts.defects += 1
            counts.rejected += 1
            counts.tool_breaks += 1
        self._event(EventKind.TOOL_BREAK, mill, value=mill.tool.parts, serial_no=part.serial_no)
        self.end_of_line.leave(part, start_s)
        mill.enter(State.FAILED, start_s)
        yield self.env.timeout(60.0 * self._spec.break_min)
        mill.stopped(start_s, self.env.now)
        self._new_tool(mill)

    def _new_tool(self, mill: Mill) -> None:
        mill.change_tool()
        self._journal.change(mill.name, self.env.now, "ToolCount", 0)
        self.note_offset(mill)

    # --- reporting

    def note_offset(self, mill: Mill) -> None:
        """Write down the mill's compensation after it changed between parts."""
        self._journal.change(mill.name, self.env.now, "ToolOffset", mill.offset_um)

    def _completed(self, machine: Machine, part: Part, cycle_s: float) -> None:
        """Write down a finished part; SerialNo comes last, all with one time."""
        journal = self._journal
        if journal.observing:
            now, name = self.env.now, machine.name
            journal.change(name, now, "CycleTime", cycle_s)
            journal.change(name, now, "PartCount", machine.part_count)
            journal.change(name, now, "SerialNo", part.serial_no)

    def _started(self, order: Order, mill: Mill) -> None:
        self._journal.job_orders_changed = True
        self._event(EventKind.JOB_ORDER_STARTED, mill, value=order.quantity, text=order.id)

    def _event(
        self,
        kind: EventKind,
        machine: Machine,
        *,
        mode: str = "",
        value: float = 0.0,
        text: str = "",
        serial_no: str = "",
    ) -> None:
        self._journal.events.append(
            PlantEvent(time_us(self.env.now), kind, machine.name, serial_no, mode, value, text=text)
        )
