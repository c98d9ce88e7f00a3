"""From KPIs per replication and arm to the table, the JSON document and the plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

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


def table(outcomes: Sequence[Outcome]) -> Table:
    """What a person reads: each KPI by arm, the paired difference to today's practice, the share of the gap closed."""
    out = Table(title=f"{len(outcomes)} paired replications, mean and 95 % interval")
    out.add_column("KPI")
    for heading in ("P3", "family-first", "Lineside", "oracle", "Lineside - P3", "gap closed"):
        out.add_column(heading, justify="right")
    for name in KPIS:
        column = {arm: [float(o[arm][name]) for o in outcomes] for arm in Arm}
        difference = difference_interval(column[Arm.LINESIDE], column[Arm.BASELINE])
        share = gap_closed(column[Arm.BASELINE], column[Arm.LINESIDE], column[Arm.ORACLE])
        out.add_row(
            name,
            *(_number(mean_interval(column[arm])) for arm in Arm),
            f"[{_colour(name, difference)}]{_number(difference, sign='+')}[/]",
            _percent(share),
        )
    return out


def _colour(name: str, difference: Interval) -> str:
    if difference.low is None or difference.high is None:
        return "default"
    better = difference.low > 0 if name in HIGHER_IS_BETTER else difference.high < 0
    worse = difference.high < 0 if name in HIGHER_IS_BETTER else difference.low > 0
    return "green" if better else "red" if worse else "yellow"


def _number(i: Interval, sign: str = "") -> str:
    if i.mean is None:
        return "-"
    spread = "" if i.low is None or i.high is None else f" [dim]±{(i.high - i.low) / 2:.4f}[/]"
    return f"{i.mean:{sign}.4f}{spread}"


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
