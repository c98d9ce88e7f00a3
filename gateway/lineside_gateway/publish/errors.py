"""What the hosted server raises; both are leaves of the gateway's error tree."""

from __future__ import annotations

from lineside_gateway.errors import LinesideError


class HostingError(LinesideError):
    """The hosted server cannot start: port taken, address not of this machine, or two nodes of one name."""


class PublishError(LinesideError):
    """A recommendation does not fit the nodes declared for it; it is dropped and counted, the others run on."""
