"""PlantSpec: every constant and exponent of RefPlant's physics, varied per plant so that nothing can be hard-coded.

Nominal values and their meaning are those of PLANT.md in the project's design pages. Hours unless a name says
otherwise. ``_varied(value, spread)`` marks a constant that ``PlantSpec.draw`` multiplies by U(1 - spread, 1 + spread).
"""

# ruff: noqa: RUF009 -- _varied() is dataclasses.field() with its metadata filled in
from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from lineside_plant.errors import SpecError
from lineside_plant.streams import Streams

MILLS = ("A1", "A2")
PRESS = "B1"
GRINDERS = ("C1", "C2")
MACHINES = (*MILLS, PRESS, *GRINDERS)
FAMILIES = 4
SPEED_LOW, SPEED_HIGH = 0.8, 1.15

Vector = tuple[float, ...]
Matrix = tuple[Vector, ...]


def _varied(value: Any, spread: float) -> Any:
    """A constant of the plant with the relative spread of its draw per plant."""
    return field(default=value, metadata={"spread": spread})


@dataclass(frozen=True, slots=True)
class PlantSpec:
    """Constants of one plant. Immutable; equal specs and equal run seeds give equal runs."""

    name: str = "nominal"

    # --- families F0..F3 and cycle times (min)
    mix: Vector = (0.35, 0.30, 0.20, 0.15)
    mill_cycle_min: Vector = _varied((0.80, 1.00, 1.15, 1.40), 0.10)
    load: Vector = _varied((0.80, 1.00, 1.10, 1.30), 0.08)
    setup_min: Matrix = _varied(((3, 20, 30, 40), (15, 3, 22, 32), (25, 18, 3, 20), (36, 28, 15, 3)), 0.20)
    first_setup_min: float = 12.0
    press_cycle_min: float = _varied(0.46, 0.05)
    press_slowdown: float = _varied(0.25, 0.20)  # cycle x (1 + this X^2)
    grind_cycle_min: float = _varied(0.94, 0.05)
    cycle_fixed_share: float = _varied(0.4, 0.10)  # of a mill's cycle, not scaled by 1/v
    buffer_parts: int = 30
    conveyor_s: float = 60.0  # grinder to end-of-line check

    # --- job orders
    pool_orders: int = 12
    lot_low: int = 60
    lot_high: int = 179
    due_base_h: float = 6.0
    due_slack_low_h: float = 8.0
    due_slack_high_h: float = 28.0

    # --- degradation X, repair, trips
    life_h: float = _varied(120.0, 0.15)
    life_sigma: float = _varied(0.60, 0.10)  # Z ~ LogN(0, this)
    gamma_scale: float = _varied(0.02, 0.15)
    speed_exponent: float = _varied(1.5, 0.15)
    bearing_share: float = _varied(0.65, 0.15)
    repair_h: float = _varied(8.0, 0.15)
    repair_cv: float = 0.5
    maintenance_h: float = _varied(2.0, 0.15)
    maintenance_cv: float = 0.2
    trip_mtbf_h: float = _varied(30.0, 0.15)
    trip_h: float = _varied(0.4, 0.15)
    trip_cv: float = 0.7
    visible_x: float = 0.7  # a crew that opens a machine sees its failure mode from here on

    # --- tools and material
    tool_parts: float = _varied(420.0, 0.12)
    tool_sigma: float = _varied(0.15, 0.15)
    tool_hardness_exponent: float = _varied(2.0, 0.15)
    tool_speed_exponent: float = _varied(3.0, 0.15)
    tool_change_min: float = 4.0
    break_rate: float = _varied(2e-4, 0.20)
    break_slope: float = _varied(8.0, 0.10)
    break_min: float = _varied(45.0, 0.15)
    material_low: int = 1000
    material_high: int = 1999
    hardness_sigma: float = _varied(0.15, 0.15)

    # --- dimension (um) and porosity
    wear_um: float = _varied(50.0, 0.12)
    ambient_um: float = _varied(9.0, 0.15)
    restart_um: float = _varied(22.0, 0.15)
    restart_tau_h: float = _varied(0.67, 0.15)
    restart_stop_h: float = 0.3
    day_phase_h: float = _varied(9.0, 0.20)
    noise_um: float = _varied(5.0, 0.10)
    noise_wear: float = _varied(0.8, 0.15)
    tolerance_um: float = 25.0
    porous_share: float = _varied(0.005, 0.20)
    porous_shift: float = _varied(2.8, 0.08)
    gauge_um: float = _varied(2.0, 0.15)
    feedback_limit_um: float = 15.0
    feedback_gain: float = 0.6
    inspection_share: float = 0.05
    bench_tokens: float = 20.0
    bench_reserve: float = 2.0

    # --- power (kW), KPI side
    base_kw: float = _varied(2.5, 0.10)
    mill_kw: float = _varied(8.0, 0.10)
    press_kw: float = _varied(15.0, 0.10)
    grind_kw: float = _varied(7.0, 0.10)
    setup_kw: float = _varied(4.0, 0.10)

    # --- signals at 1 Hz
    vib_mm_s: float = _varied(1.0, 0.20)
    vib_bearing: float = _varied(1.6, 0.15)
    vib_lubrication: float = _varied(0.15, 0.20)
    vib_exponent: float = _varied(1.8, 0.15)
    vib_load_exponent: float = _varied(2.0, 0.15)
    vib_hardness_exponent: float = _varied(2.5, 0.15)
    vib_wear: float = _varied(0.4, 0.20)
    vib_noise: float = _varied(0.2, 0.15)
    mount_sigma: float = _varied(0.35, 0.15)
    kurtosis_bearing: float = _varied(5.0, 0.20)
    kurtosis_exponent: float = _varied(3.0, 0.15)
    kurtosis_noise: float = _varied(1.2, 0.15)
    drift_mtbf_h: float = _varied(150.0, 0.15)
    drift_gain: float = _varied(2.2, 0.10)
    drift_per_h: float = _varied(0.12, 0.20)
    temp_c: float = _varied(40.0, 0.08)
    temp_bearing_c: float = _varied(3.0, 0.20)
    temp_lubrication_c: float = _varied(14.0, 0.15)
    temp_load_c: float = _varied(8.0, 0.15)
    temp_day_c: float = _varied(6.0, 0.15)
    temp_restart_c: float = _varied(12.0, 0.15)
    temp_restart_tau_h: float = _varied(0.7, 0.15)
    temp_cooling_tau_h: float = _varied(0.25, 0.15)
    temp_noise_c: float = _varied(1.5, 0.15)
    spindle_base_kw: Vector = _varied((5.0, 9.0, 3.5), 0.10)  # mill, press, grinder
    spindle_cut_kw: Vector = _varied((3.0, 5.0, 2.5), 0.10)
    spindle_wear: float = _varied(0.35, 0.15)
    spindle_noise: float = _varied(0.03, 0.15)

    # --- press force curve (kN over 256 points of the stroke, 0..1)
    curve_peak_kn: float = _varied(400.0, 0.15)
    curve_rise: float = _varied(0.25, 0.15)
    curve_rise_width: float = _varied(0.035, 0.20)
    curve_fall: float = _varied(0.84, 0.04)
    curve_fall_width: float = _varied(0.02, 0.20)
    curve_slope: float = _varied(0.15, 0.30)
    curve_hardness_exponent: float = _varied(0.8, 0.15)
    curve_jitter: float = _varied(0.004, 0.20)  # of the stroke, one draw per part
    curve_noise_kn: float = _varied(3.0, 0.15)
    curve_ripple_kn: float = _varied(8.0, 0.20)  # x X^2 of the press
    curve_ripple_cycles: float = _varied(18.0, 0.20)
    signature_at: float = _varied(0.60, 0.12)
    signature_width: float = _varied(0.03, 0.20)
    signature_sigma: float = 0.3  # what a matched filter adds to the score, in score units

    def __post_init__(self) -> None:
        """Refuse a spec whose families do not agree.

        Raises:
            SpecError: A per-family field has a wrong length, or the mix does not add up to 1.
        """
        for name in ("mix", "mill_cycle_min", "load", "setup_min"):
            if len(getattr(self, name)) != FAMILIES:
                raise SpecError(f"{name} has {len(getattr(self, name))} entries; expected one per family, {FAMILIES}")
        if abs(sum(self.mix) - 1.0) > 1e-9:
            raise SpecError(f"mix adds up to {sum(self.mix)}; expected 1")

    @classmethod
    def nominal(cls) -> PlantSpec:
        """The plant of PLANT.md, every constant at its written value."""
        return cls()

    @classmethod
    def draw(cls, seed: int) -> PlantSpec:
        """A plant whose constants and exponents are drawn around the nominal ones; equal seeds, equal plants.

        Each field has a stream of its own, so a field added later changes no other field of an old seed.
        """
        streams = Streams(seed)
        values: dict[str, Any] = {"name": f"plant-{seed}"}
        for f in fields(cls):
            spread = f.metadata.get("spread")
            if spread:
                values[f.name] = _scaled(f.default, spread, streams.generator("spec", f.name))
        return cls(**values)

    @classmethod
    def low_gain(cls, seed: int) -> PlantSpec:
        """A drawn plant in which little can be gained: setups of minutes and lives of cv .39, so that age tells.

        The life's cv is sqrt(exp(sigma^2 + gamma_scale) - 1), hence sigma .35 for .39.
        """
        spec = cls.draw(seed)
        setup = tuple(tuple(3.0 + 0.1 * (m - 3.0) if m > 4 else m for m in row) for row in spec.setup_min)
        return replace(spec, name=f"low-gain-{seed}", setup_min=setup, first_setup_min=4.0, life_sigma=0.35)

    def ideal_cycle_s(self, family: int) -> float:
        """Mill cycle at the highest speed, the time OEE credits a good part with (s)."""
        return self.mill_cycle_s(family, SPEED_HIGH)

    def mill_cycle_s(self, family: int, speed: float) -> float:
        """Mill cycle at ``speed`` (s)."""
        return 60.0 * self.mill_cycle_min[family] * (self.cycle_fixed_share + (1 - self.cycle_fixed_share) / speed)

    def setup_s(self, before: int | None, after: int) -> float:
        """Setup time at a mill from family ``before`` (None = never set up) to ``after`` (s)."""
        return 60.0 * (self.first_setup_min if before is None else self.setup_min[before][after])


def _scaled(value: Any, spread: float, rng: np.random.Generator) -> Any:
    """``value`` with every number in it multiplied by its own U(1 - spread, 1 + spread)."""
    if isinstance(value, tuple):
        return tuple(_scaled(v, spread, rng) for v in value)
    return float(value * rng.uniform(1 - spread, 1 + spread))
