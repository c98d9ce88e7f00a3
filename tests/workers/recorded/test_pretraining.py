"""Pretraining on several devices, its pace, and devices that are not there."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_workers import device
from lineside_workers.condition import pretraining
from lineside_workers.condition.run import Recipe
from lineside_workers.condition.splitting import Split
from lineside_workers.condition.windows import Rows
from lineside_workers.errors import DeviceError

SPLIT = Split(("M1", "M2"), ("M3",), ("M4",))


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Windows of four machines whose features rise with time."""
    rng, n = np.random.default_rng(0), 160
    age = np.tile(np.linspace(0, 1, n), 4)
    x = rng.standard_normal((4 * n, 32)) * 0.3 + np.outer(age, rng.standard_normal(32))
    x[rng.random(x.shape) < 0.05] = np.nan
    machine = np.repeat(["M1", "M2", "M3", "M4"], n)
    coming = rng.standard_normal((4 * n, 4)) + age[:, None]
    coming[n - 2 :: n] = np.nan
    end_us = np.tile(np.arange(n) * 1_800_000_000, 4)
    unknown = np.full(4 * n, -1), coming, np.full(4 * n, np.nan), np.zeros((4 * n, 0))
    return Rows(x, end_us, machine, machine, *unknown)


def train(rows: Rows, out: Path, devices: tuple[str, ...], say: Callable[[str], None] = str) -> pretraining.Pretrained:
    """Three epochs with nothing that drops out by chance."""
    means = pretraining.Means(out, Recipe(epochs=3, pairs=64, dropout=0.0), 0, devices)
    return pretraining.pretrain(rows, ConditionConfig(), SPLIT, means, say)


def test_two_processes_learn_what_one_learns_with_the_whole_batch(rows: Rows, tmp_path: Path) -> None:
    """Each takes half of a step's pairs: the loss curves and the encoders are the same but for rounding."""
    said: list[str] = []
    one, two = train(rows, tmp_path / "one", ("cpu",)), train(rows, tmp_path / "two", ("cpu", "cpu"), said.append)
    assert np.allclose(one.losses, two.losses, rtol=1e-4)
    mine, theirs = ((tmp_path / n / "curves.csv").read_text().splitlines()[1:] for n in ("one", "two"))
    losses = [[float(line.split(",")[1]) for line in lines] for lines in (mine, theirs)]
    assert np.allclose(*losses, rtol=1e-4)
    for name, value in one.encoder.state_dict().items():
        assert np.allclose(value.numpy(), two.encoder.state_dict()[name].numpy(), atol=1e-4), name
    assert two.pace["devices"] == ["cpu", "cpu"]
    assert "s on cpu,cpu in float32" in said[-1]


def test_a_process_that_dies_is_said_and_training_goes_on_from_the_checkpoint(rows: Rows, tmp_path: Path) -> None:
    """One of two is killed after an epoch; the same command with one device ends like a run that was not disturbed."""

    def kill(text: str) -> None:
        if text.startswith("epoch 1"):
            (other,) = multiprocessing.active_children()
            other.kill()

    with pytest.raises(DeviceError, match=r"has gone: .*goes on from the last checkpoint"):
        train(rows, tmp_path / "parts", ("cpu", "cpu"), kill)
    said: list[str] = []
    parts = train(rows, tmp_path / "parts", ("cpu",), said.append)
    assert said[0] == "going on after epoch 1"
    assert np.allclose(parts.losses, train(rows, tmp_path / "whole", ("cpu",)).losses, rtol=1e-4)


def test_devices_are_named_as_users_name_them() -> None:
    """Numbers after a CUDA device are CUDA devices; one that is not there is said before anything is read."""
    assert device.several("cpu,cpu") == ("cpu", "cpu")
    with pytest.raises(DeviceError, match="device 'cuda:91' is not here"):
        device.several("cuda:91,92")
    with pytest.raises(DeviceError, match="device 'cuda:92' is not here"):
        device.several("cpu,92")
    with pytest.raises(DeviceError, match="device 'gpu' is unknown"):
        device.several("gpu")
