"""``lineside evaluate-model condition``: a model on machines it has not seen, with intervals, money and lead times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning import metrics
from lineside_plugins.tasks.condition.advisor import Advisor
from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_plugins.types import ModelData
from lineside_workers.condition import windows
from lineside_workers.condition.windows import Rows
from lineside_workers.errors import LabelError
from lineside_workers.recorded import labels as labelled
from lineside_workers.recorded.reading import Floats, Recorded
from lineside_workers.reports.page import Page

Flags = NDArray[np.bool_]
HOUR_US = 3_600_000_000
MACHINES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows with their labels, what the model said of them, and whether it abstained."""

    rows: Rows
    p: Floats
    flag: Flags
    abstained: Flags


@dataclass(frozen=True, slots=True)
class Alarms:
    """Events by hours of warning (None where there was no flag before), and flags with nothing behind them."""

    lead_h: tuple[float | None, ...]
    nuisance: int
    machine_weeks: float


def judge(model: ModelData, found: Recorded, labels: list[labelled.Label], device: str) -> Judged:
    """Every look of ``model`` at units that neither trained nor chose it.

    Raises:
        LabelError: There is no such unit, or no label falls on one.
    """
    config = config_of(model)
    data = windows.rows(found, config, stride=1).labelled(labels)
    known = cast("dict[str, list[str]]", model.metrics.get("units", {}))
    seen = {*known.get("train", ()), *known.get("validation", ())}
    fresh = data.where(~np.isin(data.unit, sorted(seen)))
    if not len(fresh.known):
        raise LabelError(f"every unit with labels in {found.root} trained or chose {model.version}; record others")
    advisor = Advisor.from_model(model, device, config)
    p = advisor.probability(fresh.x)
    abstained = advisor.novelty.score(fresh.x) > 1.0
    return Judged(fresh, p, (p > advisor.threshold) & ~abstained, abstained)


def config_of(model: ModelData) -> ConditionConfig:
    """The configuration a model was trained for."""
    c = cast("Any", model.config)
    return ConditionConfig(tags={str(t): str(u) for t, u in c["tags"]}, length=c["length"], period_s=c["period_s"])


def figures(judged: Judged, costs: dict[str, float]) -> list[dict[str, object]]:
    """One row per measure, with a 95 % interval over machines; ``costs`` of a miss and of an alarm, per window."""
    use = (judged.rows.label >= 0) & ~judged.abstained
    label, p, flag = judged.rows.label[use] == 1, judged.p[use], judged.flag[use]
    machine = judged.rows.machine[use]
    miss, alarm = costs["miss"], costs["alarm"]
    measures: dict[str, Callable[[NDArray[np.intp]], float]] = {
        "precision": lambda i: float(label[i][flag[i]].mean()) if flag[i].any() else float("nan"),
        "recall": lambda i: float(flag[i][label[i]].mean()) if label[i].any() else float("nan"),
        "f1": lambda i: metrics.f1(label[i], flag[i]),
        "auroc": lambda i: metrics.auroc(label[i], p[i]),
        "average_precision": lambda i: metrics.average_precision(label[i], p[i]),
        "brier": lambda i: metrics.brier(label[i], p[i]),
        "calibration_error": lambda i: metrics.calibration_error(label[i], p[i]),
        "cost_per_window": lambda i: float((miss * (label[i] & ~flag[i]) + alarm * (~label[i] & flag[i])).mean()),
        "cost_never_flag": lambda i: float(miss * label[i].mean()),
        "cost_always_flag": lambda i: float(alarm * (~label[i]).mean()),
    }
    out: list[dict[str, object]] = []
    for name, measure in measures.items():
        value, low, high = metrics.over_units(machine, measure)
        out.append({"measure": name, "value": value, "low": low, "high": high})
    out.append({"measure": "abstained_share", "value": float(judged.abstained.mean())})
    return out


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
    return Alarms(tuple(lead), nuisance, looks * step / (7 * 24 * HOUR_US))


def write(path: Path, model: ModelData, judged: Judged, table: list[dict[str, object]], found: Alarms) -> Path:
    """The report at ``path``."""
    units = ", ".join(sorted(set(judged.rows.unit.tolist())))
    page = Page(
        f"{model.name} {model.version}",
        f"{len(judged.rows)} looks at units that neither trained nor chose it: {units}. "
        f"Question: {model.config.get('question', '')}. Ships: {model.config.get('winner', '')}.",
    )
    page.section("Figures", "95 % intervals by bootstrap over machines; windows in which it abstained left out.")
    page.table(table)
    page.section(
        "Alarms", f"{found.nuisance} flags with nothing behind them in {found.machine_weeks:.1f} machine weeks."
    )
    page.table([{"event": i + 1, "warning_h": h} for i, h in enumerate(found.lead_h)], "No event was to be foreseen.")
    page.section("Stated and observed frequency")
    page.plot(partial(_reliability, judged), "calibration", (4.5, 4.0))
    page.section("What it said over time", "Shaded: before an event. Dots: it abstained.")
    for machine in np.unique(judged.rows.machine).tolist()[:MACHINES_SHOWN]:
        page.plot(partial(_curve, judged, machine), f"probability on {machine}", (10.0, 1.8))
    return page.write(path)


def _reliability(judged: Judged, figure: Any) -> None:
    axes = figure.subplots()
    use = (judged.rows.label >= 0) & ~judged.abstained
    p, label = judged.p[use], judged.rows.label[use] == 1
    groups = [g for g in np.array_split(np.argsort(p), 10) if len(g)]
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.plot([p[g].mean() for g in groups], [label[g].mean() for g in groups], marker="o")
    axes.set_xlabel("stated")
    axes.set_ylabel("observed")


def _curve(judged: Judged, machine: str, figure: Any) -> None:
    axes = figure.subplots()
    at = np.flatnonzero(judged.rows.machine == machine)
    at = at[np.argsort(judged.rows.end_us[at])]
    time = judged.rows.end_us[at].astype("datetime64[us]")
    axes.plot(time, judged.p[at], linewidth=0.8)
    axes.fill_between(time, 0, 1, where=judged.rows.label[at] == 1, alpha=0.2)
    quiet = judged.abstained[at]
    axes.plot(time[quiet], judged.p[at][quiet], ".", markersize=2)
    axes.set_ylim(0, 1)
    axes.set_title(machine, fontsize="small", loc="left")
