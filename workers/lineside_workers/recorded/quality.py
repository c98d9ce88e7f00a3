"""What is wrong with a recording before anybody learns from it.

Gaps, frozen and drifting sensors, units, outliers, label balance, leakage between sides of a split.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from lineside_plugins import registry
from lineside_plugins.learning.drift import psi
from lineside_workers.recorded import spans
from lineside_workers.recorded.labels import Label, us
from lineside_workers.recorded.leaving import departures
from lineside_workers.recorded.reading import Floats, Recorded, TagSeries, unit_of
from lineside_workers.recorded.splitting import PARTS, Split

GAP_PERIODS = 5.0  # usual distances between two samples; more is a gap
FROZEN_LEAST_S = 3600.0  # the same value for so long, in a tag that otherwise hardly repeats itself
DISTINCT_SHARE = 0.5  # of values, above which a tag is measured and not counted or commanded
OUTLIER_IQRS = 10.0  # interquartile ranges outside the quartiles; a fence for spikes, not for the tails of wear
OUTLIER_MOST = 0.01  # of values; more of them are a way of running, not a fault
DRIFT_PSI = 0.25  # "significant" by convention; Siddiqi, Credit Risk Scorecards (2006)
DRIFT_RATIO = 3.0  # times what machines usually show in this tag: all of them wear, and follow the load
RARE_SHARE = 0.01  # of positive labels, below which a learner sees hardly any


class Severity(StrEnum):
    """``error`` makes what follows wrong, ``warning`` makes it weaker."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: where, what, and what to do."""

    severity: Severity
    kind: str
    where: str
    what: str
    next_step: str


@dataclass(frozen=True, slots=True)
class TagFacts:
    """One row of the report's table of tags. ``drift`` is the PSI of the last quarter against the first."""

    machine: str
    tag: str
    unit: str
    samples: int
    missing_share: float
    longest_gap_s: float
    frozen_s: float
    outlier_share: float
    drift: float
    low: float
    median: float
    high: float


def inspect(
    found: Recorded, expected: Mapping[str, str], labels: Sequence[Label] = (), split: Split | None = None
) -> tuple[list[TagFacts], list[Finding]]:
    """Facts per tag and all findings, errors first; ``expected`` is the unit the installed tasks want by tag."""
    facts = [_facts(machine, tag, series) for (machine, tag), series in sorted(found.series.items())]
    findings = [Finding(Severity.ERROR, "truncated", name, why, "left out; import or record that day again")
                for name, why in found.skipped.items()]  # fmt: skip
    findings += _units(found, expected)
    findings += _once_a_machine(facts)
    findings += _leaving(found, facts)
    findings += _drifting(facts)
    findings += _labels(found, labels) if labels else []
    findings += _leaks(found, split)
    return facts, sorted(findings, key=lambda f: f.severity is not Severity.ERROR)


def expected_units() -> dict[str, str]:
    """Unit by tag, of the installed tasks that have windows."""
    out: dict[str, str] = {}
    for name in registry.installed():
        try:
            window = registry.create(name).inputs().window
        except registry.TaskError:
            continue
        out |= {c.tag: c.unit for c in (window.channels if window else ()) if c.unit}
    return out


