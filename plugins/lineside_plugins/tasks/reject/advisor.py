"""From a batch of windows to advice about parts: heads, calibration, thresholds and reasons in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning import milling
from lineside_plugins.learning.measured import count_of, newest_inspections
from lineside_plugins.tasks.reject import curves as c
from lineside_plugins.tasks.reject import features as f
from lineside_plugins.tasks.reject.config import RejectConfig
from lineside_plugins.tasks.reject.decision import Thresholds, worth_scrapping
from lineside_plugins.tasks.reject.heads import (
    Calibration,
    DimensionHead,
    DimensionTrees,
    PorosityHead,
    PorosityTrees,
    outside_score,
)
from lineside_plugins.types import Advice, ModelData, OutputValue, Reason, SnapshotValue, WindowBatch

Floats: TypeAlias = NDArray[np.float64]
WORTH_EXPLAINING = 0.02  # probability below which a part is like any other
LIKE_ANY = "nothing sets this part apart from the others"
TOOL, AGO = f.NAMES.index("tool_count"), f.NAMES.index("stop_minutes_ago")
WARM = f.NAMES.index("temperature_rise")
MEASURED, MEASURED_MEAN = f.NAMES.index("inspected"), f.NAMES.index("inspected_mean")


@dataclass(frozen=True, slots=True)
class Rule:
    """Everything learned beside the heads. ``usual`` shares stand in for what a station cannot see."""

    tolerance_um: float
    dimension: Calibration
    porosity: Calibration
    thresholds: Thresholds
    usual_dimension: float
    usual_porosity: float


@dataclass(frozen=True, slots=True)
class Advisor:
    """Both heads and the rule of one trained model. Stateless between batches."""

    dimension: DimensionHead
    porosity: PorosityHead
    rule: Rule
    config: RejectConfig

    @classmethod
    def from_model(cls, model: ModelData, device: str, config: RejectConfig) -> Advisor:
        """Build from stored tensors; torch is imported only for heads that are networks."""
        winner = cast("Mapping[str, str]", model.config["winner"])
        dimension: DimensionHead
        porosity: PorosityHead
        if winner["dimension"] == "network":
            from lineside_plugins.tasks.reject.model import NetworkDimension  # noqa: PLC0415  imports torch

            dimension = NetworkDimension.from_tensors(model.tensors, device)
        else:
            dimension = DimensionTrees.from_tensors(model.tensors)
        if winner["porosity"] == "network":
            from lineside_plugins.tasks.reject.model import NetworkPorosity  # noqa: PLC0415  imports torch

            porosity = NetworkPorosity.from_tensors(model.tensors, device)
        else:
            porosity = PorosityTrees.from_tensors(model.tensors)
        return cls(dimension, porosity, read_rule(model.config), config)

    def advise(self, batch: WindowBatch) -> list[Advice | None]:
        """One entry per window, in the batch's order."""
        out: list[Advice | None] = [None] * len(batch)
        snapshots: tuple[Mapping[str, SnapshotValue], ...] = batch.snapshots or ({},) * len(batch)
        named = [b for b in range(len(batch)) if snapshots[b].get("SerialNo")]
        mills = [b for b in named if _is_number(snapshots[b].get("ToolCount"))]
        presses = [b for b in named if _is_curve(snapshots[b].get("ForceCurve"))]
        if mills:
            for b, advice in zip(mills, self._of_mills(batch, mills), strict=True):
                out[b] = advice
        if presses:
            curves = np.stack([np.asarray(snapshots[b]["ForceCurve"]) for b in presses])
            probability = self.rule.porosity(self.porosity.score(curves))
            for b, p in zip(presses, probability.tolist(), strict=True):
                out[b] = self._of_press(str(snapshots[b]["SerialNo"]), p)
        return out

    def _of_mills(self, batch: WindowBatch, rows: list[int]) -> list[Advice]:
        values = milling.channel_order(batch)[rows]
        end_s = batch.end[rows].astype(np.int64) / 1e6
        part = np.array([[_number(batch.snapshots[b].get(t)) for t in ("ToolCount", "ToolOffset")] for b in rows])
        part = np.where(np.isfinite(part), part, values[:, -1, [milling.TOOL, milling.OFFSET]])
        events = [batch.records[b].get("events", ()) if batch.records else () for b in rows]
        x, beyond = f.dimension_features(
            values, end_s, part, np.stack([newest_inspections(e, f.INSPECTED) for e in events])
        )
        mean, spread = self.dimension.mean_and_spread(x)
        mean = mean - beyond
        p = self.rule.dimension(outside_score(mean, spread, self.rule.tolerance_um))
        shares: dict[int, Floats] = {}
        telling = np.flatnonzero(p > WORTH_EXPLAINING)
        if len(telling):
            found = self.dimension.shares(x[telling])
            found[:, f.OFFSETS] = -beyond[telling]
            shares = dict(zip(telling.tolist(), found, strict=True))
        count = np.array([count_of(batch.snapshots[b]["SerialNo"]) for b in rows])
        flag = self._thresholds().flags_dimension(p, count)
        out = []
        for i, b in enumerate(rows):
            reasons = _reasons(shares[i], x[i], float(mean[i]), float(spread[i])) if i in shares else ()
            serial_no = str(batch.snapshots[b]["SerialNo"])
            out.append(_advice(serial_no, (float(p[i]), self.rule.usual_porosity), bool(flag[i]), reasons))
        return out

    def _thresholds(self) -> Thresholds:
        """The tuned thresholds, each replaced by the configured one where there is one."""
        tuned, own = self.rule.thresholds, self.config
        sure = worth_scrapping(own.escape_cost)
        tuned = replace(tuned, porosity=min(tuned.porosity, sure), sure=sure)
        if own.dimension_threshold is not None:
            tuned = replace(tuned, dimension=own.dimension_threshold, every=1, sure=1.0)
        if own.porosity_threshold is not None:
            tuned = replace(tuned, porosity=own.porosity_threshold)
        return tuned

    def _of_press(self, serial_no: str, p: float) -> Advice:
        times = p / max(self.rule.usual_porosity, 1e-6)
        text = f"press signature: {times:.0f} times as likely porous as the usual part"
        reasons = (Reason("ForceCurve", 1.0, text),) if p > WORTH_EXPLAINING else ()
        return _advice(serial_no, (self.rule.usual_dimension, p), p > self._thresholds().porosity, reasons, own=p)


