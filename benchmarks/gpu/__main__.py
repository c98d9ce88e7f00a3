"""``python -m benchmarks.gpu``: a table on standard output, its last line JSON. See ``--help``."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.dispatch.model import windows
from benchmarks.dispatch.task import TAGS
from benchmarks.gpu.model import NAME, GpuBenchTask, parameters, trained, transformer
from lineside_plugins.learning.serving import Plan, Served, fastest
from lineside_plugins.types import WindowBatch
from lineside_workers.errors import DeviceError

BATCHES = (1, 4, 16, 64, 256, 1024, 4096)
SLICE_ROWS = 1024
ROUNDS = 5
MODELS, FIT = 3, 2.5  # so many models, and how many of them the budget holds


def seconds(run: Callable[[], object], device: str) -> float:
    """Of one run, the device's part included; the median of some."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def compare(plan: Plan, device: str, sizes: tuple[int, int], batches: list[int]) -> list[dict[str, float]]:
    """For each batch size: the bare forward pass on data that is there already, copies alone, and hosted."""
    rows = []
    hosted = Served(transformer(*sizes), device, Plan(plan.precision, plan.compiled, plan.graphs, SLICE_ROWS))
    bare = Served(transformer(*sizes), device, Plan(plan.precision, plan.compiled, plan.graphs, max(batches)))
    for batch in batches:
        given = windows(batch)
        there = torch.from_numpy(given).to(device)

        def forward(there: torch.Tensor = there) -> None:
            with torch.inference_mode(), bare.autocast():
                bare.forward(there, len(there))

        def copy(given: np.ndarray = given) -> None:
            torch.from_numpy(given).to(device)

        hosted(given), forward()  # shapes are compiled
        forward_s, copy_s = seconds(forward, device), seconds(copy, device) if device != "cpu" else 0.0
        hosted_s = seconds(lambda given=given: hosted(given), device)  # type: ignore[misc]
        rows.append({"batch": batch, "bare_per_s": batch / forward_s, "hosted_per_s": batch / hosted_s,
                     "ratio": forward_s / hosted_s, "copy_ms": copy_s * 1e3})  # fmt: skip
        print(f"batch {batch}: hosted {batch / hosted_s:.0f}/s, bare {batch / forward_s:.0f}/s", file=sys.stderr)
    return rows


def budget(device: str, sizes: tuple[int, int]) -> dict[str, float]:
    """Three models on a device whose budget holds two and a half: MiB of the budget and of what was ever held."""
    with tempfile.TemporaryDirectory(prefix="lineside-bench-gpu-") as folder:
        root = Path(folder)
        os.environ["LINESIDE_KEYS"] = str(root / "keys")
        _register(root)
        from lineside_workers.hosting.host import MEBIBYTE, Host  # noqa: PLC0415 - after the task is registered
        from lineside_workers.models.store import ModelStore  # noqa: PLC0415
        from lineside_workers.settings import WorkerSettings  # noqa: PLC0415

        module, store = transformer(*sizes), ModelStore(root / "models")
        store.install(NAME, store.save(root / "made", NAME, "1", trained(module)))
        budget_mb = max(1, int(FIT * 4 * parameters(module) / MEBIBYTE))
        host = Host(WorkerSettings(tasks=(NAME,), device=device, models=store.root, memory_mb=budget_mb))
        host.load()
        largest = 0
        for turn in range(3 * MODELS):
            result = host.answer(NAME, {"variant": turn % MODELS + 1}, _batch(8))
            assert not result.error, result.error  # noqa: S101 - a benchmark that did not answer has no figure
            largest = max(largest, host.model_bytes)
        evicted = host.evicted
        peak = torch.cuda.max_memory_allocated() / MEBIBYTE if device != "cpu" else 0.0
        host.close()
        return {"budget_mb": budget_mb, "weights_mb": largest / MEBIBYTE, "peak_mb": peak, "evicted": evicted}


def _register(root: Path) -> None:
    info = root / "site" / "lineside_bench_gpu-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lineside-bench-gpu\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lineside.tasks]\n{NAME} = benchmarks.gpu.model:{GpuBenchTask.__name__}\n")
    sys.path.insert(0, str(root / "site"))


def _batch(count: int) -> WindowBatch:
    values = windows(count)
    end = np.datetime64("2026-01-05T07:00:00", "us") + np.arange(count) * np.timedelta64(1, "s")
    ids = tuple(f"M{i}" for i in range(count))
    return WindowBatch(ids, TAGS, values, np.isfinite(values), end, 0.1, ({},) * count)


def show(rows: list[dict[str, float]], plans: dict[Plan, float], chosen: Plan, device: str) -> None:
    """The tables on standard output."""
    console, table = Console(), Table(title=f"hosted on {device}, windows per second")
    for column in ("batch", "bare", "hosted", "hosted / bare", "copy ms"):
        table.add_column(column, justify="right")
    for r in rows:
        table.add_row(f"{r['batch']:.0f}", f"{r['bare_per_s']:,.0f}", f"{r['hosted_per_s']:,.0f}", f"{r['ratio']:.2f}",
                      f"{r['copy_ms']:.2f}")  # fmt: skip
    console.print(table)
    for plan, took in plans.items():
        how = "graphs" if plan.graphs else "compiled" if plan.compiled else "eager"
        console.print(f"{plan.precision} {how}: {took * 1e3:.1f} ms{'  <- taken' if plan == chosen else ''}")


def main() -> int:
    """Measure and print; 0 also where there is no device to measure on."""
    parser = argparse.ArgumentParser(prog="make bench-gpu", description=__doc__)
    parser.add_argument("--device", default="cuda:0", help="cuda:N, or cpu to try the same code [cuda:0]")
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)), help="batch sizes with commas [1 to 4096]")
    parser.add_argument("--width", type=int, default=512, help="width of the transformer [512: 25 M parameters]")
    parser.add_argument("--layers", type=int, default=8, help="its layers [8]")
    args = parser.parse_args()
    from lineside_workers.hosting import device as devices  # noqa: PLC0415 - --help needs no torch

    try:
        device = devices.choose(args.device)
    except DeviceError as e:
        print(f"skipped: {e}")
        print(json.dumps({"skipped": str(e)}))
        return 0
    sizes, batches = (args.width, args.layers), [int(b) for b in args.batches.split(",")]
    chosen, plans = fastest(transformer(*sizes), device, windows(min(256, max(batches))))
    rows = compare(chosen, device, sizes, batches)
    show(rows, plans, chosen, device)
    best = max(rows, key=lambda r: r["hosted_per_s"])
    said: dict[str, Any] = {
        "device": device,
        "parameters": parameters(transformer(*sizes)),
        "best_batch": best["batch"],
        "throughput_vs_bare": best["hosted_per_s"] / max(r["bare_per_s"] for r in rows),
        "memory": budget(device, sizes),
        "batches": rows,
    }
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
