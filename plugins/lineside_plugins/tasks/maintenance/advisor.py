"""From a batch of windows to advice: model, decision rule, health and reasons in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning.trees import TreeEnsemble
from lineside_plugins.tasks.maintenance import features as f
from lineside_plugins.tasks.maintenance import survival
from lineside_plugins.tasks.maintenance.config import MaintenanceConfig
from lineside_plugins.tasks.maintenance.dataset import RENEWALS, seconds
from lineside_plugins.tasks.maintenance.hazards import GROUPS, Hazards, HazardTrees
from lineside_plugins.types import Advice, DeviceHealth, ModelData, Reason, Record, WindowBatch

Floats: TypeAlias = NDArray[np.float64]
NAMES = f.feature_names()
RUNNING_SHARE, AGE = NAMES.index("running_share"), NAMES.index("age_h")
VIBRATION_RISE, KURTOSIS_RISE = NAMES.index("vibration_rise"), NAMES.index("kurtosis_rise")
TEMPERATURE_RISE, POWER = NAMES.index("temperature_rise"), NAMES.index("power")
CELLS_NEEDED = 4  # an hour of running since the renewal, below which nothing can be said
WORTH_EXPLAINING = 0.05  # failure probability below which "no sign of wear" is the whole story
NO_SIGN = Reason("VibRms", 0.0, "no sign of wear against this machine's own level since its last renewal")


@dataclass(frozen=True, slots=True)
class Rule:
    """Everything learned beside the models. Margins widen the 5 % and 95 % quantiles of log(1 + remaining life).

    The flag is raised where the probability of a failure within ``horizon_h`` exceeds ``threshold``.
    """

    threshold: float
    horizon_h: float
    lags: tuple[int, ...]
    low_margin: float
    high_margin: float


@dataclass(frozen=True, slots=True)
class Advisor:
    """Hazard model, mode model and rule of one trained model. Stateless between batches."""

    hazards: Hazards
    modes: TreeEnsemble  # log-odds of bearing against lubrication
    drift: TreeEnsemble  # log-odds of a drifted vibration sensor
    compensation: f.Compensation
    rule: Rule
    config: MaintenanceConfig

    @classmethod
    def from_model(cls, model: ModelData, device: str, config: MaintenanceConfig) -> Advisor:
        """Build from stored tensors; torch is imported only if a network won."""
        hazards: Hazards
        if model.config["winner"] == "network":
            from lineside_plugins.tasks.maintenance.model import NetworkHazards  # noqa: PLC0415  imports torch

            hazards = NetworkHazards.from_tensors(model.tensors, device)
        else:
            hazards = HazardTrees.from_tensors(model.tensors)
        compensation = f.Compensation(np.asarray(model.tensors["compensation"], dtype=np.float64))
        modes, drift = (TreeEnsemble.from_tensors(model.tensors, prefix) for prefix in ("mode.", "drift."))
        return cls(hazards, modes, drift, compensation, read_rule(model.config), config)

    def advise(self, batch: WindowBatch) -> list[Advice | None]:
        """One entry per window, in the batch's order."""
        values = f.channel_order(batch)
        end_s = batch.end.astype(np.int64) / 1e6
        records: Sequence[Mapping[str, tuple[Record, ...]]] = batch.records or ({},) * len(batch)
        renewed = np.array([_last_renewal(r.get("events", ())) for r in records], dtype=np.float64)
        age_s = np.where(renewed <= end_s, end_s - renewed, np.nan)
        now = f.features(values, end_s, age_s, self.compensation, period_s=batch.period_s)[:, 0]
        curve = survival.curve(self.hazards.hazard(now))
        p = survival.failure_probability(curve)
        near = survival.failure_probability(curve, self.rule.horizon_h)
        flag = (near > self.threshold) & ~(age_s < 3600.0 * self.config.min_age_h)
        if flag.any():
            flag[flag] = self._lasting(values[flag], end_s[flag], age_s[flag], batch.period_s)
        life = lives(curve, self.rule)
        telling = np.flatnonzero((p > WORTH_EXPLAINING) | flag)
        modes = self._modes(now, near, telling)
        reasons = dict(zip(telling.tolist(), self._reasons(now[telling]), strict=True))
        seen = now[:, RUNNING_SHARE] * values.shape[1] >= CELLS_NEEDED - 0.5
        state = values[:, -1, f.STATE]
        out: list[Advice | None] = []
        for i in range(len(batch)):
            found = _Finding(float(end_s[i]), bool(flag[i]), float(p[i]), float(near[i]), _three(life[i]), modes[i])
            if state[i] == f.FAILED:
                out.append(_standing(found, failed=_failed(records[i].get("events", ()))))
            elif state[i] == f.MAINTAINED or not seen[i]:
                out.append(None)
            else:
                out.append(self._advice(found, reasons.get(i, (NO_SIGN,))))
        return out

    @property
    def threshold(self) -> float:
        """The configured threshold, else the tuned one."""
        return self.rule.threshold if self.config.threshold is None else self.config.threshold

    def _lasting(self, values: NDArray[np.float32], end_s: Floats, age_s: Floats, period_s: float) -> NDArray[np.bool_]:
        """Whether the earlier looks would have exceeded the threshold too, so that no noisy minute raises a flag."""
        earlier = tuple(lag for lag in self.rule.lags if lag)
        if not earlier:
            return np.ones(len(values), dtype=np.bool_)
        x = f.features(values, end_s, age_s, self.compensation, period_s=period_s, lags=earlier)
        hazard = self.hazards.hazard(x.reshape(-1, x.shape[2]), survival.DECISION_INTERVALS)
        near = survival.failure_probability(survival.curve(hazard), self.rule.horizon_h).reshape(x.shape[:2])
        return np.asarray((near > self.threshold).all(axis=1))

    def _advice(self, found: _Finding, reasons: tuple[Reason, ...]) -> Advice:
        health = DeviceHealth.NORMAL
        if found.flag:
            health = DeviceHealth.MAINTENANCE_REQUIRED
            risk = f"failure within {self.rule.horizon_h:.0f} h: {found.near:.0%}; asked for above {self.threshold:.1%}"
            reasons = (*reasons, Reason("State", 0.0, risk))
        elif found.mode == "sensor_drift":
            health = DeviceHealth.CHECK_FUNCTION
            reasons = (
                Reason("VibRms", 1.0, "vibration rose alone, as it does when the sensor drifts, not the machine"),
            )
        elif found.near > 0.5 * self.threshold:
            health = DeviceHealth.OFF_SPEC
        confidence = found.p if found.flag else 1.0 - found.p
        return Advice(found.value(health), confidence, found.life[1:], reasons)

    def _modes(self, x: Floats, near: Floats, telling: NDArray[np.intp]) -> list[str]:
        """What is likely wrong with each machine; a drifting sensor is named as long as nothing is to be done."""
        modes = ["none"] * len(x)
        for i, bearing in zip(telling.tolist(), self.modes.margin(x[telling]).tolist(), strict=True):
            modes[i] = "bearing" if bearing > 0.0 else "lubrication"
        for i in np.flatnonzero((self.drift.margin(x) > 0.0) & (near < self.threshold)).tolist():
            modes[i] = "sensor_drift"
        return modes

    def _reasons(self, x: Floats) -> list[tuple[Reason, ...]]:
        if not len(x):
            return []
        shares = self.hazards.shares(x, survival.DECISION_INTERVALS)
        total = np.maximum(np.abs(shares).sum(axis=1), 1e-9)
        out = []
        for row, share, whole in zip(x, shares, total, strict=True):
            first = [g for g in np.argsort(-share)[:3] if share[g] > 0]
            out.append(tuple(Reason(GROUPS[g], float(share[g] / whole), _words(GROUPS[g], row)) for g in first))
        return out


