"""What discovery raises."""

from __future__ import annotations

from lineside_gateway.errors import LinesideError


class DiscoveryError(LinesideError):
    """No settings can be proposed for this server; nothing is written."""
