"""``lineside evaluate-model condition``: a model on machines it has not seen, with intervals, money and lead times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning import metrics
from lineside_plugins.tasks.condition.advisor import Advisor
from lineside_plugins.tasks.condition.answers import now
from lineside_plugins.tasks.condition.config import ConditionConfig, Head
from lineside_plugins.tasks.condition.fields import fields_of
from lineside_plugins.types import ModelData
from lineside_workers.condition import windows
from lineside_workers.condition.heads import PROBLEMS
from lineside_workers.condition.heads.classes import class_measures, classes_of, cost_matrix
from lineside_workers.condition.heads.quantiles import quantile_measures
from lineside_workers.condition.heads.values import value_measures
from lineside_workers.condition.windows import Rows
from lineside_workers.errors import LabelError
from lineside_workers.recorded import labels as labelled
from lineside_workers.recorded import splitting
from lineside_workers.recorded.reading import Floats, Recorded

Flags = NDArray[np.bool_]
Measure = Callable[[NDArray[np.intp]], float]
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows with their labels, what the model said of them (R, Q), its flag, and whether it abstained.

    ``limits`` are where its flag is raised.
    """

    task: ConditionConfig
    rows: Rows
    said: Floats
    flag: Flags
    abstained: Flags
    limits: tuple[float, ...] = ()

    @property
    def main(self) -> Floats:
        """The first quantity (R,)."""
        return self.said[:, 0]

    @property
    def truth(self) -> Floats:
        """What the values should have been (R, K); heads with values only."""
        return self.rows.later if self.task.head is Head.FORECASTING else self.rows.value[:, None]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the quantities."""
        return tuple(f.name for f in fields_of(self.task))

    @property
    def foresees(self) -> bool:
        """Whether it tells windows before an event from others."""
        return self.task.head in (Head.CLASSIFICATION, Head.ANOMALY)


@dataclass(frozen=True, slots=True)
class Alarms:
    """Events by hours of warning (None where there was no flag before), and flags with nothing behind them."""

    lead_h: tuple[float | None, ...]
    nuisance: int
    looked_s: float


def judge(model: ModelData, found: Recorded, labels: list[labelled.Label], device: str) -> Judged:
    """Every look of ``model`` at units that neither trained nor chose it; a forecast needs no labels.

    Raises:
        LabelError: There is no such unit, or no label falls on one.
    """
    task = config_of(model)
    data = windows.rows(found, task, stride=1)
    data = data.labelled(labels) if labels else data
    known = cast("dict[str, list[str]]", model.metrics.get("units", {}))
    seen = {*known.get("train", ()), *known.get("validation", ()), ""}
    data = data.cut(splitting.of_mapping(known), task) if known.get("cuts") else data
    own = found.root.resolve().name in seen  # a plant that was one unit among others, now read alone
    fresh = data.where(~np.isin(data.unit, sorted(seen)) & (not own))
    if not len(PROBLEMS[task.head].usable(fresh)):
        raise LabelError(
            f"every unit of {found.root} with what head {task.head} is judged by trained or chose {model.version}; "
            "record others"
        )
    advisor = Advisor.from_model(model, device, task)
    said = advisor.quantities(fresh.x)
    abstained = np.asarray((advisor.novelty.score(fresh.x) > 1.0) & advisor.answer.abstains)
    flag = advisor.answer.flag(said) & ~abstained
    return Judged(task, fresh, said, flag, abstained, advisor.answer.limits)


def config_of(model: ModelData) -> ConditionConfig:
    """The configuration a model was trained for.

    Raises:
        LabelError: It was trained before models said so.
    """
    if "task" not in model.config:
        raise LabelError(f"model {model.version} is of an earlier kind; fine-tune again with this version of Lineside")
    return ConditionConfig.from_stored(cast("dict[str, Any]", model.config["task"]))


def figures(judged: Judged, costs: dict[str, float]) -> list[dict[str, object]]:
    """One row per measure, with a 95 % interval over machines; over days for one machine, None for one day of it.

    ``costs`` are those of a miss and of an alarm, per window.
    """
    use = _usable(judged) & ~judged.abstained
    if judged.task.head is Head.CLASSES:
        measures = _of_classes(judged, use, costs)
    else:
        measures = _of_events(judged, use, costs) if judged.foresees else _of_values(judged, use)
    unit = judged.rows.machine[use]
    if len(np.unique(unit)) < 2:
        unit = (judged.rows.end_us[use] // DAY_US).astype(np.str_)
    alone = len(np.unique(unit)) < 2
    out: list[dict[str, object]] = []
    for name, measure in measures.items():
        value, low, high = metrics.over_units(unit, measure)
        out.append({"measure": name, "value": value, "low": None if alone else low, "high": None if alone else high})
    out.append({"measure": "abstained_share", "value": float(judged.abstained.mean())})
    return out


def _usable(judged: Judged) -> Flags:
    if judged.foresees:
        return np.asarray(judged.rows.label >= 0)
    return np.asarray(np.isfinite(judged.truth).any(axis=1))


def _of_events(judged: Judged, use: Flags, costs: dict[str, float]) -> dict[str, Measure]:
    label, p, flag = judged.rows.label[use] == 1, judged.main[use], judged.flag[use]
    miss, alarm = costs["miss"], costs["alarm"]
    measures: dict[str, Measure] = {
        "precision": lambda i: float(label[i][flag[i]].mean()) if flag[i].any() else float("nan"),
        "recall": lambda i: float(flag[i][label[i]].mean()) if label[i].any() else float("nan"),
        "f1": lambda i: metrics.f1(label[i], flag[i]),
        "auroc": lambda i: metrics.auroc(label[i], p[i]),
        "average_precision": lambda i: metrics.average_precision(label[i], p[i]),
        "cost_per_window": lambda i: float((miss * (label[i] & ~flag[i]) + alarm * (~label[i] & flag[i])).mean()),
        "cost_never_flag": lambda i: float(miss * label[i].mean()),
        "cost_always_flag": lambda i: float(alarm * (~label[i]).mean()),
    }
    if judged.task.head is Head.CLASSIFICATION:
        measures["brier"] = lambda i: metrics.brier(label[i], p[i])
        measures["calibration_error"] = lambda i: metrics.calibration_error(label[i], p[i])
    return measures


def _of_classes(judged: Judged, use: Flags, costs: dict[str, float]) -> dict[str, Measure]:
    p, which = judged.said[use, 1:], classes_of(judged.rows.where(use), len(judged.task.classes))
    cost = cost_matrix(p.shape[1], costs["miss"], costs["alarm"])
    taken_for = np.where(judged.flag[use], 1 + p[:, 1:].argmax(axis=1), 0)  # the flag decides, then the likeliest fault
    names = class_measures(p, which)
    measures: dict[str, Measure] = {n: partial(lambda key, i: class_measures(p[i], which[i])[key], n) for n in names}
    return measures | {
        "flag_f1": lambda i: metrics.f1(which[i] > 0, judged.flag[use][i]),
        "cost_per_window": lambda i: float(cost[which[i], taken_for[i]].mean()),
        "cost_never_flag": lambda i: float(cost[which[i], 0].mean()),
    }


def _of_values(judged: Judged, use: Flags) -> dict[str, Measure]:
    said, truth = judged.said[use], judged.truth[use]
    all_of: Callable[[NDArray[np.intp]], dict[str, float]]
    if judged.task.head is Head.QUANTILES:
        levels = np.asarray(judged.task.quantiles)
        all_of = lambda i: quantile_measures(said[i], levels, truth[i, 0])  # noqa: E731
    elif judged.task.head is Head.REGRESSION:
        all_of = lambda i: value_measures(said[i], truth[i], ("",))  # noqa: E731
    else:
        names = tuple(f"_{h:g}h" for h in judged.task.ahead_h)
        here = now(judged.rows.x[use], list(judged.task.tags).index(judged.task.forecast_tag))

        def all_of(i: NDArray[np.intp]) -> dict[str, float]:
            stays = {f"rmse_if_it_stays{n}": float(np.sqrt(np.nanmean((here[i] - truth[i, k]) ** 2)))
                     for k, n in enumerate(names)}  # fmt: skip
            return {**value_measures(said[i], truth[i], names), **stays}

    names_of = all_of(np.arange(int(use.sum())))
    return {name: partial(lambda key, i: all_of(i)[key], name) for name in names_of}


def alarms(judged: Judged) -> Alarms:
    """Lead time of each event, and raised flags that no event followed, machine by machine."""
    lead: list[float | None] = []
    nuisance, looks = 0, 0
    rows = judged.rows
    for machine in np.unique(rows.machine).tolist():
        at = np.flatnonzero(rows.machine == machine)
        at = at[np.argsort(rows.end_us[at])]
        label, flag, end = rows.label[at], judged.flag[at], rows.end_us[at]
        looks += len(at)
        begins = np.flatnonzero((label == 1) & (np.append(-1, label[:-1]) != 1))
        for b in begins.tolist():
            length = int(np.argmax(np.append(label[b:], 0) != 1))
            raised = np.flatnonzero(flag[b : b + length])
            lead.append(float(end[b + length - 1] - end[b + raised[0]]) / HOUR_US if len(raised) else None)
        nuisance += int((flag & ~np.append(False, flag[:-1]) & (label == 0)).sum())
    step = float(np.median(np.diff(np.unique(rows.end_us)))) if looks > 1 else 0.0
    return Alarms(tuple(lead), nuisance, looks * step / 1e6)
