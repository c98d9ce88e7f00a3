"""Recordings on disk as the contract's ``Recording``: one folder per plant, plain numpy and JSON lines.

    recording.npz    time int64 (N,) microseconds UTC, end of each cell; tags/<equipment>/<tag> (N,);
                     arrays/<equipment>/<tag>/{serial (P,), time (P,), values (P, L)}
    events.jsonl     one record a line with "stream", "time" and "equipment_id", oldest first
    recording.json   unit, period_s and how the recording was made

``python -m lineside_plant record`` writes them of simulated plants; a historian's export in this form trains the same
tasks.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.contract import Recording
from lineside_plugins.types import Record, TimeArray
from lineside_workers.errors import RecordingError

ARRAYS, EVENTS, FACTS = "recording.npz", "events.jsonl", "recording.json"

_TIME = np.dtype("datetime64[us]")
_Tags = dict[str, dict[str, NDArray[np.float32]]]
_Parts = dict[str, dict[str, tuple[NDArray[np.str_], TimeArray, NDArray[np.float32]]]]


def find(root: Path) -> list[Path]:
    """Folders of recordings below ``root``, by name.

    Raises:
        RecordingError: There is none.
    """
    folders = sorted(p.parent for p in root.glob(f"*/{ARRAYS}"))
    if not folders:
        raise RecordingError(f"{root} holds no recordings; make some: python -m lineside_plant record --out {root}")
    return folders


def read(folder: Path) -> Recording:
    """The recording in ``folder``; about 4 bytes a cell and a part value of memory.

    Raises:
        RecordingError: A file is missing, cut short or of another form; names the file and the key.
    """
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        with (folder / ARRAYS).open("rb") as file, np.load(file, allow_pickle=False) as data:
            time = data["time"].astype(_TIME)
            tags, parts = _arrays(folder, data, len(time))
        lines = (folder / EVENTS).read_text(encoding="utf-8").splitlines()
        return Recording(
            unit=str(facts["unit"]),
            period_s=float(facts["period_s"]),
            time=time,
            tags=tags,
            streams=_streams(lines),
            arrays=parts,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, BadZipFile) as e:
        raise RecordingError(f"recording {folder} cannot be read: {type(e).__name__}: {e}; record it again") from e


def split(units: list[str], seed: int) -> tuple[list[str], list[str], list[str]]:
    """Train, validation and test units: two thirds, a sixth and a sixth, at least one each, shuffled by ``seed``.

    Raises:
        RecordingError: Fewer than three units.
    """
    if len(units) < 3:
        raise RecordingError(f"{len(units)} recorded plants; a split into train, validation and test needs at least 3")
    order = [sorted(units)[i] for i in np.random.default_rng(seed).permutation(len(units))]
    held = max(1, len(units) // 6)
    return sorted(order[2 * held :]), sorted(order[:held]), sorted(order[held : 2 * held])


def _arrays(folder: Path, data: np.lib.npyio.NpzFile, cells: int) -> tuple[_Tags, _Parts]:
    tags: _Tags = defaultdict(dict)
    parts: _Parts = defaultdict(dict)
    for key in data.files:
        match key.split("/"):
            case ["tags", equipment, tag]:
                values = data[key].astype(np.float32, copy=False)
                if values.shape != (cells,):
                    raise RecordingError(f"{folder / ARRAYS}: {key} has shape {values.shape}; expected ({cells},)")
                tags[equipment][tag] = values
            case ["arrays", equipment, tag, "values"]:
                values = data[key].astype(np.float32, copy=False)
                serial, time = data[f"{key[:-6]}serial"].astype(np.str_), data[f"{key[:-6]}time"].astype(_TIME)
                if values.ndim != 2 or not len(values) == len(serial) == len(time):
                    raise RecordingError(
                        f"{folder / ARRAYS}: {key} has shape {values.shape} for {len(serial)} serial numbers and "
                        f"{len(time)} times; record it again"
                    )
                parts[equipment][tag] = (serial, time, values)
    return dict(tags), dict(parts)


def _streams(lines: list[str]) -> dict[str, tuple[Record, ...]]:
    rows: dict[str, list[Record]] = defaultdict(list)
    for line in lines:
        row = json.loads(line)
        rows[str(row.pop("stream"))].append(row)
    return {stream: tuple(found) for stream, found in rows.items()}
