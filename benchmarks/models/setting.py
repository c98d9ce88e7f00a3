"""What every data set's benchmark is given: data, seeds, thrift, a place for feature tables, a voice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.models import kept
from benchmarks.models.row import Say


@dataclass(frozen=True, slots=True)
class Setting:
    """``seeds`` runs per figure, fewer trees and rows if ``quick``; ``cache`` holds feature tables and fitted models.

    ``validate`` scores validation units in place of test sets: the way to choose settings without opening a test.
    Networks train on ``device``.
    """

    data: Path
    cache: Path
    seeds: int
    quick: bool
    validate: bool
    say: Say
    device: str = "cpu"

    def cached(
        self, name: str, code: Sequence[ModuleType], build: Callable[[], dict[str, NDArray[Any]]]
    ) -> dict[str, NDArray[Any]]:
        """Arrays of ``build``, kept on disk until a module of ``code``, which make them, changes."""
        path = self.cache / f"{name}-{kept.digest(tuple(module.__name__ for module in code), imported=False)}.npz"
        if path.is_file():
            with np.load(path) as stored:
                return dict(stored)
        self.say(f"{name}: building")
        arrays = build()
        self.cache.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".part.npz")
        np.savez(scratch, **arrays)  # type: ignore[arg-type]  # numpy types the keywords as allow_pickle too
        scratch.replace(path)
        return arrays
