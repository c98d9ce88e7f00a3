"""``train`` and ``evaluate-model``: from recordings to a model folder, and from a model to its figures on new units."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from lineside_plugins import registry
from lineside_plugins.contract import Recording, TrainableTask
from lineside_plugins.types import ModelData
from lineside_workers import recordings
from lineside_workers.errors import RecordingError
from lineside_workers.hosting import device as devices
from lineside_workers.models.shipped import code_hash, files_hash, shipped_folder
from lineside_workers.models.store import ModelStore, Origin

Say = Callable[[str], None]

_FILES = (recordings.ARRAYS, recordings.EVENTS, recordings.FACTS)
UNITS = "units"  # metrics key: which units trained, chose and tested the model


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What to train, from what, and where to. ``out`` None writes the weights that ship with the task."""

    task: str
    recordings: Path
    out: Path | None = None
    seed: int = 0
    version: str = ""
    device: str = devices.AUTO
    threads: int = 1


def train(job: TrainingJob, say: Say) -> ModelData:
    """Fit on training units, choose by validation units, measure on test units, save all of it.

    Raises:
        TaskError: The task is not installed or does not learn.
        RecordingError: Too few recordings, or one that cannot be read.
        ModelError: The result cannot be saved or signed.
    """
    task = _trainable(job.task)
    device = devices.choose(job.device)
    devices.limit_threads(job.threads)
    out = job.out or shipped_folder(job.task)
    store = ModelStore()
    store.keys.local()  # a key that cannot be made is said before the training, not after
    folders = recordings.find(job.recordings)
    started = time.monotonic()
    units = _read(folders, say)
    train_units, validation_units, test_units = recordings.split(list(units), job.seed)
    say(f"fit on {len(train_units)} plants, choose by {len(validation_units)}, device {device}")
    trained = task.fit(_of(units, train_units), _of(units, validation_units), seed=job.seed, device=device)
    say(f"fitted after {time.monotonic() - started:.0f} s; test on {len(test_units)} plants")
    with tempfile.TemporaryDirectory() as scratch:
        model = store.load(store.save(Path(scratch) / "model", job.task, job.version, trained))
    test = task.evaluate(model, _of(units, test_units), device=device)
    used = {"train": train_units, "validation": validation_units, "test": test_units}
    measured = replace(trained, metrics={**trained.metrics, "test": dict(test), UNITS: used})
    origin = Origin(code_hash(job.task), files_hash([f / n for f in folders for n in _FILES]))
    store.save(out, job.task, job.version, measured, origin=origin)
    say(table(trained.report))
    say(table([{"metric": k, "test": v} for k, v in test.items()]))
    size = sum(p.stat().st_size for p in out.iterdir())
    say(f"{job.task} {model.version}: {size / 1e6:.2f} MB in {out}, {time.monotonic() - started:.0f} s in all")
    return store.load(out)


def evaluate(task_name: str, root: Path, model_folder: Path | None, device: str, say: Say) -> Mapping[str, object]:
    """Measure a model on those recordings below ``root`` whose units neither trained nor chose it.

    Raises:
        TaskError: The task is not installed or does not learn.
        RecordingError: No such recording.
        ModelError: The model does not verify.
    """
    task = _trainable(task_name)
    store = ModelStore.from_env()
    model = store.load(model_folder or store.folder(task_name))
    known = cast("Mapping[str, Sequence[str]]", model.metrics.get(UNITS, {}))
    seen = {*known.get("train", ()), *known.get("validation", ())}
    units = {u: r for u, r in _read(recordings.find(root), say).items() if u not in seen}
    if not units:
        raise RecordingError(f"every plant in {root} trained or chose {model.name} {model.version}; record other seeds")
    metrics = task.evaluate(model, _of(units, units), device=devices.choose(device))
    say(f"{model.name} {model.version} on {len(units)} plants it has not seen")
    say(table([{"metric": k, "value": v} for k, v in metrics.items()]))
    return metrics


def table(rows: Iterable[Mapping[str, object]]) -> str:
    """Rows as aligned plain text, one column per key in order of first appearance."""
    listed = list(rows)
    columns = list(dict.fromkeys(k for row in listed for k in row))
    cells = [columns, *([_cell(row.get(c)) for c in columns] for row in listed)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _trainable(name: str) -> TrainableTask[Any]:
    task = registry.create(name)
    if not isinstance(task, TrainableTask):
        learns = [n for n in registry.installed() if _learns(n)]
        raise registry.TaskError(f"task '{name}' does not learn from recordings; those that do: {', '.join(learns)}")
    return task


def _learns(name: str) -> bool:
    try:
        return issubclass(registry.task_class(name), TrainableTask)
    except registry.TaskError:
        return False


def _read(folders: Sequence[Path], say: Say) -> dict[str, list[Recording]]:
    """Recordings by unit; several of one plant stay together, whatever the split."""
    units: dict[str, list[Recording]] = defaultdict(list)
    for i, folder in enumerate(folders):
        recording = recordings.read(folder)
        units[recording.unit].append(recording)
        say(f"read {folder} ({i + 1} of {len(folders)})")
    return dict(units)


def _of(units: Mapping[str, list[Recording]], names: Iterable[str]) -> list[Recording]:
    return [recording for name in names for recording in units[name]]
