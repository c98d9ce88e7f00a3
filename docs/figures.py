"""The table of docs/models.md from models.json, the report that `make bench-models ARGS="--record ..."` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

REPORT = Path(__file__).parent / "models.json"
BEGIN, END = "<!-- figures: written by docs/generate.py -->\n", "<!-- /figures -->\n"
_COLUMNS = ("metric", "value", "95 % interval", "seeds", "trees", "anchor", "goal", "verdict", "note")


def table(report: dict[str, Any]) -> str:
    """One row per figure, then how long each data set took."""
    out = [f"| {' | '.join(_COLUMNS)} |\n", f"|{'---|' * len(_COLUMNS)}\n"]
    for finished in report.values():
        out += [f"| {' | '.join(_shown(row[name]) for name in _COLUMNS)} |\n" for row in finished["rows"]]
    times = ", ".join(f"{name} {finished['seconds'] / 60:.1f}" for name, finished in report.items())
    total = sum(finished["seconds"] for finished in report.values()) / 60
    out.append(f"\nMinutes taken: {times}; {total:.0f} in all.\n")
    return "".join(out)


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def into(page: str) -> str:
    """``page`` with the table of ``REPORT`` between its markers."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table(json.loads(REPORT.read_text()))}\n{END}{tail}"
