"""A page of headings, tables and plots."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1d2327; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .2rem .7rem; text-align: left; vertical-align: top; }
.number { text-align: right; white-space: nowrap; } summary { cursor: pointer; margin: .5rem 0; }
td:first-child { white-space: nowrap; }
th { border-bottom: 2px solid #8c8f94; } tr:nth-child(even) { background: #f4f5f6; } .error { color: #a00; }
.warning { color: #8a5a00; } img { max-width: 100%; } .wide { overflow-x: auto; }
"""
_SIDE = {True: ' class="number"', False: ""}


class Page:
    """Built from top to bottom; ``write`` puts it on disk whole."""

    def __init__(self, title: str, about: str) -> None:
        self._parts = [f"<h1>{escape(title)}</h1><p>{escape(about)}</p>"]
        self._title = title

    def section(self, title: str, text: str = "") -> None:
        """A heading, and a paragraph below it."""
        self._parts.append(f"<h2>{escape(title)}</h2>" + (f"<p>{escape(text)}</p>" if text else ""))

    def table(self, rows: Iterable[Mapping[str, object]], empty: str = "nothing", *, folded: str = "") -> None:
        """One column per key in order of first appearance; a row with a "severity" is coloured by it.

        Columns of numbers stand to the right. ``folded`` is what a long table is called that opens on a click.
        """
        listed = list(rows)
        columns: Sequence[str] = list(dict.fromkeys(k for row in listed for k in row))
        if not listed:
            self._parts.append(f"<p>{escape(empty)}</p>")
            return
        side = {c: _SIDE[all(isinstance(r.get(c), int | float | None) for r in listed)] for c in columns}
        head = "".join(f"<th{side[c]}>{escape(c.replace('_', ' '))}</th>" for c in columns)
        body = "".join(
            f'<tr class="{escape(str(row.get("severity", "")))}">'
            + "".join(f"<td{side[c]}>{escape(cell(row.get(c)))}</td>" for c in columns)
            + "</tr>"
            for row in listed
        )
        table = f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
        self._parts.append(f"<details><summary>{escape(folded)}</summary>{table}</details>" if folded else table)

    def plot(self, draw: Callable[[Any], None], alt: str, size: tuple[float, float] = (10.0, 3.2)) -> None:
        """What ``draw(figure)`` draws with matplotlib, as PNG inside the page."""
        from matplotlib.figure import Figure  # noqa: PLC0415 - takes a second; without pyplot there is no state

        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=90)
        data = base64.b64encode(image.getvalue()).decode()
        self._parts.append(f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">')

    def write(self, path: Path) -> Path:
        """Put the page at ``path``, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.tmp")
        body = "\n".join(self._parts)
        fresh.write_text(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(self._title)}</title>'
            f"<style>{_STYLE}</style><body>{body}</body></html>\n",
            encoding="utf-8",
        )
        return fresh.replace(path)


def cell(value: object) -> str:
    """A value as people read it: four digits, a dash for nothing."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4g}"  # noqa: PLR0124 - NaN
    return str(value)
