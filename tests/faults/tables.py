"""Tables of what was measured, printed at the end of a run by the process that reports, whichever ran the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

PROPERTY = "row of a table"


@pytest.fixture
def row(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Enters one row: the table's name, then a cell for each heading. A test that fails later has entered it all the
    same."""

    def enter(table: str, **cells: object) -> None:
        record_property(PROPERTY, [table, {heading.replace("_", " "): str(cell) for heading, cell in cells.items()}])

    return enter


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print them."""
    reports = [r for found in terminalreporter.stats.values() for r in found if getattr(r, "when", "") == "call"]
    tables: dict[str, list[dict[str, str]]] = {}
    for name, value in (entry for report in reports for entry in report.user_properties):
        if name == PROPERTY:
            tables.setdefault(value[0], []).append(value[1])
    for table, rows in sorted(tables.items()):
        terminalreporter.section(table)
        for line in lines(rows):
            terminalreporter.write_line(line)


def lines(rows: list[dict[str, str]]) -> list[str]:
    """``rows`` below their headings, sorted by their first cell; what a row does not say stays empty."""
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    ordered = sorted(rows, key=lambda row: row.get(headings[0], ""))
    cells = [headings, *([row.get(heading, "") for heading in headings] for row in ordered)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells]