def read_rule(config: Mapping[str, object]) -> Rule:
    """The rule as stored in a model's configuration."""
    r = cast("Mapping[str, Any]", config["rule"])
    return Rule(
        threshold=float(r["threshold"]),
        horizon_h=float(r.get("horizon_h", survival.HORIZON_H)),  # models from before it was learned decide by a day
        lags=tuple(int(n) for n in r["lags"]),
        low_margin=float(r["low_margin"]),
        high_margin=float(r["high_margin"]),
    )


def lives(curve: Floats, rule: Rule) -> Floats:
    """Remaining life (R, 3) in h: median, and the conformal 90 % interval around it, between 0 and the cap."""
    found = np.log1p(survival.quantile(curve, np.array([0.5, 0.05, 0.95])))
    found += np.array([0.0, -rule.low_margin, rule.high_margin])
    out = np.clip(np.expm1(found), 0.0, survival.RUL_CAP_H)
    out[:, 1] = np.minimum(out[:, 1], out[:, 0])
    out[:, 2] = np.maximum(out[:, 2], out[:, 0])
    return np.asarray(out)


def _last_renewal(events: Sequence[Record]) -> float:
    times = [seconds(e) for e in events if e.get("kind") in RENEWALS]
    return max(times, default=float("nan"))


def _failed(events: Sequence[Record]) -> bool:
    """Whether the newest event is a failure; a machine that stands still without one has broken its tool."""
    return bool(events) and events[-1].get("kind") == "failure"