def _facts(machine: str, tag: str, series: TagSeries) -> TagFacts:
    seen = np.isfinite(series.value)
    value, time_s = series.value[seen], series.time_us[seen] / 1e6
    if len(value) < 2:
        nan = float("nan")
        return TagFacts(machine, tag, "/".join(series.units), len(value), 1.0, nan, 0.0, 0.0, nan, nan, nan, nan)
    step = np.diff(time_s)
    usual = float(np.median(step))
    gaps = step[step > GAP_PERIODS * usual]
    span = float(time_s[-1] - time_s[0])
    middle = float(np.median(value))
    lower, upper = np.quantile(value, [0.25, 0.75])
    reach = OUTLIER_IQRS * (upper - lower)
    far = (value < lower - reach) | (value > upper + reach) if reach > 0 else np.zeros(len(value), bool)
    counter = bool((np.diff(value) >= 0).all())
    measured = not counter and len(np.unique(value)) > DISTINCT_SHARE * len(value)
    quarter = max(1, len(value) // 4)
    return TagFacts(
        machine=machine,
        tag=tag,
        unit="/".join(series.units),
        samples=len(value),
        missing_share=float(gaps.sum() / max(span, 1e-9)) + float((~seen).mean()),
        longest_gap_s=float(gaps.max()) if len(gaps) else 0.0,
        frozen_s=_frozen_s(value, time_s) if measured else 0.0,
        outlier_share=float(far.mean()),
        drift=psi(value[:quarter], value[-quarter:]) if measured else 0.0,
        low=float(value.min()),
        median=middle,
        high=float(value.max()),
    )


def _frozen_s(value: Floats, time_s: Floats) -> float:
    """Longest stretch of one value, in seconds."""
    starts = np.flatnonzero(np.diff(value, prepend=np.nan) != 0)
    ends = np.append(starts[1:], len(value)) - 1
    return float((time_s[ends] - time_s[starts]).max())


def _once_a_machine(facts: Sequence[TagFacts]) -> list[Finding]:
    """What each tag shows; what several tags of a machine show alike is told once."""
    alike: dict[tuple[str, Finding], list[str]] = defaultdict(list)
    for row in facts:
        for finding in _of_tag(row):
            alike[row.machine, replace(finding, where="")].append(row.tag)
    return [
        replace(finding, where=f"{machine}.{tags[0]}" + (f" and {len(tags) - 1} more tags" if len(tags) > 1 else ""))
        for (machine, finding), tags in alike.items()
    ]


def _of_tag(row: TagFacts) -> list[Finding]:
    where, out = f"{row.machine}.{row.tag}", []
    if row.missing_share > 0.01:
        longest = f"longest gap {spans.said(row.longest_gap_s)}" if row.longest_gap_s > 0 else "no gap is long"
        text = f"{row.missing_share:.1%} missing, {longest}"
        out.append(
            Finding(Severity.WARNING, "gap", where, text, "see the gateway's ledger or the export for its cause")
        )
    if row.frozen_s >= FROZEN_LEAST_S:
        text = f"one value for {spans.said(row.frozen_s)}, while it hardly ever repeats itself"
        out.append(Finding(Severity.WARNING, "frozen", where, text, "check the sensor and its cable"))
    if 0 < row.outlier_share < OUTLIER_MOST:
        text = f"{row.outlier_share:.2%} of values more than {OUTLIER_IQRS:g} interquartile ranges off"
        out.append(Finding(Severity.WARNING, "outliers", where, text, "look at the plot; a spike is no trend"))
    return out


def _leaving(found: Recorded, facts: Sequence[TagFacts]) -> list[Finding]:
    """Sensors that left what the other tags of their machine say; wear moves several and is none of them."""
    measured = [t for t in found.tags if any(f.tag == t and f.drift > 0 for f in facts)]
    out = []
    for d in departures(found, measured):
        much = "" if d.gain is None else f", up to {d.gain:.2g} times"
        text = f"apart from what {', '.join(d.inputs)} say it should be{much}, {d.begin} to {d.end}"
        step = "a sensor that drifts: check it, and leave the time out or label it, before this machine teaches"
        out.append(Finding(Severity.WARNING, "sensor", f"{d.machine}.{d.tag}", text, step))
    return out


def _drifting(facts: Sequence[TagFacts]) -> list[Finding]:
    """Tags that moved further than the same tag does on the other machines."""
    out = []
    for tag in sorted({f.tag for f in facts}):
        own = [f for f in facts if f.tag == tag and np.isfinite(f.drift)]
        usual = float(np.median([f.drift for f in own])) if own else 0.0
        for f in own:
            if f.drift > max(DRIFT_PSI, DRIFT_RATIO * usual):
                text = f"last quarter against the first: PSI {f.drift:.2f}; usual among the machines {usual:.2f}"
                step = "wear, another load or a sensor: compare it with the machine's other tags"
                out.append(Finding(Severity.WARNING, "drift", f"{f.machine}.{f.tag}", text, step))
    return out


def _units(found: Recorded, expected: Mapping[str, str]) -> list[Finding]:
    out: list[Finding] = []
    by_tag: dict[str, set[str]] = defaultdict(set)
    for (machine, tag), series in sorted(found.series.items()):
        by_tag[tag] |= {u for u in series.units if u}
        want = expected.get(tag, "")
        if wrong := [u for u in series.units if u and want and u != want]:
            step = f"import it again with --unit {tag}={want}, or set the unit on the server"
            out.append(Finding(Severity.ERROR, "unit", f"{machine}.{tag}", f"in '{wrong[0]}', expected '{want}'", step))
    for tag, units in sorted(by_tag.items()):
        if len(units) > 1:
            text = f"in {len(units)} units: {', '.join(sorted(units))}"
            out.append(Finding(Severity.ERROR, "unit", tag, text, "bring all machines to one unit before training"))
    return out


def _labels(found: Recorded, labels: Sequence[Label]) -> list[Finding]:
    hours = {k: sum((us(r.end) - us(r.start)) / 3.6e9 for r in labels if r.label == k) for k in (0, 1)}
    share, out = hours[1] / max(1e-9, hours[0] + hours[1]), []
    if share < RARE_SHARE:
        text = f"{hours[1]:.1f} h positive of {hours[0] + hours[1]:.0f} h, {share:.2%}"
        out.append(Finding(Severity.WARNING, "balance", "labels", text, "record longer, or widen the horizon"))
    if strangers := sorted({r.equipment_id for r in labels} - set(found.equipment_ids)):
        text = f"{len(strangers)} machines that were not recorded: {', '.join(strangers[:3])}"
        out.append(Finding(Severity.ERROR, "labels", "labels", text, "correct equipment_id in the file of labels"))
    return out


def _leaks(found: Recorded, split: Split | None) -> list[Finding]:
    """The same samples under two names, across sides of the split where there is one."""
    same: dict[str, list[str]] = defaultdict(list)
    for (machine, tag), series in sorted(found.series.items()):
        if len(series.value) > 10 and np.nanstd(series.value) > 0:
            digest = hashlib.sha256(np.ascontiguousarray(series.value).tobytes()).hexdigest()
            same[f"{tag}:{digest}"].append(machine)
    pairs = {tuple(m) for m in same.values() if len(m) > 1}
    out = []
    for machines in sorted(pairs):
        sides = {split.part_of(unit_of(m)) for m in machines} if split else set()
        across = len(sides) > 1 or split is None
        text = f"{', '.join(machines)} hold the same samples" + (
            f", on sides {_words(sides)} of the split" if sides else ""
        )
        severity = Severity.ERROR if across else Severity.WARNING
        out.append(Finding(severity, "leakage", machines[0], text, "keep one copy, or put all copies on one side"))
    return out


def _words(sides: set[str | None]) -> str:
    return ", ".join(p for p in PARTS if p in sides) or "none"
