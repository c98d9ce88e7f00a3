"""Tables on standard output, whole: what a terminal is too narrow for is folded, and a pipe gets a line a row."""

from __future__ import annotations

import os

from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 500
"""Columns of a line that no terminal shows; a table takes as many as it needs."""


def show(table: Table) -> None:
    """Print ``table``; names and NodeIds in it can be copied, none is cut short."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=PIPED_WIDTH)
    for column in table.columns:
        column.overflow = "fold"
    console.print(table)