def _three(life: Floats) -> tuple[float, float, float]:
    median, low, high = life.tolist()
    return median, low, high


@dataclass(frozen=True, slots=True)
class _Finding:
    """What was found about one machine at ``end_s``; ``life`` = (median, low, high) in h.

    ``p`` is the failure probability within a day, ``near`` that within the rule's horizon.
    """

    end_s: float
    flag: bool
    p: float
    near: float
    life: tuple[float, float, float]
    mode: str

    def value(self, health: DeviceHealth) -> dict[str, bool | float | str]:
        """The declared outputs."""
        runs_out = datetime.fromtimestamp(self.end_s, UTC) + timedelta(hours=self.life[0])
        return {
            "flag": self.flag,
            "failure_probability": self.p,
            "rul_h": self.life[0],
            "rul_low_h": self.life[1],
            "rul_high_h": self.life[2],
            "mode": self.mode,
            "device_health": int(health),
            "predicted_time": runs_out.isoformat(timespec="seconds"),
        }


def _standing(found: _Finding, *, failed: bool) -> Advice:
    """A machine that stands still with a fault: nothing to ask for, the crew is on its way."""
    if failed:
        found = _Finding(found.end_s, flag=False, p=1.0, near=1.0, life=(0.0, 0.0, 0.0), mode="none")
        reason = Reason("State", 1.0, "the machine has failed and is under repair")
    else:
        found = replace(found, flag=False)
        reason = Reason("State", 1.0, "the machine stands still with a fault that ends no life, such as a broken tool")
    return Advice(found.value(DeviceHealth.FAILURE), found.p if failed else 1.0 - found.p, found.life[1:], (reason,))


def _words(group: str, row: Floats) -> str:
    if group == "VibRms":
        return f"vibration at {np.exp(row[VIBRATION_RISE]):.1f} times its level after the last renewal, load removed"
    if group == "VibKurtosis":
        return f"kurtosis {row[KURTOSIS_RISE]:+.1f} against its level after the last renewal"
    if group == "SpindleTemp":
        return f"spindle {row[TEMPERATURE_RISE]:+.1f} degC against its level after the last renewal, load removed"
    if group == "SpindlePower":
        return f"spindle power at {row[POWER]:.1f} kW while running"
    if np.isfinite(row[AGE]):
        return f"{row[AGE]:.0f} h since the last renewal"
    return "no renewal known since recording began"
