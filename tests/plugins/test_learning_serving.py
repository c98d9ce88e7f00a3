"""Modules behind ``Served``: the same answers whatever the slices, the precision and the device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lineside_plugins.learning.serving import Plan, Precision, Served, fastest, plans_for

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(6 * 4, 32), nn.SiLU(), nn.Linear(32, 3))


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, 6, 4)).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 7, 64, 65, 130])
def test_slices_change_no_answer(count: int) -> None:
    """Any number of rows, in slices of 64, gives what the module gives for all at once."""
    served = Served(module(), "cpu", Plan(slice_rows=64))
    with torch.inference_mode():
        whole = served.module(torch.from_numpy(rows(count))).numpy()
    out = served(rows(count))
    assert out.shape == (count, 3)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, whole, rtol=1e-5, atol=1e-6)


def test_compiled_shapes_are_few() -> None:
    """Rows are padded to powers of four times sixteen, at most to a slice, and only where shapes are compiled."""
    plan = Plan(compiled=True, slice_rows=2048)
    assert {plan.shape_of(n) for n in range(1, 2049)} == {16, 64, 256, 1024, 2048}
    assert all(plan.shape_of(n) >= n for n in range(1, 2049))
    assert Plan().shape_of(37) == 37


def test_the_fastest_plan_is_one_that_is_right() -> None:
    """A plan whose answers are off, or that raises, is not considered however fast it is."""

    class Coarse(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.is_autocast_enabled("cpu"):
                if torch.get_autocast_dtype("cpu") is torch.float16:
                    raise RuntimeError("no kernel")
                return x[:, 0, :3] * 2
            return x[:, 0, :3].clone()

    plans = (Plan(), Plan(Precision.BFLOAT16), Plan(Precision.FLOAT16))
    plan, seconds = fastest(Coarse(), "cpu", rows(32), plans)
    assert plan == Plan()
    assert set(seconds) == {Plan()}


def test_bfloat16_stays_near() -> None:
    """In bfloat16 answers stay float32 and within a few parts in a hundred."""
    exact, rough = Served(module()), Served(module(), "cpu", Plan(Precision.BFLOAT16))
    out = rough(rows(64))
    assert out.dtype == np.float32
    assert float(np.abs(out - exact(rows(64))).max()) < 0.05


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("plan", plans_for("cuda:0"))
@pytest.mark.parametrize("count", [1, 64, 1000])
def test_cuda_answers_as_the_cpu_does(plan: Plan, count: int) -> None:
    """Every plan on CUDA, slice by slice through pinned memory, agrees with the CPU."""
    truth = Served(module())(rows(count))
    served = Served(module(), "cuda:0", Plan(plan.precision, plan.compiled, plan.graphs, slice_rows=128))
    for _ in range(3):  # buffers are used again
        out = served(rows(count))
        assert float(np.abs(out - truth).max()) < (1e-4 if plan.precision is Precision.FLOAT32 else 0.05)
