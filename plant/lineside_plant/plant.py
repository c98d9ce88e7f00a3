"""Plant: RefPlant in process. Advance it, drain what its servers would show, give it commands, read its KPIs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from lineside_plant.errors import CommandError, SpecError
from lineside_plant.events import Journal, PlantEvent, time_us
from lineside_plant.kpis import Counts, Kpis, Ledger, kpis_of
from lineside_plant.line import Line
from lineside_plant.machines import Hidden, Machine, State
from lineside_plant.mills import Mill, Stage
from lineside_plant.orders import JobOrder, Order
from lineside_plant.policies import Policy
from lineside_plant.signals import MachineSamples, Sampler
from lineside_plant.spec import FAMILIES, MACHINES, MILLS, PlantSpec
from lineside_plant.streams import Streams
from lineside_plant.upkeep import Office

_UNPLANNED = (State.TRIPPED, State.FAILED)
_PLANNED = (State.MAINTENANCE, State.TOOL_CHANGE)


class Observe(StrEnum):
    """What a run writes down."""

    NONE = "none"  # KPIs, events and job orders only; fast
    FULL = "full"  # also every tag: 1 Hz columns, changes, force curves, lazy images


@dataclass(frozen=True, slots=True)
class PlantOutput:
    """Everything since the last drain. ``machines`` has an entry per machine, or none before it is observed."""

    machines: dict[str, MachineSamples]
    events: list[PlantEvent]
    job_orders_changed: bool


class Plant:
    """One run of one plant. Same spec, seed, policy and commands at the same times give the same run.

    How ``advance`` is sliced makes no difference. A command takes effect at the next whole second of plant time, as
    in a PLC's scan. Not thread-safe: one thread advances, commands and drains.
    """

    def __init__(
        self,
        spec: PlantSpec,
        seed: int,
        policy: Policy,
        *,
        horizon_h: float = 672.0,
        warmup_h: float = 72.0,
        observe: Observe = Observe.NONE,
        observe_from_s: float = 0.0,
        label_share: float = 0.0,
    ) -> None:
        """Set up the plant at plant time 0.

        Args:
            spec: The plant's constants.
            seed: Seeds everything that happens; paired arms share it.
            policy: Who decides what.
            horizon_h: End of what the KPIs count (h); ``math.inf`` for a plant that runs on.
            warmup_h: Beginning of what the KPIs count (h).
            observe: Whether tags are written down.
            observe_from_s: Plant time from which they are, so that a demo can begin with aged machines.
            label_share: Share of parts measured for labels only, beside what the policy inspects.

        Raises:
            SpecError: A time or share is out of bounds.
        """
        if not 0 <= warmup_h <= horizon_h or observe_from_s < 0 or not 0 <= label_share <= 1:
            raise SpecError(
                f"warmup_h is {warmup_h}, horizon_h {horizon_h}, observe_from_s {observe_from_s}, label_share "
                f"{label_share}; expected 0 <= warmup_h <= horizon_h, observe_from_s >= 0, label_share 0 to 1"
            )
        self.spec = spec
        self.seed = seed
        self.policy = policy
        self.now_s = 0.0
        streams = Streams(seed)
        self._ledger = Ledger(3600.0 * warmup_h, 3600.0 * horizon_h)
        self._journal = Journal(MACHINES)
        self._line = Line(spec, Office(policy, self._ledger, self._journal, streams, label_share), seed)
        self._sampler = Sampler(spec, streams, self._line.machines)
        self._commands: list[tuple[float, Callable[[float], None]]] = []
        if observe is Observe.FULL and observe_from_s == 0.0:
            self._begin_observing(0.0)
        elif observe is Observe.FULL:
            self._commands.append((observe_from_s, self._begin_observing))

    def advance(self, to_s: float) -> None:
        """Run the plant up to plant time ``to_s`` (s), inclusive; a time that has passed changes nothing."""
        while self._commands and self._commands[0][0] <= to_s:
            at_s, command = self._commands.pop(0)
            self._step_until(at_s)
            command(at_s)
        self._step_until(to_s)
        self.now_s = max(self.now_s, to_s)

    def _step_until(self, to_s: float) -> None:
        env = self._line.env
        peek, step = env.peek, env.step
        while peek() <= to_s:
            step()

    def _begin_observing(self, at_s: float) -> None:
        self._journal.observing = True
        self._sampler.start(at_s)
        for machine in self._line.machines.values():
            change = self._journal.change
            change(machine.name, at_s, "ActiveFamily", -1 if machine.family is None else machine.family)
            change(machine.name, at_s, "PartCount", machine.part_count)
            if isinstance(machine, Mill):
                change(machine.name, at_s, "ToolCount", machine.tool.parts)
                change(machine.name, at_s, "ToolOffset", machine.offset_um)
                change(machine.name, at_s, "SpeedOverride", machine.speed)

    def drain(self) -> PlantOutput:
        """Everything since the last drain, up to ``now_s``."""
        samples: dict[str, MachineSamples] = {}
        if self._journal.observing:
            samples = self._sampler.sample(self.now_s)
            until_us = time_us(self.now_s)
            for name, mine in samples.items():
                mine.changes = self._journal.take_changes(name, until_us)
        changed, self._journal.job_orders_changed = self._journal.job_orders_changed, False
        return PlantOutput(samples, self._journal.take_events(), changed)

    # --- what the plant shows beside tags

    def job_orders(self) -> list[JobOrder]:
        """The MES's list: orders running at the mills, then the pool, oldest first."""
        return self._line.orders.view()

    @property
    def updates_taken(self) -> int:
        """Job-order updates accepted so far."""
        return self._line.orders.updates_taken

    @property
    def dispatches_by_priority(self) -> int:
        """Job orders started because a priority set by an update chose them."""
        return self._line.orders.dispatches_by_priority

    def maintenance_taken(self, machine: str) -> int:
        """Remote maintenance requests ``machine`` has carried out."""
        return self._machine(machine).maintenance_taken

    def hidden(self, machine: str) -> Hidden:
        """The true state of ``machine``; for oracles and tests only."""
        return self._machine(machine).hidden

    # --- commands

    def request_maintenance(self, machine: str) -> None:
        """Ask for maintenance at the next boundary; a repair or maintenance under way carries it out as well.

        Raises:
            CommandError: The plant has no such machine.
        """
        target = self._machine(machine)

        def take(at_s: float) -> None:
            if not target.maintenance_requested:
                target.maintenance_requested = True
                self._journal.change(machine, at_s, "MaintenanceRequest", True)

        self._command(take)

    def reject(self, machine: str, serial_no: str) -> bool:
        """Flag a part for rejection at the end of the line; False when it is not behind ``machine`` in the line.

        Raises:
            CommandError: The plant has no such machine.
        """
        target = self._machine(machine)
        stage = (Stage.MILLED, Stage.PRESSED, Stage.GROUND)[target.role]
        at_s = self._next_scan_s()
        if not self._line.end_of_line.flag(serial_no, stage):
            target.rejects_refused += 1
            self._journal.change(machine, at_s, "RejectsRefused", target.rejects_refused)
            return False
        target.rejects_taken += 1
        self._journal.change(machine, at_s, "LastRejectedSerialNo", serial_no)
        self._journal.change(machine, at_s, "RejectsTaken", target.rejects_taken)
        return True

    def set_speed(self, machine: str, speed: float) -> None:
        """Set a mill's speed set-point, clamped, from its next part on.

        Raises:
            CommandError: ``machine`` is not a mill.
        """
        mill = self._mill(machine)
        self._command(lambda at_s: self._journal.change(machine, at_s, "SpeedOverride", mill.set_speed(speed)))

    def set_tool_offset(self, machine: str, offset_um: float) -> None:
        """Make ``offset_um`` the total compensation of a mill; its PLC goes on from there.

        Raises:
            CommandError: ``machine`` is not a mill, or the offset is not a finite number.
        """
        mill = self._mill(machine)
        if not math.isfinite(offset_um):
            raise CommandError(f"tool offset of '{machine}' is {offset_um}; expected a finite number of um")

        def take(at_s: float) -> None:
            mill.set_offset(offset_um)
            mill.offsets_taken += 1
            self._journal.change(machine, at_s, "ToolOffset", mill.offset_um)
            self._journal.change(machine, at_s, "OffsetsTaken", mill.offsets_taken)

        self._command(take)

    def update_job_order(self, order_id: str, priority: int, equipment: str | None = None) -> bool:
        """Set priority (higher = sooner, 0 = none) and mill of a pooled order; False when it runs or has ended."""
        return self._orders_changed(self._line.orders.update(order_id, priority, equipment))

    def hold_job_order(self, order_id: str) -> bool:
        """Keep a pooled order from starting; False when there is none of that id in the pool."""
        return self._orders_changed(self._line.orders.hold(order_id))

    def release_job_order(self, order_id: str) -> bool:
        """Let a held order start again; False when there is none of that id in the pool."""
        return self._orders_changed(self._line.orders.release(order_id))

    def abort_job_order(self, order_id: str) -> bool:
        """Take a pooled order out for good; False when there is none of that id in the pool."""
        return self._orders_changed(self._line.orders.abort(order_id, self.now_s))

    def store_job_order(self, order_id: str, family: int, quantity: int, due_s: float) -> bool:
        """Add an order to the pool; False when its id is taken, its family unknown or its quantity not positive."""
        if not 0 <= family < FAMILIES or quantity < 1:
            return False
        return self._orders_changed(self._line.orders.store(Order(order_id, family, quantity, self.now_s, due_s)))

    def drift_sensor(self, machine: str) -> None:
        """Let the vibration sensor of ``machine`` begin to drift, as it does by itself once in a while.

        Raises:
            CommandError: The plant has no such machine.
        """
        life = self._machine(machine).life
        life.drift_after_h = min(life.drift_after_h, life.age_h)

    # --- figures

    def counts(self) -> Counts:
        """Raw counts from the end of the warm-up to now."""
        spent = self._ledger.overlap_s(0.0, self.now_s)
        counts = replace(self._ledger.counts, setup_s=0.0, unplanned_s=0.0, planned_s=0.0, kwh=0.0)
        if spent:
            counts.orders_overdue = self._line.orders.overdue(self.now_s)
        for machine in self._line.machines.values():
            open_s = self._ledger.overlap_s(machine.since_s, self.now_s)
            in_state = list(machine.state_s)
            in_state[machine.state] += open_s
            counts.kwh += machine.counted_kwh + open_s * machine.kw / 3600.0
            counts.setup_s += in_state[State.SETUP]
            counts.unplanned_s += sum(in_state[s] for s in _UNPLANNED)
            counts.planned_s += sum(in_state[s] for s in _PLANNED)
        return counts

    def kpis(self) -> Kpis:
        """KPIs from the end of the warm-up to now."""
        return kpis_of(self.counts(), self._ledger.overlap_s(0.0, self.now_s), len(MILLS), len(MACHINES))

    # --- inside

    def _next_scan_s(self) -> float:
        return math.floor(self.now_s) + 1.0

    def _command(self, take: Callable[[float], None]) -> None:
        self._commands.append((self._next_scan_s(), take))
        self._commands.sort(key=lambda c: c[0])

    def _orders_changed(self, changed: bool) -> bool:
        self._journal.job_orders_changed |= changed
        return changed

    def _machine(self, name: str) -> Machine:
        try:
            return self._line.machines[name]
        except KeyError:
            raise CommandError(f"machine '{name}' is not in the plant; it has {', '.join(MACHINES)}") from None

    def _mill(self, name: str) -> Mill:
        machine = self._machine(name)
        if not isinstance(machine, Mill):
            raise CommandError(f"machine '{name}' is not a mill; mills are {', '.join(MILLS)}")
        return machine
