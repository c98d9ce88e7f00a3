"""Reads the audit log: checks its chain, lists its lines, writes them as CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lineside_gateway.audit.chain import GENESIS, REDACTED, AuditError, Head, read
from lineside_gateway.audit.log import files

FORGOTTEN = "forgotten"
"""Event of the line that accounts for redacted ones: their ``lines`` as [first, last] and what was asked."""
COLUMNS = ("seq", "at", "event", "task", "equipment_id", "key", "allowed", "step", "reason", "text", "user", "comment")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the chain holds. ``problem`` names file, line and what is wrong; ``first`` is the oldest line kept.

    ``redacted`` lines have lost their content to ``lineside forget``, each accounted for by a line of its own.
    """

    lines: int
    first: int
    head: Head
    problem: str = ""
    redacted: int = 0

    @property
    def intact(self) -> bool:
        """True where every line is as it was written and none is missing between the first and the head."""
        return not self.problem


def verify(folder: Path, expected: Head | None = None) -> Verdict:
    """Check every line. ``expected`` is a head noted earlier: the log must still hold exactly that line.

    Lines deleted for their age are accounted for by a later line "pruned" that carries the hash the rest begins with,
    redacted ones by a later line "forgotten" that names their numbers.

    Raises:
        AuditError: There is no audit log.
    """
    head, lines, first, opening = Head(), 0, 0, GENESIS
    pruned: set[str] = {GENESIS}
    blank: list[int] = []
    accounted: list[tuple[int, int]] = []
    met = expected is None
    for path, number, text in _raw(folder):
        try:
            content, made = read(text)
        except ValueError as e:
            return Verdict(lines, first, head, f"{path.name}:{number} {e}")
        previous = str(content.get("prev"))
        if not lines:
            first, opening = made.seq, previous
        elif made.seq != head.seq + 1 or previous != head.hash:
            return Verdict(lines, first, head, f"{path.name}:{number} does not follow line {head.seq}")
        if content["event"] == "pruned":
            pruned.add(str(content.get("last_hash")))
        if content.get(REDACTED):
            blank.append(made.seq)
        elif content["event"] == FORGOTTEN:
            accounted += _spans(content.get("lines"), made.seq)
        head, lines = made, lines + 1
        met |= made == expected
    problem = ""
    silent = next((seq for seq in blank if not any(a <= seq <= b for a, b in accounted)), None)
    if silent is not None:
        problem = f"line {silent} was emptied and no later line accounts for it"
    elif opening not in pruned:
        problem = f"the lines before {first} are gone and no later line accounts for it"
    elif not met:
        problem = f"line {expected} noted earlier is not in the log"
    return Verdict(lines, first, head, problem, len(blank))


def _spans(lines: object, before: int) -> list[tuple[int, int]]:
    """The spans of earlier lines that a line "forgotten" names."""
    spans = lines if isinstance(lines, list) else []
    return [(int(first), int(last)) for first, last in spans if int(last) < before]


def entries(folder: Path, *, event: str = "", key: str = "", since: str = "") -> Iterator[dict[str, object]]:
    """Lines as dicts, oldest first; of one event, one recommendation's key, or from an ISO 8601 time on.

    A redacted line has no more than number, time and event, and ``text`` says so.

    Raises:
        AuditError: There is no audit log, or a line of it cannot be read.
    """
    for path, number, text in _raw(folder):
        try:
            content, _ = read(text)
        except ValueError as e:
            raise AuditError(f"{path.name}:{number} {e}; run 'lineside audit verify'") from e
        if event in {"", content["event"]} and key in {"", content.get("key")} and str(content["at"]) >= since:
            yield content | ({"text": "removed by lineside forget"} if content.get(REDACTED) else {})


def export_csv(rows: Iterable[Mapping[str, object]], out: TextIO) -> int:
    """Write ``rows`` as CSV: the columns every reader asks for, then the whole line as JSON. How many."""
    writer = csv.writer(out)
    writer.writerow((*COLUMNS, "line"))
    count = 0
    for row in rows:
        writer.writerow((*(_cell(row.get(c)) for c in COLUMNS), json.dumps(row, ensure_ascii=False)))
        count += 1
    return count


def _cell(value: object) -> object:
    """Text that a spreadsheet would take for a formula is marked as text."""
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in {"=", "+", "-", "@"} else text


def _raw(folder: Path) -> Iterator[tuple[Path, int, str]]:
    found = files(folder)
    if not found:
        raise AuditError(f"no audit log in {folder}; give the settings file whose gateway wrote one")
    for path in found:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, start=1):
                yield path, number, text.removesuffix("\n")
