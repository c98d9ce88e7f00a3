from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import lineside_plugins
from lineside_plugins import ContractError, Inputs, RecordSpec, TaskConfig, Trigger, WindowBatch, WindowSpec
from lineside_plugins.contract import Channel
from lineside_plugins.synthetic import synthetic_batch

INPUTS = Inputs(
    Trigger(every_s=60),
    deadline_s=10,
    window=WindowSpec((Channel("A"), Channel("B")), length=4, period_s=2.0),
    snapshot=("SerialNo",),
    records=(RecordSpec("events"),),
)


@pytest.fixture
def batch() -> WindowBatch:
    return synthetic_batch(INPUTS, 3, seed=1)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"values": np.zeros((2, 4, 2), np.float32)}, r"values has shape \(2, 4, 2\); expected \(3, T, 2\)"),
        ({"tags": ("A",)}, r"expected \(3, T, 1\)"),
        ({"good": np.ones((3, 4, 1), np.bool_)}, "good has shape"),
        ({"values": np.zeros((3, 4, 2), np.float64)}, "values is float64"),
        ({"end": np.zeros(3, "datetime64[s]")}, r"end is datetime64\[s\]"),
        ({"snapshots": ({},)}, "snapshots has 1 entries; expected one per window, 3"),
        ({"records": ({}, {})}, "records has 2 entries"),
    ],
)
def test_a_batch_is_checked_where_it_is_made(batch: WindowBatch, change: dict[str, object], why: str) -> None:
    """Each wrong shape or dtype is one sentence with the value and what was expected."""
    with pytest.raises(ContractError, match=why):
        dataclasses.replace(batch, **change)


def test_selected_windows_take_everything_with_them(batch: WindowBatch) -> None:
    """Grid, ends, snapshots and records follow the chosen order, and the original stays."""
    chosen = batch.select([2, 0])
    assert chosen.equipment_ids == ("E2", "E0")
    np.testing.assert_array_equal(chosen.values, batch.values[[2, 0]])
    np.testing.assert_array_equal(chosen.end, batch.end[[2, 0]])
    assert len(chosen.snapshots) == len(chosen.records) == 2
    assert len(batch.select([])) == 0


def test_channels_are_found_by_name(batch: WindowBatch) -> None:
    """An unknown tag names those there are."""
    assert batch.channel("B") == 1
    with pytest.raises(ContractError, match="tag 'C' is not in the batch; it has A, B"):
        batch.channel("C")


def test_a_synthetic_batch_fits_its_inputs() -> None:
    """Full or poor, with a window or without one."""
    full, poor = synthetic_batch(INPUTS, 2, seed=0), synthetic_batch(INPUTS, 2)
    assert full.tags == ("A", "B")
    assert full.values.shape == (2, 4, 2)
    assert full.good.all()
    assert np.isnan(poor.values).all()
    assert not poor.good.any()
    assert poor.snapshots[0] == {"SerialNo": None}
    assert poor.records[0] == {"events": ()}
    assert synthetic_batch(Inputs(Trigger(every_s=1), deadline_s=1), 2).values.shape == (2, 0, 0)


def test_a_configuration_refuses_unknown_keys_and_changes() -> None:
    """A typo in a file is an error, and a task cannot change what it was given."""

    class Config(TaskConfig):
        threshold: float = 0.5

    with pytest.raises(ValueError, match="Extra inputs"):
        Config.model_validate({"treshold": 1.0})
    with pytest.raises(ValueError, match="frozen"):
        Config().threshold = 1.0


def test_the_package_exports_what_it_lists() -> None:
    """Every public name exists."""
    assert all(hasattr(lineside_plugins, name) for name in lineside_plugins.__all__)
