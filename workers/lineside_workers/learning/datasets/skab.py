"""SKAB: a water-circulation rig, 34 experiments of about 20 minutes with one anomaly each, 8 sensors at 1 Hz.

The benchmark's split: the first 400 rows of each experiment are normal and fit a detector, all later rows are scored.
Source: Katser and Kozitsin, Skoltech Anomaly Benchmark (2020).
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lineside_workers.errors import DatasetError
from lineside_workers.learning.datasets import folder

FIT_ROWS = 400
GROUPS = ("valve1", "valve2", "other")


@dataclass(frozen=True, slots=True)
class Experiment:
    """``values`` float64 (T, 8), ``seconds`` float64 (T,) since the first row, ``anomalous`` bool (T,)."""

    name: str
    tags: tuple[str, ...]
    seconds: NDArray[np.float64]
    values: NDArray[np.float64]
    anomalous: NDArray[np.bool_]


def read(root: Path) -> list[Experiment]:
    """The 34 labelled experiments, by group and number.

    Raises:
        DatasetError: The archive is missing or damaged.
    """
    path = folder.required(root, "skab/skab.tar.xz")
    try:
        with tarfile.open(path) as archive:
            names = [m.name for m in archive.getmembers() if m.name.endswith(".csv")]
            keys = {n: (Path(n).parent.name, Path(n).stem) for n in names}
            wanted = [n for n in names if keys[n][0] in GROUPS]
            wanted.sort(key=lambda n: (GROUPS.index(keys[n][0]), int(keys[n][1])))
            return [_experiment("/".join(keys[n]), _bytes(archive, n)) for n in wanted]
    except (tarfile.TarError, EOFError) as error:
        raise DatasetError(f"data set file '{path}' is damaged ({error}); fetch it again") from error


def _bytes(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    if member is None:
        raise DatasetError(f"'{name}' in the SKAB archive is not a file; fetch the archive again")
    return member.read()


def _experiment(name: str, content: bytes) -> Experiment:
    lines = content.decode().splitlines()
    header = lines[0].split(";")
    cells = [line.split(";") for line in lines[1:]]
    times = np.asarray([c[0] for c in cells], dtype="datetime64[s]")
    values = np.asarray([c[1:9] for c in cells], dtype=np.float64)
    labels = np.asarray([float(c[header.index("anomaly")]) > 0.5 for c in cells])
    seconds = (times - times[0]).astype(np.float64)
    return Experiment(name, tuple(header[1:9]), seconds, values, labels)
