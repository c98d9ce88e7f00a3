"""Configuration of the schedule task: the plant's MES master data, the prices of the objective, and the effort."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from lineside_plugins.contract import TaskConfig
from lineside_plugins.tasks.schedule.problem import Weights


class Prices(TaskConfig):
    """Prices of the objective in minutes of setup; the defaults are those of the README's Pareto table."""

    late: float = Field(default=40.0, ge=0, le=1000, description="one late job order, at once")
    tardy: float = Field(default=0.05, ge=0, le=10, description="each minute a job order is late")
    margin: float = Field(
        default=0.03, ge=0, le=10, description="each minute by which a job order eats into margin_min"
    )
    margin_min: int = Field(
        default=300, ge=0, le=2880, description="slack that protects against stops nobody can predict"
    )
    idle: float = Field(default=0.3, ge=0, le=10, description="each minute a machine is done while job orders wait")
    boundary: float = Field(
        default=0.1, ge=0, le=10, description="each minute that due maintenance waits for a boundary"
    )
    change: float = Field(default=1.0, ge=0, le=100, description="each agreed job order that gets another predecessor")

    def weights(self) -> Weights:
        """The prices as whole points, a hundred to a minute of setup."""
        return Weights(
            setup=100,
            margin=round(100 * self.margin),
            margin_minutes=self.margin_min,
            late=round(100 * self.late),
            tardy=round(100 * self.tardy),
            idle=round(100 * self.idle),
            boundary=round(100 * self.boundary),
            change=round(100 * self.change),
        )


class ScheduleConfig(TaskConfig):
    """What the MES knows about the machines, and how hard to think. Defaults are a typical RefPlant."""

    machines: tuple[str, ...] = Field(
        default=("A1", "A2"), min_length=1, description="the parallel machines to be sequenced"
    )
    families: tuple[str, ...] = Field(
        default=("F0", "F1", "F2", "F3"), min_length=1, description="work masters; their place is ActiveFamily's number"
    )
    cycle_min: tuple[float, ...] = Field(
        default=(0.80, 1.00, 1.15, 1.40),
        description="nominal minutes per part by family; CycleTime corrects them as parts run",
    )
    setup_min: tuple[tuple[float, ...], ...] = Field(
        default=((3, 20, 30, 40), (15, 3, 22, 32), (25, 18, 3, 20), (36, 28, 15, 3)),
        description="nominal minutes of setup from row to column family; State corrects them as setups are seen",
    )
    first_setup_min: float = Field(
        default=12.0, ge=0, description="minutes of setup of a machine whose family is unknown"
    )
    downstream_min: float = Field(default=40.0, ge=0, description="minutes from the last part's cut to its shipping")
    availability: float = Field(default=0.9, gt=0.2, le=1, description="share of its planned time that a machine works")
    line_stops: dict[str, float] = Field(
        default={"B1": 1.0, "C1": 0.4, "C2": 0.4},
        description="share of the line's rate that is lost while these are down",
    )
    repair_h: float = Field(default=8.0, gt=0, description="mean hours of a repair")
    maintenance_h: float = Field(default=2.0, gt=0, description="mean hours of planned maintenance")
    short_stop_h: float = Field(default=0.5, gt=0, description="mean hours of a trip or of replacing a broken tool")
    prices: Prices = Field(default=Prices(), description="what the objective charges for")
    effort: float = Field(
        default=0.5, ge=0, le=1000, description="CP-SAT's deterministic time, times 10 ms; 0 = rules only"
    )
    wall_limit_s: float = Field(
        default=2.0, gt=0, description="safety bound on a solve; never reached on a healthy machine"
    )
    min_interval_s: float = Field(default=60.0, ge=1, description="least event time between two looks at the line")
    refresh_s: float = Field(
        default=3600.0, ge=60, description="a new schedule is made after this even if nothing changed"
    )

    @model_validator(mode="after")
    def _one_entry_per_family(self) -> Self:
        n = len(self.families)
        if len(self.cycle_min) != n or len(self.setup_min) != n or any(len(r) != n for r in self.setup_min):
            raise ValueError(
                f"cycle_min has {len(self.cycle_min)} entries and setup_min {len(self.setup_min)} rows of "
                f"{sorted({len(r) for r in self.setup_min})}; families has {n}: give one entry, row and column for each"
            )
        if min(self.cycle_min) <= 0 or min(map(min, self.setup_min)) < 0:
            raise ValueError("cycle_min and setup_min hold a negative time; expected minutes above 0 and from 0")
        return self
