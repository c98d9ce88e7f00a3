"""Who calls a method, in the terms of the methods of recommendations."""

from __future__ import annotations

from dataclasses import dataclass

from lineside_gateway.hosting import Role, current_user


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


def caller() -> Caller:
    """Who makes the request that this task serves; nobody in particular outside of one."""
    user = current_user()
    if user is None:
        return NOBODY
    granted = user.granted
    return Caller(user.shown or user.name or "", granted.includes(Role.OPERATOR), granted.includes(Role.ENGINEER))
