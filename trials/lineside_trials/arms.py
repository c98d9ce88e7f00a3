"""The four arms of a trial. Each runs the same plant with the same random streams; only the decisions differ."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

from lineside_plant import Plant, PlantSpec, Policy, baseline_policy, family_first_policy, oracle_policy

KPIS = (
    "oee",
    "defects_made",
    "defects_escaped",
    "unplanned_downtime",
    "total_downtime",
    "on_time_delivery",
    "kwh_per_good_part",
)
HIGHER_IS_BETTER = frozenset({"oee", "on_time_delivery"})


class Arm(StrEnum):
    """Who decides."""

    BASELINE = "baseline"  # P3: maintenance at 70 h of age, EDD, tool change at 240 parts, 5 % sampling
    FAMILY_FIRST = "family_first"  # P3 with family-first EDD: what a good dispatcher does without any model
    LINESIDE = "lineside"
    ORACLE = "oracle"  # sees the hidden states


@dataclass(frozen=True, slots=True)
class Replication:
    """One paired run: a plant, a seed of its random streams, and how long it runs (hours, warm-up included)."""

    plant_seed: int
    run_seed: int
    horizon_h: float
    warmup_h: float
    low_gain: bool = False

    def spec(self) -> PlantSpec:
        """The plant that the seed draws."""
        return PlantSpec.low_gain(self.plant_seed) if self.low_gain else PlantSpec.draw(self.plant_seed)

    def plant(self, policy: Policy) -> Plant:
        """A fresh plant at hour 0 under ``policy``."""
        return Plant(self.spec(), self.run_seed, policy, horizon_h=self.horizon_h, warmup_h=self.warmup_h)


_POLICIES = {Arm.BASELINE: baseline_policy, Arm.FAMILY_FIRST: family_first_policy, Arm.ORACLE: oracle_policy}


def run_rule_arm(arm: Arm, replication: Replication) -> dict[str, float]:
    """KPIs of an arm that needs no Lineside."""
    plant = replication.plant(_POLICIES[arm]())
    plant.advance(replication.horizon_h * 3600.0)
    return {name: float(value) for name, value in asdict(plant.kpis()).items() if name in KPIS}
