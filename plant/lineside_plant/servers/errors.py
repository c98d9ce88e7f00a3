"""What can go wrong when the plant is served.

PlantServerError
├── PortBusyError
└── FaultSpecError
"""

from __future__ import annotations


class PlantServerError(RuntimeError):
    """The plant cannot be served; the message says what to change."""


class PortBusyError(PlantServerError):
    """Another process listens on a port that a plant server needs."""


class FaultSpecError(PlantServerError, ValueError):
    """An ``--inject`` argument does not describe a fault."""
