"""The data quality report."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lineside_workers.recorded.labels import Label, us
from lineside_workers.recorded.quality import Finding, TagFacts
from lineside_workers.recorded.reading import Recorded
from lineside_workers.reports.page import Page

PLOTTED = 400  # points per curve, each the median of its stretch; more of twelve machines cannot be told apart
MACHINES_SHOWN = 12


def write(
    path: Path, found: Recorded, facts: Sequence[TagFacts], findings: Sequence[Finding], labels: Sequence[Label]
) -> Path:
    """The report of ``found`` at ``path``."""
    errors = sum(f.severity.value == "error" for f in findings)
    page = Page(
        f"Data quality: {found.root.name}",
        f"{len(found.equipment_ids)} machines, {len(found.tags)} tags, {len(found.events)} events. "
        f"{errors} errors, {len(findings) - errors} warnings.",
    )
    page.section("Findings")
    page.table([asdict(f) for f in findings], "Nothing was found.")
    page.section("Tags", "drift: population stability index of the last quarter against the first.")
    page.table((asdict(f) for f in facts), folded=f"{len(facts)} rows, one per machine and tag")
    if labels:
        page.section("Labels", "Hours by machine.")
        balance = _balance(labels)
        page.table(balance, folded="" if len(balance) <= MACHINES_SHOWN else f"{len(balance)} machines")
    shown = found.equipment_ids[:MACHINES_SHOWN]
    for tag in found.tags:
        page.section(tag, "" if len(shown) == len(found.equipment_ids) else f"the first {MACHINES_SHOWN} machines")
        page.plot(partial(_curves, found, tag, shown), f"{tag} over time")
    return page.write(path)


def _balance(labels: Sequence[Label]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for machine in sorted({r.equipment_id for r in labels}):
        own = [r for r in labels if r.equipment_id == machine]
        hours = {k: sum((us(r.end) - us(r.start)) / 3.6e9 for r in own if r.label == k) for k in (1, 0, -1)}
        rows.append({"machine": machine, "positive_h": hours[1], "negative_h": hours[0], "unknown_h": hours[-1]})
    return rows


def _curves(found: Recorded, tag: str, machines: Sequence[str], figure: Any) -> None:
    axes = figure.subplots()
    for machine in machines:
        series = found.series.get((machine, tag))
        if series is None:
            continue
        every = -(-len(series.value) // PLOTTED)
        whole = len(series.value) // every * every
        time = series.time_us[:whole:every].astype("datetime64[us]")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN slice")  # a stretch that was not seen is a gap in the curve
            value = np.nanmedian(series.value[:whole].reshape(-1, every), axis=1)
        axes.plot(np.asarray(time), value, linewidth=0.9, label=machine)
    units = sorted({u for (m, t), s in found.series.items() if t == tag for u in s.units if u})
    axes.set_ylabel(f"{tag} [{', '.join(units)}]" if units else tag)
    axes.legend(loc="upper right", fontsize="x-small", ncols=4)
