"""The CNC mills: tools, the dimension of each part, and its fate in the press."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from lineside_plant.kpis import Ledger
from lineside_plant.machines import Machine
from lineside_plant.orders import Order
from lineside_plant.spec import SPEED_HIGH, SPEED_LOW, PlantSpec
from lineside_plant.streams import Streams


class Stage(IntEnum):
    """How far a part has come."""

    MILLED = 0
    PRESSED = 1
    GROUND = 2


@dataclass(slots=True, eq=False)
class Part:
    """One part on its way through the line.

    ``dimension_um`` is the true deviation, ``score`` the press signature, ``offset_um`` and ``feedback_um`` the total
    compensation and its feedback share when the part was cut, ``sample_u`` and ``gauge_z`` the bench's draws for it.
    """

    mill: Mill
    tool: Tool
    order: Order
    serial_no: str
    hardness: float
    wear: float
    dimension_um: float
    offset_um: float
    feedback_um: float
    porous: bool
    broken: bool
    score: float
    sample_u: float
    gauge_z: float
    stage: Stage = Stage.MILLED
    flagged: bool = False

    @property
    def bad(self) -> bool:
        """Whether the part is defective in any way."""
        return self.porous or self.broken or abs(self.dimension_um) > self.mill.spec.tolerance_um


class Tool:
    """The tool in a mill. ``wear`` is W; ``offset_um`` the part of the compensation that feedback has added."""

    __slots__ = ("offset_um", "parts", "wear", "z")

    def __init__(self, z: float) -> None:
        self.z = z
        self.wear = 0.0
        self.parts = 0
        self.offset_um = 0.0


class Material:
    """Lots of raw material, shared by the mills; the k-th lot is the same in every arm."""

    def __init__(self, spec: PlantSpec, streams: Streams) -> None:
        self._spec = spec
        self._size = streams.uniform("material", "size")
        self._hardness = streams.normal("material", "hardness")
        self._left = 0
        self._current = 1.0

    def take(self) -> float:
        """Take one blank; its hardness."""
        if not self._left:
            spec = self._spec
            self._left = spec.material_low + int(self._size() * (spec.material_high - spec.material_low + 1))
            self._current = math.exp(spec.hardness_sigma * self._hardness())
        self._left -= 1
        return self._current


class Mill(Machine):
    """A CNC mill: a machine with a tool, a set-point speed and a compensation of its own."""

    def __init__(self, name: str, spec: PlantSpec, streams: Streams, ledger: Ledger) -> None:
        super().__init__(name, spec, streams, ledger)
        self._tool_draws = streams.normal(name, "tool")
        self._dimension_z = streams.normal(name, "dimension")
        self._porous_u = streams.uniform(name, "porosity")
        self._score_z = streams.normal(name, "score")
        self._break_u = streams.uniform(name, "tool break")
        self._sample_u = streams.uniform(name, "sample")
        self._gauge_z = streams.normal(name, "gauge")
        self.offsets_taken = 0
        self.tool = self._next_tool()

    def _next_tool(self) -> Tool:
        return Tool(math.exp(self.spec.tool_sigma * self._tool_draws()))

    def change_tool(self) -> None:
        """Mount a new tool; feedback starts again from nothing."""
        self.tool = self._next_tool()
        self.wear = 0.0

    def set_speed(self, speed: float) -> float:
        """Set the speed set-point from the next part on, clamped to what the mill allows; the value taken."""
        self.speed = min(SPEED_HIGH, max(SPEED_LOW, speed))
        return self.speed

    @property
    def offset_um(self) -> float:
        """The total compensation now: nominal wear of the parts made with this tool, plus feedback."""
        return self.spec.wear_um * self.tool.parts / self.spec.tool_parts + self.tool.offset_um

    def set_offset(self, offset_um: float) -> None:
        """Make ``offset_um`` the total compensation now; the PLC goes on from there."""
        self.tool.offset_um += offset_um - self.offset_um

    def shift_um(self, now_s: float) -> float:
        """Dimension error that is not noise: tool wear, time of day and the way to working temperature."""
        spec = self.spec
        day = spec.ambient_um * math.sin(2 * math.pi * (now_s / 3600.0 - spec.day_phase_h) / 24.0)
        return spec.wear_um * self.tool.wear + day - spec.restart_um * self.warm_up(now_s, spec.restart_tau_h)

    def finish_part(self, order: Order, now_s: float, exact: bool) -> Part:
        """The part that was being cut, and the wear it cost. ``exact`` compensates every known error."""
        spec, tool = self.spec, self.tool
        tool.wear += (
            self.load * self.hardness**spec.tool_hardness_exponent * tool.z * self.speed**spec.tool_speed_exponent
        ) / spec.tool_parts
        tool.parts += 1
        self.wear = tool.wear
        self.part_count += 1
        shift = self.shift_um(now_s)
        offset = shift if exact else self.offset_um
        sigma = spec.noise_um * (1 + spec.noise_wear * tool.wear**2) * math.sqrt(self.speed)
        porous = self._porous_u() < spec.porous_share
        breaks = spec.break_rate * math.exp(min(40.0, spec.break_slope * (tool.wear - 1.0)))
        return Part(
            mill=self,
            tool=tool,
            order=order,
            serial_no=f"{self.name}-{self.part_count:07d}",
            hardness=self.hardness,
            wear=tool.wear,
            dimension_um=shift - offset + sigma * self._dimension_z(),
            offset_um=offset,
            feedback_um=tool.offset_um,
            porous=porous,
            broken=self._break_u() < breaks,
            score=self._score_z() + (spec.porous_shift if porous else 0.0),
            sample_u=self._sample_u(),
            gauge_z=self._gauge_z(),
        )

    def feed_back(self, part: Part, measured_um: float) -> bool:
        """Correct the compensation by a measured part; True when it changed.

        Parts wait behind one another, so what was corrected since this one was cut is taken off first. Without that
        the dead time of the line makes the loop overshoot as soon as several parts of one drift are inspected.
        """
        if part.tool is not self.tool:
            return False
        remaining = measured_um - (self.tool.offset_um - part.feedback_um)
        if abs(remaining) <= self.spec.feedback_limit_um:
            return False
        self.tool.offset_um += self.spec.feedback_gain * remaining
        return True
