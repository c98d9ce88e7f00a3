"""Who calls a method. asyncua passes no user to methods: it is noted where a request is let in, and read inside."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """A user and what it may call.

    ``answers``: acknowledge, comment, accept, reject, and hold the plant at advisory. ``releases``: also give back
    what the settings allow.
    """

    name: str = ""
    answers: bool = False
    releases: bool = False


NOBODY = Caller()
_current: ContextVar[Caller] = ContextVar("caller", default=NOBODY)


def let_in(caller: Caller) -> None:
    """Note who makes the request that this task is about to serve."""
    _current.set(caller)


def caller() -> Caller:
    """Who makes the request that this task serves; nobody in particular outside of one."""
    return _current.get()
