"""Mills whose tools drift and a press whose curve dips: for tests of learning, not of any plant's figures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lineside_plugins.contract import Recording, TrainedModel
from lineside_plugins.tasks.reject import curves as c
from lineside_plugins.tasks.reject.config import RejectConfig
from lineside_plugins.tasks.reject.task import RejectTask
from tests.plugins.synthetic import mill_recording


def synthetic_recording(seed: int, hours: int = 30) -> Recording:
    """One mill, and the press that formed its parts; three in a hundred are porous."""
    rng = np.random.default_rng(seed)
    porous = rng.random(hours * 60) < 0.03
    mill = mill_recording(
        rng, f"synthetic-{seed}", (0.2, 0.12), lambda rate, tool: 8 * (1 + 0.02 * rate * tool), porous
    )
    serial, time, _ = mill.arrays["M1"]["ToolCount"]
    return dataclasses.replace(mill, arrays={**mill.arrays, "P1": {"ForceCurve": (serial, time, curve(rng, porous))}})


def curve(rng: np.random.Generator, porous: np.ndarray) -> np.ndarray:
    """Force curves (P, CURVE) in kN; a porous part's has a dip somewhere in the middle."""
    u = np.linspace(0, 1, c.CURVE)
    press = 300 / (1 + np.exp((0.2 - u) / 0.03)) / (1 + np.exp((u - 0.85) / 0.02))
    at = 0.55 + 0.1 * rng.random(len(porous))
    dip = 15 * np.exp(-0.5 * ((u - at[:, None]) / 0.03) ** 2) * porous[:, None]
    return (press - dip + 3 * rng.standard_normal((len(porous), c.CURVE))).astype(np.float32)


@pytest.fixture(scope="session")
def recordings() -> list[Recording]:
    return [synthetic_recording(seed) for seed in range(4)]


@pytest.fixture(scope="session")
def trained(recordings: list[Recording]) -> TrainedModel:
    return RejectTask(RejectConfig()).fit(recordings[:2], recordings[2:3], seed=0, device="cpu")
