"""Mills whose tools wear each at its own rate, which power tells."""

from __future__ import annotations

import numpy as np
import pytest

from lineside_plugins.contract import Recording, TrainedModel
from lineside_plugins.tasks.compensation.config import CompensationConfig
from lineside_plugins.tasks.compensation.task import CompensationTask
from tests.plugins.synthetic import mill_recording


def synthetic_recording(seed: int, hours: int = 30) -> Recording:
    """One mill without porosity."""
    sound = np.zeros(hours * 60, dtype=np.bool_)
    rng = np.random.default_rng(seed)
    return mill_recording(rng, f"synthetic-{seed}", (0.3, 0.15), lambda rate, _tool: 8 + rate, sound)


@pytest.fixture(scope="session")
def recordings() -> list[Recording]:
    return [synthetic_recording(seed) for seed in range(4)]


@pytest.fixture(scope="session")
def trained(recordings: list[Recording]) -> TrainedModel:
    return CompensationTask(CompensationConfig()).fit(recordings[:2], recordings[2:3], seed=0, device="cpu")
