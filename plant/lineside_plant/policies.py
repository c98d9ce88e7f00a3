"""Policies: who decides what in the plant, the plant's own rules, an outside adviser, or an all-seeing oracle."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lineside_plant.errors import SpecError
from lineside_plant.spec import SPEED_HIGH, SPEED_LOW


class Dispatch(StrEnum):
    """Which job order a free mill takes. A priority set by an Update always comes first."""

    EDD = "edd"  # earliest due date
    FAMILY_FIRST = "family_first"  # stay in the family unless an order is about to be late
    EXTERNAL = "external"  # priorities from outside; EDD where none is set
    ORACLE = "oracle"  # setup- and slack-aware index


class Maintenance(StrEnum):
    """What sends a machine to maintenance beside a MaintenanceRequest, which every plant honours."""

    NONE = "none"  # run to failure
    AGE = "age"  # at a fixed running age
    RANDOM_AGE = "random_age"  # at an age drawn per life; for recordings that show all of a life
    EXTERNAL = "external"  # by MaintenanceRequest only
    ORACLE = "oracle"  # by the true degradation X


class Inspection(StrEnum):
    """Which parts the end-of-line bench sees first."""

    SAMPLE = "sample"  # random samples only
    EXTERNAL = "external"  # parts flagged from outside, then random samples
    ORACLE = "oracle"  # every defective part


class Tools(StrEnum):
    """When a mill changes its tool and how it compensates the dimension."""

    BASELINE = "baseline"  # after a count of parts; nominal wear plus feedback
    ORACLE = "oracle"  # by true wear; exact compensation


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one arm of a trial. Ages in running hours, ``oracle_x`` and ``oracle_wear`` in units of X and W."""

    dispatch: Dispatch = Dispatch.EDD
    maintenance: Maintenance = Maintenance.AGE
    inspection: Inspection = Inspection.SAMPLE
    tools: Tools = Tools.BASELINE
    maintenance_age_h: float = 70.0
    random_age_h: tuple[float, float] = (40.0, 400.0)
    tool_change_parts: int = 240
    oracle_x: float = 0.86
    oracle_wear: float = 0.95
    oracle_due_weight: float = 0.6
    speed: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values a plant cannot follow.

        Raises:
            SpecError: A value is out of bounds.
        """
        if not SPEED_LOW <= self.speed <= SPEED_HIGH:
            raise SpecError(f"speed is {self.speed}; expected {SPEED_LOW} to {SPEED_HIGH}")
        if self.maintenance_age_h <= 0 or self.random_age_h[0] <= 0 or self.random_age_h[1] < self.random_age_h[0]:
            raise SpecError(
                f"maintenance_age_h is {self.maintenance_age_h}, random_age_h is {self.random_age_h}; "
                "expected positive hours, low before high"
            )
        if self.tool_change_parts < 1:
            raise SpecError(f"tool_change_parts is {self.tool_change_parts}; expected at least 1")


def baseline_policy() -> Policy:
    """P3, what a good plant does today: maintenance at 70 h, EDD, tool change at 240 parts, 5 % sampling."""
    return Policy()


def family_first_policy() -> Policy:
    """P3 with family-first EDD dispatch; no AI in it, and a recommendation has to beat it."""
    return Policy(dispatch=Dispatch.FAMILY_FIRST)


def external_policy() -> Policy:
    """P3's tools, with dispatch, maintenance and rejects left to commands from outside."""
    return Policy(dispatch=Dispatch.EXTERNAL, maintenance=Maintenance.EXTERNAL, inspection=Inspection.EXTERNAL)


def oracle_policy(speed: float = 1.0) -> Policy:
    """Sees every hidden state: the upper end of the gap. ``speed`` is the mills' set-point v, 1.0 as in P3."""
    return Policy(Dispatch.ORACLE, Maintenance.ORACLE, Inspection.ORACLE, Tools.ORACLE, speed=speed)
