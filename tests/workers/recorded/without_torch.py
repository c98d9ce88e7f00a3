"""Hosts the condition task where nothing that only training needs can be imported; prints what is said of windows."""

from __future__ import annotations

import json
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path


class Missing(MetaPathFinder):
    """Finds none of the packages that ``lineside[edge]`` leaves out."""

    def find_spec(self, name, *_unused):
        if name.partition(".")[0] in {"torch", "sklearn", "onnx", "matplotlib", "pyarrow", "ortools"}:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def main(models: str, config: str, windows: str) -> None:
    """Answer as a worker of such a box does."""
    import numpy as np

    from lineside_plugins import WindowBatch
    from lineside_plugins.tasks.condition.config import TAGS
    from lineside_workers.hosting.host import Host
    from lineside_workers.settings import WorkerSettings

    values = np.load(windows)
    host = Host(WorkerSettings(models=Path(models), tasks=("condition",), device="cpu"))
    assert host.load() == ["condition"], host.failed
    n = len(values)
    ends = np.datetime64("2026-01-05", "us") + np.arange(n) * np.timedelta64(600, "s")
    names, empty = tuple(map(str, range(n))), ({},) * n
    batch = WindowBatch(names, tuple(TAGS), values, np.isfinite(values), ends, 600.0, empty, empty)
    said = host.answer("condition", json.loads(config), batch).recommendations
    print(json.dumps([None if r is None else [r.value["value"], r.model_version] for r in said]))


if __name__ == "__main__":
    sys.meta_path.insert(0, Missing())
    main(*sys.argv[1:])
