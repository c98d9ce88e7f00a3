"""Training curves as CSV, and for TensorBoard where that is installed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

FILE = "curves.csv"


class Curves:
    """Appends a row per epoch to ``folder/curves.csv`` and its numbers to ``folder/tensorboard``; a context manager."""

    def __init__(self, folder: Path, *, resumed: bool = False) -> None:
        """``resumed`` goes on with the file that is there, otherwise a new one is begun."""
        self._path = folder / FILE
        self._writer: Any = None
        if not resumed:
            self._path.unlink(missing_ok=True)
        if find_spec("tensorboard") is not None:
            self._writer = import_module("torch.utils.tensorboard").SummaryWriter(str(folder / "tensorboard"))

    def add(self, row: Mapping[str, float]) -> None:
        """One epoch; ``row`` has "epoch" and any other numbers, the same in every row."""
        begun = self._path.exists()
        with self._path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if not begun:
                writer.writeheader()
            writer.writerow({k: f"{v:.6g}" for k, v in row.items()})
        if self._writer is not None:
            for name, value in row.items():
                if name != "epoch":
                    self._writer.add_scalar(name, value, int(row["epoch"]))

    def __enter__(self) -> Curves:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
