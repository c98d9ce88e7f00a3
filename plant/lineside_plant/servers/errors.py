"""What can go wrong when the plant is served: a branch of the package's error tree.

PlantError
└── PlantServerError
    ├── PortBusyError    another process listens on a port
    └── FaultSpecError   an --inject argument does not describe a fault
"""

from __future__ import annotations

from lineside_plant.errors import PlantError


class PlantServerError(PlantError, RuntimeError):
    """The plant cannot be served; the message says what to change."""


class PortBusyError(PlantServerError):
    """Another process listens on a port that a plant server needs; choose another ``--port``."""


class FaultSpecError(PlantServerError, ValueError):
    """An ``--inject`` argument does not describe a fault; the message says what would."""
