"""The README's closed-loop table from evaluation.json, the report that `lineside evaluate --json` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

REPORT = Path(__file__).parent / "evaluation.json"
BEGIN, END = "<!-- evaluation: written by docs/generate.py -->\n", "<!-- /evaluation -->\n"
_ARMS = ("baseline", "family_first", "lineside", "oracle")
_NAMES = {"oee": "OEE", "kwh_per_good_part": "kWh per good part"}


def table(report: dict[str, Any]) -> str:
    """How many plants for how long, then one row per KPI with its paired difference in units and per cent."""
    runs = report["replications"]
    plants = ", ".join(str(r["plant_seed"]) for r in runs)
    out = [
        f"{len(runs)} paired replications of {report['hours']:.0f} h, the first {runs[0]['warmup_h']:.0f} h not "
        f"counted, on plants {plants}, which no training saw. Mean and 95 % interval over replications (Student's t; "
        "gap closed by jackknife):\n\n",
        "| KPI | P3 (today) | family-first | Lineside | oracle | Lineside - P3, paired | | gap closed |\n",
        "|---|---|---|---|---|---|---|---|\n",
    ]
    for name, kpi in report["kpis"].items():
        means = " | ".join(f"{kpi[arm]['mean']:.4f}" for arm in _ARMS)
        by, closed = kpi["difference"]["baseline"], kpi["gap_closed"]
        share = f"{by['mean'] / kpi['baseline']['mean']:+.0%}"
        gap = f"{closed['mean']:.0%} [{100 * closed['low']:.0f}, {100 * closed['high']:.0f}]"
        label = _NAMES.get(name, name.replace("_", " "))
        difference = f"{by['mean']:+.4f} [{by['low']:+.4f}, {by['high']:+.4f}]"
        out.append(f"| {label} | {means} | {difference} | {share} | {gap} |\n")
    oee = report["kpis"]["oee"]["difference"]["family_first"]
    out.append(
        f"\nAgainst family-first dispatch OEE differs by {oee['mean']:+.4f} [{oee['low']:+.4f}, {oee['high']:+.4f}]. "
        f'`make evaluate ARGS="--replications {len(runs)} --json report.json"` repeats it.\n'
    )
    return "".join(out)


def into(readme: str) -> str:
    """``readme`` with the table of ``REPORT`` between its markers."""
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table(json.loads(REPORT.read_text()))}\n{END}{tail}"
