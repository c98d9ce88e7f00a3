"""From KPIs per replication and arm to the table, the JSON document and the plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from rich.box import SIMPLE_HEAD
from rich.table import Table

from lineside_trials.arms import HIGHER_IS_BETTER, KPIS, Arm
from lineside_trials.statistics import Interval, difference_interval, gap_closed, mean_interval

Outcome: TypeAlias = Mapping[Arm, Mapping[str, float]]  # one replication: KPIs by arm


def document(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """The ``kpis`` section of the JSON report; every interval is 95 % over paired replications.

    ``difference`` is Lineside minus the arm it names, paired; for OEE and on-time delivery above zero is better,
    for all others below.
    """
    kpis: dict[str, object] = {}
    for name in KPIS:
        column = {arm: [float(o[arm][name]) for o in outcomes] for arm in Arm}
        ours = column[Arm.LINESIDE]
        kpis[name] = {
            **{arm.value: mean_interval(column[arm]).as_dict() for arm in Arm},
            "gap_closed": gap_closed(column[Arm.BASELINE], ours, column[Arm.ORACLE]).as_dict(),
            "difference": {
                "baseline": difference_interval(ours, column[Arm.BASELINE]).as_dict(),
                "family_first": difference_interval(ours, column[Arm.FAMILY_FIRST]).as_dict(),
            },
        }
    return kpis


_IN_PERCENT = frozenset(KPIS) - {"kwh_per_good_part"}


def tables(outcomes: Sequence[Outcome]) -> tuple[Table, Table]:
    """What a person reads, within 80 columns: each KPI by arm, and what Lineside changes."""
    title = f"{len(outcomes)} paired replications: mean and 95 % interval, shares in %"
    arms = _table(title, ("P3", "family first", "Lineside", "oracle"))
    change = _table("Lineside against the others, paired", ("- P3", "- family first", "gap closed"))
    for name in KPIS:
        column = {arm: [float(o[arm][name]) for o in outcomes] for arm in Arm}
        ours = column[Arm.LINESIDE]
        arms.add_row(_label(name), *(_number(name, mean_interval(column[arm])) for arm in Arm))
        differences = [difference_interval(ours, column[arm]) for arm in (Arm.BASELINE, Arm.FAMILY_FIRST)]
        share = gap_closed(column[Arm.BASELINE], ours, column[Arm.ORACLE])
        change.add_row(_label(name), *(_difference(name, d) for d in differences), _percent(share))
    return arms, change


def _table(title: str, headings: Sequence[str]) -> Table:
    out = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    out.add_column("KPI", no_wrap=True)
    for heading in headings:
        out.add_column(heading, justify="right")
    return out


def _label(name: str) -> str:
    return name.replace("_", " ").replace("oee", "OEE").replace("kwh", "kWh")


def _colour(name: str, difference: Interval) -> str:
    if difference.low is None or difference.high is None:
        return "default"
    better = difference.low > 0 if name in HIGHER_IS_BETTER else difference.high < 0
    worse = difference.high < 0 if name in HIGHER_IS_BETTER else difference.low > 0
    return "green" if better else "red" if worse else "yellow"


def _difference(name: str, i: Interval) -> str:
    return f"[{_colour(name, i)}]{_number(name, i, sign='+')}[/]"


def _number(name: str, i: Interval, sign: str = "") -> str:
    if i.mean is None:
        return "-"
    scale, digits = (100.0, 2) if name in _IN_PERCENT else (1.0, 3)
    half = None if i.low is None or i.high is None else scale * (i.high - i.low) / 2
    return f"{scale * i.mean:{sign}.{digits}f}" + ("" if half is None else f" [dim]±{half:.{digits}f}[/]")


def _percent(i: Interval) -> str:
    if i.mean is None:
        return "no gap"
    spread = "" if i.low is None or i.high is None else f" [dim]({100 * i.low:.0f}..{100 * i.high:.0f})[/]"
    return f"{100 * i.mean:.0f} %{spread}"


_COLOURS = {Arm.BASELINE: "#8c8c8c", Arm.FAMILY_FIRST: "#c9a227", Arm.LINESIDE: "#1f77b4", Arm.ORACLE: "#2e8b57"}


def plot(outcomes: Sequence[Outcome], path: Path) -> None:
    """One panel per KPI: a line per replication through the four arms, and each arm's mean with its interval."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second that a run without --plot does not need

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(2, 4, figsize=(15, 7), layout="constrained")
    flat = list(axes.flat)
    for axis, name in zip(flat, KPIS, strict=False):
        for o in outcomes:
            axis.plot(range(4), [o[arm][name] for arm in Arm], color="0.85", linewidth=1, zorder=1)
        for x, arm in enumerate(Arm):
            i = mean_interval([float(o[arm][name]) for o in outcomes])
            spread = 0.0 if i.low is None or i.high is None else (i.high - i.low) / 2
            axis.errorbar(x, i.mean, spread, fmt="o", color=_COLOURS[arm], capsize=5, markersize=8, zorder=2)
        direction = "higher is better" if name in HIGHER_IS_BETTER else "lower is better"
        axis.set_title(f"{name.replace('_', ' ')} ({direction})", fontsize=10)
        axis.set_xticks(range(4), ["P3", "family\nfirst", "Lineside", "oracle"])
        axis.set_xlim(-0.4, 3.4)
    for axis in flat[len(KPIS) :]:
        axis.axis("off")
    figure.suptitle(f"{len(outcomes)} paired replications: grey = one plant, dot = mean with 95 % interval")
    figure.savefig(path, dpi=110)
    plt.close(figure)
