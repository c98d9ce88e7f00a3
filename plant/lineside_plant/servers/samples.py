"""From what the plant noted to what a PLC writes: one stream of samples per machine, in the order of plant time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from asyncua.ua.status_codes import StatusCodes

from lineside_plant.events import TagValue
from lineside_plant.signals import MachineSamples


class Sample(NamedTuple):
    """A tag's value on its way to the server. ``time`` is microseconds since 1970, UTC; ``status`` a StatusCode."""

    time: int
    tag: str
    value: TagValue
    status: int = StatusCodes.Good


def in_time_order(machine: MachineSamples) -> Iterator[Sample]:
    """Samples of ``machine``: each second's changes, then its sampled tags with PlantTime, the watermark, last."""
    tags = [tag for tag in machine.columns if tag != "PlantTime"] + [
        tag for tag in machine.columns if tag == "PlantTime"
    ]
    columns = [machine.columns[tag].tolist() for tag in tags]
    changes = iter(machine.changes)
    change = next(changes, None)
    for time, *row in zip(machine.times.astype(np.int64).tolist(), *columns, strict=bool(columns)):
        while change is not None and change.time <= time:
            yield Sample(*change)
            change = next(changes, None)
        for tag, value in zip(tags, row, strict=True):
            yield Sample(time, tag, value)
    while change is not None:
        yield Sample(*change)
        change = next(changes, None)
