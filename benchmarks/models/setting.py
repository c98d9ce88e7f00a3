"""What every data set's benchmark is given: data, seeds, thrift, a place for feature tables, a voice."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from benchmarks.models.row import Say


@dataclass(frozen=True, slots=True)
class Setting:
    """``seeds`` runs per figure; ``quick`` asks for fewer trees, epochs and draws; ``cache`` holds feature tables."""

    data: Path
    cache: Path
    seeds: int
    quick: bool
    say: Say

    def cached(
        self, name: str, code: ModuleType, build: Callable[[], dict[str, NDArray[np.generic]]]
    ) -> dict[str, NDArray[np.generic]]:
        """Arrays of ``build``, kept on disk until the source of ``code``, which makes them, changes."""
        digest = hashlib.sha256(inspect.getsource(code).encode()).hexdigest()[:12]
        path = self.cache / f"{name}-{digest}.npz"
        if path.is_file():
            with np.load(path) as stored:
                return dict(stored)
        self.say(f"{name}: building features")
        arrays = build()
        self.cache.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".part.npz")
        np.savez(scratch, **arrays)  # type: ignore[arg-type]  # numpy types the keywords as allow_pickle too
        scratch.replace(path)
        return arrays
