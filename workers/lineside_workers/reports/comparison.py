"""The page of ``lineside models compare``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lineside_workers.hosting.replay import FAR, Comparison, Said, Window
from lineside_workers.reports.page import Page
from lineside_workers.watching import side_by_side

MACHINES_SHOWN = 10
ROWS_OPEN = 20  # a longer list opens on a click


def write(path: Path, found: Comparison, task: str, one: str, other: str) -> Path:
    """The report at ``path``; ``one`` and ``other`` are the versions."""
    differences = found.differences
    page = Page(
        f"{task}: {one} beside {other}",
        f"{len(found.windows)} windows of {len(found.pairs)} machines through both; {len(differences)} differ.",
    )
    page.section("By machine", f"Numbers of {one} stand before those of {other}.")
    page.table(side_by_side.rows(found.pairs, one, other))
    apart = f"a number that lies outside the other's interval (by more than {FAR} where there is none)"
    how = f", or in {apart}" if found.alike else "; their numbers are of different quantities"
    page.section("Windows that differ", f"In flag or abstention{how}.")
    rows: list[dict[str, object]] = [
        {"equipment": d.equipment_id, "end": d.end, one: str(d.one), other: str(d.other)} for d in differences
    ]
    page.table(rows, "None.", folded=f"{len(rows)} windows" if len(rows) > ROWS_OPEN else "")
    machines = sorted(found.pairs)
    left_out = f" The first {MACHINES_SHOWN} machines." if len(machines) > MACHINES_SHOWN else ""
    page.section("The first number over time", f"Shaded: the intervals. Bars: the windows that differ.{left_out}")
    for machine in machines[:MACHINES_SHOWN]:
        own = [w for w in found.windows if w.equipment_id == machine]
        page.plot(partial(_curves, own, (one, other)), f"both on {machine}", (10.0, 2.2))
    return page.write(path)


def _curves(windows: list[Window], names: tuple[str, str], figure: Any) -> None:
    axes = figure.subplots()
    time = np.array([w.end for w in windows], dtype="datetime64[s]")
    for name, said, style in zip(names, ([w.one for w in windows], [w.other for w in windows]), "-:", strict=True):
        (line,) = axes.plot(time, [_number(s) for s in said], style, linewidth=1.2, label=name)
        low, high = np.array([s.interval or (np.nan, np.nan) for s in said]).T
        axes.fill_between(time, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    low, high = axes.get_ylim()
    axes.vlines(time[[w.differs for w in windows]], low, high, color="#a00", linewidth=0.6, alpha=0.25)
    axes.set_ylim(low, high)
    axes.tick_params(labelsize="small")
    axes.set_title(windows[0].equipment_id, fontsize="small", loc="left")
    axes.legend(loc="upper left", fontsize="x-small")


def _number(said: Said) -> float:
    return float("nan") if said.value is None else said.value
