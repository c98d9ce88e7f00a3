"""Errors of RefPlant.

PlantError
├── SpecError        a PlantSpec or Policy value is out of bounds
├── CommandError     a command names a machine or job order the plant does not have
└── RecordingError   a recording cannot be written as asked
"""

from __future__ import annotations


class PlantError(Exception):
    """Base of every error the simulated plant raises."""


class SpecError(PlantError, ValueError):
    """A PlantSpec or Policy value is out of bounds; the message names field, value and bound."""


class CommandError(PlantError, LookupError):
    """A command names something the plant does not have; the message lists what it has."""


class RecordingError(PlantError, ValueError):
    """A recording cannot be written as asked; the message says which argument to change."""
