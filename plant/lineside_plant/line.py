"""The line as SimPy processes: mills, press, grinders, buffers. Environment time is plant time in seconds."""

from __future__ import annotations

from collections import deque

import simpy

from lineside_plant.buffers import Buffer
from lineside_plant.curves import PressCurve
from lineside_plant.dispatching import FreeMill
from lineside_plant.events import EventKind
from lineside_plant.images import Surface
from lineside_plant.inspection import Campaign, EndOfLine
from lineside_plant.machines import Machine, State
from lineside_plant.mills import Material, Mill, Part, Stage
from lineside_plant.orders import Order, OrderBook
from lineside_plant.policies import Tools
from lineside_plant.spec import GRINDERS, MACHINES, MILLS, PRESS, PlantSpec
from lineside_plant.upkeep import Office, Process, Upkeep

_RETRY_S = 60.0  # a mill without an order it may start looks again


class Line:
    """Runs the physics. ``env.step`` is called by the plant; everything else happens in the processes here."""

    def __init__(self, spec: PlantSpec, office: Office, seed: int) -> None:
        self._spec = spec
        self._policy = office.policy
        self._journal = office.journal
        self.env = simpy.Environment()
        self.upkeep = Upkeep(self.env, spec, office)
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
        self.end_of_line.on_offset = self.upkeep.note_offset
        self._material = Material(spec, streams)
        self._curve = PressCurve(spec, streams)
        self._seed = seed
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
            if self.upkeep.maintenance_due(mill):
                yield from self.upkeep.maintain(mill)
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
                if self.upkeep.tool_due(mill):
                    yield from self.upkeep.change_tool(mill)
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
            yield from self.upkeep.stop(mill, stop)
        if part.broken:
            self.end_of_line.leave(part, env.now)
            yield from self.upkeep.break_tool(mill, part)
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
            if self.upkeep.maintenance_due(press):
                yield from self.upkeep.maintain(press)
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
                yield from self.upkeep.stop(press, stop)
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
            if self.upkeep.maintenance_due(grinder):
                yield from self.upkeep.maintain(grinder)
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
                yield from self.upkeep.stop(grinder, stop)
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

    # --- reporting

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
        self.upkeep.report(EventKind.JOB_ORDER_STARTED, mill, value=order.quantity, text=order.id)