def read_rule(config: Mapping[str, object]) -> Rule:
    """The rule as stored in a model's configuration."""
    r = cast("Mapping[str, Any]", config["rule"])
    thresholds = r["thresholds"]
    return Rule(
        tolerance_um=float(r["tolerance_um"]),
        dimension=Calibration(*(float(v) for v in r["dimension"])),
        porosity=Calibration(*(float(v) for v in r["porosity"])),
        thresholds=Thresholds(float(thresholds[0]), float(thresholds[1]), int(thresholds[2])),
        usual_dimension=float(r["usual_dimension"]),
        usual_porosity=float(r["usual_porosity"]),
    )


def _is_number(value: SnapshotValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_curve(value: SnapshotValue) -> bool:
    return isinstance(value, np.ndarray) and value.shape == (c.CURVE,) and bool(np.isfinite(value).all())


def _number(value: SnapshotValue) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _advice(
    serial_no: str, heads: tuple[float, float], flag: bool, reasons: tuple[Reason, ...], *, own: float | None = None
) -> Advice:
    """``heads`` = (dimension, porosity) probabilities; ``own`` the one this station measured, by default dimension."""
    p = heads[0] if own is None else own
    value: dict[str, OutputValue] = {
        "flag": flag,
        "serial_no": serial_no,
        "defect_probability": 1.0 - (1.0 - heads[0]) * (1.0 - heads[1]),
        "dimension_probability": heads[0],
        "porosity_probability": heads[1],
    }
    return Advice(value, p if flag else 1.0 - p, reasons=reasons or (Reason("SerialNo", 0.0, LIKE_ANY),))


def _reasons(shares: Floats, row: Floats, mean: float, spread: float) -> tuple[Reason, ...]:
    """The groups that push the expected deviation the way it goes, largest first."""
    toward = shares * (1.0 if mean >= 0 else -1.0)
    whole = max(float(np.abs(shares).sum()), 1e-9)
    first = [g for g in np.argsort(-toward)[:3] if toward[g] > 0]
    expected = f"deviation {mean:+.0f} um expected, give or take {2 * spread:.0f}"
    out = []
    for rank, g in enumerate(first):
        words = _words(f.GROUPS[g], row, -float(shares[f.OFFSETS]))
        out.append(Reason(f.GROUPS[g], float(toward[g] / whole), f"{expected}: {words}" if rank == 0 else words))
    return tuple(out)


def _words(group: str, row: Floats, beyond: float) -> str:
    if group == "ToolCount":
        return f"tool has cut {row[TOOL]:.0f} parts"
    if group == "ToolOffset":
        return f"PLC compensates {beyond:+.0f} um beyond the usual course"
    if group == "State" and np.isfinite(row[AGO]):
        return f"mill restarted {row[AGO]:.0f} min ago"
    if group == "SpindleTemp" and np.isfinite(row[WARM]):
        return f"spindle {row[WARM]:+.1f} degC against its mean of six hours, and the hour of the day"
    if group == "inspections" and row[MEASURED] > 0:
        mean = row[MEASURED_MEAN] - beyond
        return f"the last {row[MEASURED]:.0f} inspected parts of this tool average {mean:+.0f} um as compensated now"
    return f"{group} as in parts that deviated"
