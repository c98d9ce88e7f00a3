"""Channels of an encoder: tags with units. Machines and plants need not have the same.

What a machine does not have, or has in another unit, is missing there. An encoder is fitted to a task's own tags
before fine-tuning: what the task lacks is folded into the first layer as missing for good, what is new begins at
nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lineside_plugins.learning.encoder import Encoder
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.tasks.condition.features import PARTS
from lineside_workers.errors import ModelError, RecordingError
from lineside_workers.recorded.reading import Floats, Recorded, TagSeries

Channels: TypeAlias = tuple[tuple[str, str], ...]


def of_tags(tags: Mapping[str, str]) -> Channels:
    """One channel per tag."""
    return tuple(tags.items())


def recorded(found: Recorded) -> Channels:
    """Every tag of a recording in every unit that it has there; without a unit only where no machine states one."""
    units: dict[str, set[str]] = {}
    for (machine, tag), series in found.series.items():
        units.setdefault(tag, set()).add(_unit(f"{machine}.{tag}", series))
    return tuple((tag, unit) for tag, of in sorted(units.items()) for unit in sorted(of - {""} or {""}))


def of_machine(found: Recorded, machine: str, channels: Channels) -> NDArray[np.bool_]:
    """Which of ``channels`` (C,) a machine has, in that unit."""
    names = [tag for tag, _ in channels]
    return np.array([
        (machine, tag) in found.series
        and same_unit(_unit(f"{machine}.{tag}", found.series[machine, tag]), unit, alone=names.count(tag) == 1)
        for tag, unit in channels
    ])  # fmt: skip


def same_unit(one: str, other: str, *, alone: bool) -> bool:
    """Whether two units are the same; one that is not stated is, where the tag has but one channel."""
    return one == other or (alone and "" in (one, other))


def fitted(
    encoder: Encoder, normaliser: Normaliser, channels: Channels, wanted: Channels, rows: Floats, hidden: Sequence[int]
) -> tuple[Encoder, Normaliser, tuple[str, ...]]:
    """An encoder and normaliser of the channels ``wanted``, and which tags of them are new to it.

    ``rows`` (R, F) are features of ``wanted`` to scale what is new. Of what both have it says the same as the one given
    says of windows in which the rest is missing.

    Raises:
        ModelError: It knows none of them.
    """
    places = [_place(channels, tag, unit) for tag, unit in wanted]
    if all(p is None for p in places):
        known = ", ".join(f"{t} [{u}]" if u else t for t, u in channels)
        raise ModelError(
            f"the encoder knows none of {', '.join(t for t, _ in wanted)}, only {known}; pretrain with them"
        )
    parts, size = len(PARTS), len(channels) * len(PARTS)
    fresh = Normaliser.fit(rows)
    mean, std = fresh.mean.copy(), fresh.std.copy()
    first = _first(encoder)
    weight = torch.zeros(first.out_features, 2 * parts * len(wanted))
    own, half = np.arange(parts), parts * len(wanted)
    for k, place in enumerate(places):
        if place is None:
            continue
        here, there = torch.from_numpy(parts * k + own), torch.from_numpy(parts * place + own)
        mean[here.numpy()], std[here.numpy()] = normaliser.mean[there.numpy()], normaliser.std[there.numpy()]
        weight[:, here] = first.weight.detach()[:, there]
        weight[:, half + here] = first.weight.detach()[:, size + there]
    gone = np.setdiff1d(np.arange(len(channels)), [p for p in places if p is not None])
    marks = torch.from_numpy((size + parts * gone[:, None] + own).reshape(-1).astype(np.int64))
    out = Encoder(2 * half, hidden, encoder.embedding)
    state = copy.deepcopy(encoder.state_dict())
    name = next(n for n, m in encoder.named_modules() if m is first)
    state[f"{name}.weight"] = weight
    state[f"{name}.bias"] = first.bias.detach() + first.weight.detach()[:, marks].sum(dim=1)
    out.load_state_dict(state)
    return out.eval(), Normaliser(mean, std), tuple(t for (t, _), p in zip(wanted, places, strict=True) if p is None)


def _place(channels: Channels, tag: str, unit: str) -> int | None:
    alone = [t for t, _ in channels].count(tag) == 1
    return next((i for i, (t, u) in enumerate(channels) if t == tag and same_unit(u, unit, alone=alone)), None)


def _first(encoder: Encoder) -> nn.Linear:
    return next(m for m in encoder.modules() if isinstance(m, nn.Linear))


def _unit(name: str, series: TagSeries) -> str:
    stated = [u for u in series.units if u]
    if len(stated) > 1:
        raise RecordingError(
            f"{name} changes its unit within the recording: {', '.join(stated)}; import it again with --unit, part by "
            "part"
        )
    return stated[0] if stated else ""
