"""What every way of running the model can be asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod

import psutil


class Contestant(ABC):
    """One way to run the model. ``processes`` are those beside this one, without what they start themselves."""

    name: str
    processes: tuple[psutil.Process, ...] = ()

    @abstractmethod
    async def start(self) -> None:
        """Return once it has answered.

        Raises:
            RuntimeError: It ended, stayed silent, or its numbers are not the model's.
        """

    @abstractmethod
    async def batch(self) -> None:
        """Answer for 32 windows."""

    @abstractmethod
    async def single(self) -> None:
        """Answer for one window."""

    @abstractmethod
    async def stop(self) -> None:
        """End all its processes."""

    async def rest(self) -> None:  # noqa: B027 - most use next to nothing when they are not asked
        """Do nothing until ``wake``, so that others can be measured; called between calls."""

    async def wake(self) -> None:  # noqa: B027
        """Be ready again."""
