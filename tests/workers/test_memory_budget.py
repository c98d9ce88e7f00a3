"""Models that do not fit beside each other take turns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lineside_plugins import TrainedModel
from lineside_plugins.wire import Status
from lineside_workers.hosting.host import MEBIBYTE, Host
from lineside_workers.models.store import ModelStore
from lineside_workers.settings import WorkerSettings


def test_models_beyond_the_budget_take_turns(tiny: str, tiny_model: TrainedModel, tmp_path: Path, make_batch) -> None:
    """Three models of 1.5 MiB under 4 MiB: all answer, two at most stay, and the one unused for longest goes."""
    heavy = {**tiny_model.tensors, "ballast": np.zeros(3 * MEBIBYTE // 8, dtype=np.float32)}
    store = ModelStore(tmp_path / "models")
    store.install(tiny, store.save(tmp_path / "heavy", tiny, "2.0", replace(tiny_model, tensors=heavy)))
    host = Host(WorkerSettings(tasks=(tiny,), device="cpu", models=store.root, memory_mb=4))
    assert host.load() == [tiny]
    low, high = {"threshold": 0.1}, {"threshold": 5.0}
    flags = []
    for config in ({}, low, {}, high, {}, low):
        result = host.answer(tiny, config, make_batch(1.0))
        assert result.status is Status.ANSWERED
        flags.append(result.recommendations[0].value["flag"])
        assert host.model_bytes <= 4 * MEBIBYTE
    assert flags == [True, True, True, False, True, True]
    assert host.describe()["evicted"] == 2  # low made way for high, and high for low; the default was in use
    assert host.describe()["tasks"] == {tiny: "tiny:2.0"}
    host.close()
    assert host.model_bytes == 0
