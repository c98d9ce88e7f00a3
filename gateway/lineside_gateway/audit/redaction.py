"""Takes the content out of lines of the audit log; the chain still holds, and a new line accounts for each of them.

The accounting line is on disk before the first content goes, so that a crash in between leaves a log that verifies; the
same call then finishes the work.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from lineside_gateway.audit.chain import REDACTED, AuditError, read, redacted
from lineside_gateway.audit.log import AuditLog, files
from lineside_gateway.audit.reading import FORGOTTEN

ACCOUNTS = frozenset({FORGOTTEN, "pruned"})
"""Events that account for others; they are never redacted."""


def redact(folder: Path, chosen: Callable[[Mapping[str, object]], bool], *, what: Mapping[str, object]) -> int:
    """Empty each line for whose content ``chosen`` is true; how many. ``what`` was asked goes into the new line.

    Raises:
        AuditError: A gateway is running on the folder, or a line there cannot be read.
    """
    if not files(folder):
        return 0
    log = AuditLog(folder)
    try:
        hits = {path: _hits(path, chosen) for path in files(folder)}
        numbers = sorted(n for found in hits.values() for n in found)
        if numbers:
            log.append(FORGOTTEN, lines=_ranges(numbers), count=len(numbers), **what)
            log.sync()
            with log.paused():
                for path, found in hits.items():
                    if found:
                        _rewrite(path, found)
        return len(numbers)
    finally:
        log.close()


def _hits(path: Path, chosen: Callable[[Mapping[str, object]], bool]) -> set[int]:
    found = set()
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, start=1):
            try:
                content, head = read(text.removesuffix("\n"))
            except ValueError as e:
                raise AuditError(f"{path.name}:{number} {e}; run 'lineside audit verify'") from e
            if content["event"] not in ACCOUNTS and not content.get(REDACTED) and chosen(content):
                found.add(head.seq)
    return found


def _rewrite(path: Path, numbers: set[int]) -> None:
    """Replace the file whole or not at all."""
    fresh = path.with_suffix(".new")
    with path.open(encoding="utf-8") as old, fresh.open("w", encoding="utf-8") as new:
        for text in old:
            content = json.loads(text)
            new.write(redacted(content) + "\n" if content["seq"] in numbers else text)
        new.flush()
        os.fsync(new.fileno())
    fresh.replace(path)


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    out: list[list[int]] = []
    for n in numbers:
        if out and n == out[-1][1] + 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return out
