"""The camera behind each grinder: a 128 x 128 grey image of each ground surface, rendered when asked for."""

from __future__ import annotations

import io
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL import Image

IMAGE_SIDE = 128
_ROWS, _COLUMNS = np.mgrid[0:IMAGE_SIDE, 0:IMAGE_SIDE].astype(np.float64)


@dataclass(frozen=True, slots=True)
class Surface:
    """What a surface shows. Calling it renders the PNG; equal surfaces give equal bytes.

    ``wear`` is W of the tool that cut the part, ``grinder_x`` the degradation of the grinder that ground it.
    """

    seed: int
    serial_no: str
    porous: bool
    wear: float
    grinder_x: float

    def __call__(self) -> bytes:
        """The PNG as bytes."""
        target = io.BytesIO()
        Image.fromarray(self.pixels(), "L").save(target, "PNG", compress_level=6)
        return target.getvalue()

    def pixels(self) -> NDArray[np.uint8]:
        """The grey values, uint8 (128, 128); the grinding direction runs along the rows."""
        rng = np.random.default_rng([self.seed, crc32(self.serial_no.encode())])
        grey = 140.0 + self._texture(rng) + self._chatter(rng)
        self._scratch(grey, rng)
        self._pit(grey, rng)
        return np.clip(grey, 0, 255).astype(np.uint8)

    def _texture(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Grinding marks: one level per row, and grain that is long along the row."""
        marks = 9.0 * rng.standard_normal((IMAGE_SIDE, 1))
        grain = rng.standard_normal((IMAGE_SIDE, IMAGE_SIDE + 8))
        smooth = np.cumsum(grain, axis=1)
        return np.asarray(marks + 12.0 * (smooth[:, 8:] - smooth[:, :-8]) / 8.0)

    def _chatter(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Waves across the grinding direction that grow with the grinder's degradation and the mill's tool wear."""
        height = 26.0 * self.grinder_x**2 + 8.0 * self.wear**2
        period = rng.uniform(9.0, 13.0)
        phase = rng.uniform(0.0, 2 * np.pi)
        return np.asarray(height * np.sin(2 * np.pi * (_COLUMNS + 0.15 * _ROWS) / period + phase))

    def _scratch(self, grey: NDArray[np.float64], rng: np.random.Generator) -> None:
        """Bright scratches at random angles, more of them on a worn grinder."""
        for _ in range(rng.poisson(0.3 + 2.0 * self.grinder_x)):
            row, angle = rng.uniform(0, IMAGE_SIDE), rng.uniform(-0.5, 0.5)
            distance = np.abs((_ROWS - row) - np.tan(angle) * _COLUMNS) * np.cos(angle)
            grey += rng.uniform(30, 70) * np.exp(-((distance / 0.8) ** 2))

    def _pit(self, grey: NDArray[np.float64], rng: np.random.Generator) -> None:
        """Dark pits: some on every part, many on a porous one."""
        for _ in range(rng.poisson(7.0 if self.porous else 0.4)):
            row, column = rng.uniform(4, IMAGE_SIDE - 4, 2)
            radius = rng.uniform(0.9, 2.6)
            distance2 = (_ROWS - row) ** 2 + (_COLUMNS - column) ** 2
            grey -= rng.uniform(50, 110) * np.exp(-distance2 / (2 * radius**2))
