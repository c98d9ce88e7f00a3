"""What the core of the gateway raises when it is wired up wrongly; data that is wrong is dropped and counted."""

from __future__ import annotations

from lineside_gateway.errors import LinesideError


class BindingError(LinesideError):
    """A task cannot be bound as asked: its inputs contradict themselves or each other. Raised at start only."""


class TagError(LinesideError):
    """A tag or a record is given in a form the table does not keep; the caller passes another one."""
