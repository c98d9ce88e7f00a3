"""Random streams with names: one per entity and event kind, so that paired runs stay paired.

The k-th life of a machine, the k-th part of a mill and the k-th job order get the same draws whatever a policy does,
because each kind of event of each entity owns a stream and takes exactly one value per occurrence.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1024


class Draws:
    """A stream of floats: the k-th call returns the k-th value, drawn in blocks because scalar draws are slow."""

    __slots__ = ("_block", "_draw")

    def __init__(self, draw: Callable[[int], NDArray[np.float64]]) -> None:
        self._draw = draw
        self._block: list[float] = []

    def __call__(self) -> float:
        """Take the next value."""
        if not self._block:
            self._block = self._draw(_BLOCK)[::-1].tolist()
        return self._block.pop()


class Streams:
    """Makes the streams of one run. Equal (seed, key) means an equal stream, on any machine and in any order."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def generator(self, *key: str | int) -> np.random.Generator:
        """A generator of its own for ``key``; texts become spawn-key words by CRC-32."""
        words = tuple(crc32(k.encode()) if isinstance(k, str) else k for k in key)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self._seed, spawn_key=words)))

    def normal(self, *key: str | int) -> Draws:
        """N(0, 1) values."""
        return Draws(self.generator(*key).standard_normal)

    def uniform(self, *key: str | int) -> Draws:
        """U[0, 1) values."""
        return Draws(self.generator(*key).random)

    def exponential(self, *key: str | int) -> Draws:
        """Exp(1) values."""
        return Draws(self.generator(*key).standard_exponential)
