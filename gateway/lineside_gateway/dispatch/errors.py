"""Errors of the dispatch room."""

from __future__ import annotations

from lineside_gateway.errors import LinesideError


class BrokerError(LinesideError):
    """The broker cannot be started or reached."""
