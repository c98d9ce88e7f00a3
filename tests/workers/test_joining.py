from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lineside_plugins import WindowBatch
from lineside_plugins.wire import BatchResult, Drift, Status, decode_result, encode_result
from lineside_workers.hosting.runner import Runner
from lineside_workers.requests.joining import fit, join, split


def answers(runner: Runner, batches: list[WindowBatch]) -> list[BatchResult]:
    return split(runner.answer(join(batches)), batches)


def plain(result: BatchResult) -> BatchResult:
    """As it reaches the gateway, without the seconds it took."""
    sent = decode_result(encode_result(result))
    return replace(sent, recommendations=tuple(sent.recommendations), meta={})


def test_each_request_gets_the_answer_it_would_have_got_alone(
    tiny: str, make_batch: Callable[..., WindowBatch]
) -> None:
    """Recommendations, silence and refusals of three requests that were computed at once, by index in their own."""
    runner = Runner(tiny, device="cpu")
    runner.load()
    batches = [
        make_batch(1.0, (-1000,), 0.0),
        make_batch((-5000,)),
        make_batch(0.2, (-4000,), 3.0, serials=tuple("XYZ")),
    ]
    together = answers(runner, batches)
    assert [plain(r) for r in together] == [plain(runner.answer(b)) for b in batches]
    assert [len(r.recommendations) for r in together] == [3, 1, 3]
    assert [[x.index for x in r.refused] for r in together] == [[1], [], [1]]
    runner.close()


def test_what_is_about_machines_goes_to_those_who_asked_about_them(make_batch: Callable[..., WindowBatch]) -> None:
    """Drift goes with its machine, seconds of inference by the share of windows."""
    one, two = make_batch(1.0), replace(make_batch(1.0, 2.0, 3.0), equipment_ids=("A", "B", "C"))
    drift = (Drift("B", "Load", "b"), Drift("M0", "Load", "m"))
    whole = BatchResult(
        Status.ANSWERED,
        (None,) * 4,
        meta={"inference_s": 0.4, "device": "cpu"},
        drift=drift,
        error="said of all",
        watched=True,
    )
    first, second = split(whole, [one, two])
    assert [(r.status, r.error, r.watched) for r in (first, second)] == [(Status.ANSWERED, "said of all", True)] * 2
    assert ([d.cause for d in first.drift], [d.cause for d in second.drift]) == (["m"], ["b"])
    assert [r.meta["inference_s"] for r in (first, second)] == [0.1, 0.3]


@pytest.mark.parametrize(
    "change",
    [{"tags": ("Load", "Other")}, {"period_s": 2.0}, {"snapshots": ()}, {"values": np.ones((1, 4, 2), np.float32)}],
)
def test_windows_of_another_kind_are_not_joined(
    make_batch: Callable[..., WindowBatch], change: dict[str, object]
) -> None:
    """Tags, length, period and what lies beside them are the same in one batch."""
    batch = make_batch(1.0)
    good = {"good": np.ones((1, 4, 2), np.bool_)} if "values" in change else {}
    assert fit(batch, make_batch(2.0, 3.0))
    assert not fit(batch, replace(batch, **change, **good))
