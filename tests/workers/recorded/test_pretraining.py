"""Pretraining on several devices, its pace, and devices that are not there."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lineside_plugins.learning.encoder import Encoder, embed
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_plugins.tasks.condition.features import PARTS
from lineside_workers.__main__ import main
from lineside_workers.condition import pretraining
from lineside_workers.condition.channels import Channels, fitted
from lineside_workers.condition.run import Recipe
from lineside_workers.condition.windows import Rows
from lineside_workers.errors import DeviceError, ModelError
from lineside_workers.hosting import device
from lineside_workers.recorded.splitting import Split

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


def test_machines_need_not_have_the_same_channels(
    make: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One encoder over plants with other tags and units; a task of some of them is fine-tuned on it."""
    own, foreign = ("VibRms", "SpindleTemp", "SpindlePower"), ("VibRms", "VibKurtosis")
    for plant in ("p1", "p2", "p3"):
        make(f"plants/{plant}", machines=("M1",), only=own)
    make("plants/p4", machines=("M1",), only=foreign, units={"VibRms": "in/s", "VibKurtosis": ""})
    split, encoder, plants = tmp_path / "split.json", tmp_path / "encoder", str(tmp_path / "plants")
    split.write_text('{"train": ["p1", "p4"], "validation": ["p2"], "test": ["p3"]}')
    args = ["--split", str(split), "--epochs", "1", "--out", str(encoder)]
    assert main(["pretrain", plants, "--tags", "all", *args]) == 0
    found = pretraining.load(encoder)
    channels = [
        ("SpindlePower", "kW"),
        ("SpindleTemp", "degC"),
        ("VibKurtosis", ""),
        ("VibRms", "in/s"),
        ("VibRms", "mm/s"),
    ]
    assert list(found.channels) == channels
    tune = ["finetune", plants, "--encoder", str(encoder), "--models", str(tmp_path / "m"), "--trials", "0"]
    tune += ["--head", "forecasting", "--ahead-h", "3", "--split", str(split), "--tags"]
    capsys.readouterr()
    assert main([*tune, "SpindleTemp [degC], VibRms [mm/s]"]) == 0
    assert "the encoder knows SpindleTemp, VibRms\n" in capsys.readouterr().out
    assert main([*tune, "VibRms [m/s]"]) == 2
    assert "was recorded in 'mm/s', the model expects 'm/s'" in capsys.readouterr().err


def test_an_encoder_fitted_to_fewer_tags_says_what_it_said_when_the_others_were_missing() -> None:
    """Folding absent channels into the first layer changes nothing; a new tag begins without a say."""
    torch.manual_seed(0)
    rng, parts = np.random.default_rng(0), len(PARTS)
    have: Channels = (("A", "kW"), ("B", "mm/s"), ("B", "in/s"), ("C", ""))
    encoder, whole = Encoder(2 * 4 * parts, (12,), 6).eval(), rng.standard_normal((32, 4 * parts))
    normaliser = Normaliser.fit(whole)
    whole[:, : 2 * parts] = np.nan
    wanted: Channels = (("C", ""), ("new", "A"), ("B", "in/s"))
    rows = np.concatenate(
        [whole[:, 3 * parts :], rng.standard_normal((32, parts)), whole[:, 2 * parts : 3 * parts]], axis=1
    )
    small, scale, new = fitted(encoder, normaliser, have, wanted, rows, (12,))
    assert new == ("new",)
    said, told = (embed(e, torch.from_numpy(n(x))) for e, n, x in ((encoder, normaliser, whole), (small, scale, rows)))
    assert torch.allclose(said, told, atol=1e-5)
    with pytest.raises(ModelError, match=r"knows none of D, only A \[kW\], B \[mm/s\]"):
        fitted(encoder, normaliser, have, (("D", ""),), rows[:, :parts], (12,))


def test_devices_are_named_as_users_name_them() -> None:
    """Numbers after a CUDA device are CUDA devices; one that is not there is said before anything is read."""
    assert device.several("cpu,cpu") == ("cpu", "cpu")
    with pytest.raises(DeviceError, match="device 'cuda:91' is not here"):
        device.several("cuda:91,92")
    with pytest.raises(DeviceError, match="device 'cuda:92' is not here"):
        device.several("cpu,92")
    with pytest.raises(DeviceError, match="device 'gpu' is unknown"):
        device.several("gpu")
