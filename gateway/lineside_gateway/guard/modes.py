"""What a mode allows, and what the plant-wide switch makes of it."""

from __future__ import annotations

from lineside_gateway.settings.model import Mode

HOSTED = frozenset({Mode.ADVISORY, Mode.CONFIRM, Mode.CLOSED_LOOP})
WRITING = frozenset({Mode.CONFIRM, Mode.CLOSED_LOOP})


def effective(mode: Mode, *, demoted: bool) -> Mode:
    """The mode in force: while the plant-wide switch demotes, nothing stands above advisory."""
    return Mode.ADVISORY if demoted and mode in WRITING else mode
