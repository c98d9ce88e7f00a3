"""The page of ``lineside evaluate-model condition``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.tasks.condition.config import ConditionConfig, Head
from lineside_plugins.types import ModelData
from lineside_workers.condition.evaluation import Alarms, Judged
from lineside_workers.condition.heads.classes import classes_of, confusion
from lineside_workers.recorded import spans
from lineside_workers.reports.page import Page

MACHINES_SHOWN = 10
GAP_LOOKS = 5.0  # usual distances between two looks; more is a gap
_LEGEND = (
    "Shaded: before an event, in a fault, or the interval. Grey line: what was true. Dashed: where the flag is raised. "
    "Dots: it abstained."
)


def write(path: Path, model: ModelData, judged: Judged, table: list[dict[str, object]], found: Alarms) -> Path:
    """The report at ``path``."""
    units = ", ".join(sorted(set(judged.rows.unit.tolist())))
    page = Page(
        f"{model.name} {model.version}",
        f"{len(judged.rows)} looks at units that neither trained nor chose it: {units}. Head: {judged.task.head}. "
        f"Question: {model.config.get('question', '')}. Ships: {model.config.get('winner', '')}.",
    )
    page.section(
        "Figures",
        "95 % intervals by bootstrap over machines, over days for one machine; windows in which it abstained left out.",
    )
    page.table(table)
    if judged.foresees:
        page.section(
            "Alarms",
            f"{found.nuisance} flags with nothing behind them in {spans.said(found.looked_s)} of machine time.",
        )
        rows: list[dict[str, object]] = [
            {"event": i + 1, "warning": None if h is None else spans.said(3600 * h)} for i, h in enumerate(found.lead_h)
        ]
        page.table(rows, "No event was to be foreseen.")
    if judged.task.head is Head.CLASSES:
        page.section("Confusion", "Windows by the class they were (rows) and the likeliest one (columns).")
        page.table(_confusion(judged))
    if judged.task.head is Head.CLASSIFICATION:
        page.section("Stated and observed frequency")
        page.plot(partial(_reliability, judged), "calibration", (4.5, 4.0))
    page.section("What it said over time", _LEGEND)
    for machine in np.unique(judged.rows.machine).tolist()[:MACHINES_SHOWN]:
        page.plot(partial(_curve, judged, machine), f"{judged.names[0]} on {machine}", (10.0, 1.8))
    return page.write(path)


def _confusion(judged: Judged) -> list[dict[str, object]]:
    use = np.isfinite(judged.rows.value) & ~judged.abstained
    counts = confusion(judged.said[use, 1:], classes_of(judged.rows.where(use), len(judged.task.classes)))
    names = judged.task.classes
    return [
        {"it was": was, **dict(zip(names, row, strict=True))} for was, row in zip(names, counts.tolist(), strict=True)
    ]


def _reliability(judged: Judged, figure: Any) -> None:
    axes = figure.subplots()
    use = (judged.rows.label >= 0) & ~judged.abstained
    p, label = judged.main[use], judged.rows.label[use] == 1
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
    said = judged.said[at]
    behind = _behind_gaps(time)  # a line across a time without looks would say what nobody said
    said = np.insert(said, behind, np.nan, axis=0)
    at, time = np.insert(at, behind, at[behind]), np.insert(time, behind, time[behind])
    axes.plot(time, said[:, 0], linewidth=0.8)
    if judged.foresees:
        top = 1.0 if judged.task.head is Head.CLASSIFICATION else max(1.0, float(np.nanmax(said[:, 0])))
        axes.fill_between(time, 0, top, where=judged.rows.label[at] == 1, alpha=0.2)
        axes.set_ylim(0, 1.02 * top)
    elif judged.task.head is Head.CLASSES:
        axes.fill_between(time, 0, 1, where=judged.truth[at, 0] > 0, alpha=0.2)
        axes.set_ylim(0, 1.02)
    else:
        own = said[:, :3] if judged.task.head is not Head.QUANTILES else said
        axes.fill_between(time, own.min(axis=1), own.max(axis=1), alpha=0.2)
        axes.plot(time, np.where(np.isnan(said[:, 0]), np.nan, judged.truth[at, 0]), color="0.4", linewidth=0.6)
    for limit in judged.limits:
        axes.axhline(limit, color="#a00", linewidth=0.8, linestyle="--")
    quiet = judged.abstained[at]
    axes.plot(time[quiet], said[quiet, 0], ".", markersize=2)
    axes.set_ylabel(judged.names[0].replace("_", " ") + _in_unit(judged.task), fontsize="small")
    axes.tick_params(labelsize="small")
    axes.set_title(machine, fontsize="small", loc="left")


def _behind_gaps(time: NDArray[np.datetime64]) -> NDArray[np.intp]:
    """The looks before which there was none for much longer than usual."""
    step = np.diff(time).astype(np.int64)
    return 1 + np.flatnonzero(step > GAP_LOOKS * np.median(step)) if len(step) else np.empty(0, dtype=np.intp)


def _in_unit(task: ConditionConfig) -> str:
    """The unit of the main quantity in brackets, behind a space; '' for none."""
    unit = task.tags[task.forecast_tag] if task.head is Head.FORECASTING else task.unit
    return f" [{unit}]" if unit else ""
