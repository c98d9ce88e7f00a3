"""One thing that ``lineside check`` has to say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    """Something asked for will not work."""
    WARNING = "warning"
    """It works, and may bite later."""
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """``where`` is a place in the settings or the plant, ``what`` the fact, ``next_step`` what to do about it."""

    severity: Severity
    where: str
    what: str
    next_step: str = ""


def error(where: str, what: str, next_step: str = "") -> Finding:
    """A finding of severity error."""
    return Finding(Severity.ERROR, where, what, next_step)


def warning(where: str, what: str, next_step: str = "") -> Finding:
    """A finding of severity warning."""
    return Finding(Severity.WARNING, where, what, next_step)


def fine(where: str, what: str) -> Finding:
    """A finding of severity ok."""
    return Finding(Severity.OK, where, what)


def by_severity(findings: list[Finding]) -> list[Finding]:
    """Errors first, then warnings, each in the order found."""
    order = list(Severity)
    return sorted(findings, key=lambda f: order.index(f.severity))
