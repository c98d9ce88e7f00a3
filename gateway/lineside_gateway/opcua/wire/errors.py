"""What is wrong with bytes that came from a server."""

from __future__ import annotations

from lineside_gateway.errors import LinesideError


class WireError(LinesideError):
    """Bytes that are no OPC UA message: nothing of the message is taken, and it is counted."""
