"""From a batch of windows to an advised tool offset, with its interval and its reasons in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning import milling
from lineside_plugins.learning.measured import newest_inspections
from lineside_plugins.learning.normal import NormalHead, NormalTrees
from lineside_plugins.tasks.compensation import features as f
from lineside_plugins.tasks.compensation.config import CompensationConfig
from lineside_plugins.types import Advice, ModelData, OutputValue, Reason, SnapshotValue, WindowBatch

Floats: TypeAlias = NDArray[np.float64]
SPREAD_UM = (1.0, 60.0)  # outside, a spread is an extrapolation
SCALE_UM = 10.0  # outputs of the network in tens of um, so that a fresh one starts in the right range
COUNT, AGO, WARM = f.NAMES.index("tool_count"), f.NAMES.index("stop_minutes_ago"), f.NAMES.index("temperature_rise")
MEASURED, POWER = f.NAMES.index("inspected"), f.NAMES.index("power_since_tool")


@dataclass(frozen=True, slots=True)
class Advisor:
    """One trained model with its calibration. Stateless between batches.

    ``margin`` is the half width of the 90 % interval of a part's course in units of the spread, split-conformal on
    validation plants; ``tolerance_um`` what the bench was seen to call defective.
    """

    head: NormalHead
    margin: float
    tolerance_um: float
    config: CompensationConfig

    @classmethod
    def from_model(cls, model: ModelData, device: str, config: CompensationConfig) -> Advisor:
        """Build from stored tensors; torch is imported only for a network."""
        head: NormalHead
        if model.config["winner"] == "network":
            from lineside_plugins.learning.normal_network import NormalNetwork  # noqa: PLC0415  imports torch

            head = NormalNetwork.from_tensors(model.tensors, SPREAD_UM, SCALE_UM, device)
        else:
            head = NormalTrees.from_tensors(model.tensors, SPREAD_UM)
        return cls(head, _number(model.config["margin"]), _number(model.config["tolerance_um"]), config)

    def advise(self, batch: WindowBatch) -> list[Advice | None]:
        """One entry per window, in the batch's order; None where tool count or offset is not known."""
        out: list[Advice | None] = [None] * len(batch)
        values = milling.channel_order(batch).astype(np.float64)
        snapshots: tuple[Mapping[str, SnapshotValue], ...] = batch.snapshots or ({},) * len(batch)
        part = np.array([[_number(s.get(t)) for t in ("ToolCount", "ToolOffset")] for s in snapshots]).reshape(-1, 2)
        part = np.where(np.isfinite(part), part, values[:, -1, [milling.TOOL, milling.OFFSET]])
        known = np.flatnonzero(np.isfinite(part).all(axis=1))
        if not len(known):
            return out
        events = [batch.records[b].get("events", ()) if batch.records else () for b in known]
        end_s = batch.end[known].astype(np.int64) / 1e6
        x = f.course_features(values[known], end_s, part[known], np.stack([newest_inspections(e) for e in events]))
        mean, spread = self.head.mean_and_spread(x)
        shares = self.head.shares(x, f.groups_of_features())
        for i, b in enumerate(known.tolist()):
            forecast = Forecast(float(mean[i]), float(spread[i]), float(part[b, 1]))
            out[b] = self._advice(forecast, shares[i], x[i])
        return out

    def _advice(self, forecast: Forecast, shares: Floats, row: Floats) -> Advice:
        flag = abs(forecast.change) >= max(self.config.deadband_um, 1e-9)
        value: dict[str, OutputValue] = {
            "flag": flag,
            "tool_offset": round(forecast.course, 2),
            "deviation": round(forecast.change, 2),
            "spread": round(forecast.spread, 2),
        }
        half = self.margin * forecast.spread
        nearer = forecast.nearer
        return Advice(
            value,
            nearer if flag else 1.0 - nearer,
            interval=(forecast.course - half, forecast.course + half),
            reasons=_reasons(forecast, self.off_share(forecast), shares, row),
        )

    def off_share(self, forecast: Forecast) -> float:
        """Share of parts out of tolerance if the offset stays as it is."""
        scale = forecast.spread * math.sqrt(2.0)
        upper, lower = self.tolerance_um - forecast.change, self.tolerance_um + forecast.change
        return 0.5 * (math.erfc(upper / scale) + math.erfc(lower / scale))


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where a part would lie without compensation (``course``, um), its spread, and the ``offset`` in force."""

    course: float
    spread: float
    offset: float

    @property
    def change(self) -> float:
        """Deviation to be expected at the present offset, um: what the offset should change by."""
        return self.course - self.offset

    @property
    def nearer(self) -> float:
        """Probability that the next part lies nearer to nominal with the advised offset than with the present one."""
        return 0.5 * math.erfc(-abs(self.change) / (2.0 * self.spread) / math.sqrt(2.0))


def _reasons(forecast: Forecast, off: float, shares: Floats, row: Floats) -> tuple[Reason, ...]:
    whole = max(float(np.abs(shares).sum()), 1e-9)
    expected = f"deviation {forecast.change:+.0f} um expected at the present offset, {off:.1%} of parts off dimension"
    out = []
    for rank, g in enumerate(np.argsort(-np.abs(shares))[:3].tolist()):
        words = f"{_words(f.GROUPS[g], row)}: {shares[g]:+.0f} um"
        out.append(Reason(f.GROUPS[g], float(abs(shares[g])) / whole, f"{expected}: {words}" if rank == 0 else words))
    return tuple(out)


def _words(group: str, row: Floats) -> str:
    if group == "ToolCount":
        return f"tool has cut {row[COUNT]:.0f} parts"
    if group == "State" and np.isfinite(row[AGO]):
        return f"mill restarted {row[AGO]:.0f} min ago"
    if group == "SpindleTemp" and np.isfinite(row[WARM]):
        return f"spindle {row[WARM]:+.1f} degC against its mean of six hours, and the hour of the day"
    if group == "SpindlePower" and np.isfinite(row[POWER]):
        return f"{row[POWER]:.1f} kW since the tool was mounted"
    if group == "inspections" and row[MEASURED] > 0:
        return f"the last {row[MEASURED]:.0f} inspected parts of this tool"
    return group


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
