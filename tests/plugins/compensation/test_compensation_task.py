from __future__ import annotations

from datetime import datetime
from typing import cast

import numpy as np
import pytest

from lineside_plugins.contract import Recording, TrainedModel
from lineside_plugins.learning import milling as m
from lineside_plugins.learning.measured import count_of, measured_parts, newest_inspections
from lineside_plugins.tasks.compensation import features as f
from lineside_plugins.tasks.compensation.config import CompensationConfig
from lineside_plugins.tasks.compensation.task import CompensationTask
from lineside_plugins.types import Advice, ContractError, Kind, ModelData, SnapshotValue, WindowBatch
from lineside_workers.models.store import ModelStore

END = datetime.fromisoformat("2026-03-05T12:00:00+00:00")
USUAL_UM = 0.119  # per part

pytestmark = pytest.mark.xdist_group("compensation")  # a model is trained once, not once per process


def batch(
    offset: float = 18.0, tool: int = 150, measured: tuple[float, ...] = (), measured_offset: float | None = None
) -> WindowBatch:
    """One running mill; ``measured`` deviations newest first, cut while the offset was ``measured_offset``."""
    values = np.full((1, m.LENGTH, len(m.CHANNELS)), np.nan, np.float32)
    age = np.arange(m.LENGTH) - (m.LENGTH - 1)
    cells = values[0]
    cells[:, m.POWER], cells[:, m.TEMPERATURE], cells[:, m.STATE], cells[:, m.FAMILY] = 8.2, 48, m.RUNNING, 1
    cells[:, m.TOOL] = (age + tool - 1) % 240
    cells[:, m.OFFSET] = USUAL_UM * (cells[:, m.TOOL] - tool) + (offset if measured_offset is None else measured_offset)
    cells[:, m.PARTS] = 5000 + age
    events = tuple(
        {"time": END.isoformat(), "equipment_id": "A1", "kind": "inspection", "serial_no": f"A1-{4995 - 15 * i:07d}",
         "value": v, "porous": False, "defect": abs(v) > 25, "text": "sample"}
        for i, v in reversed(list(enumerate(measured)))
    )  # fmt: skip
    snapshot: dict[str, SnapshotValue] = {"ToolCount": tool, "ToolOffset": offset}
    return WindowBatch(
        equipment_ids=("A1",),
        tags=m.CHANNELS,
        values=values,
        good=np.isfinite(values),
        end=np.array([np.datetime64(END.replace(tzinfo=None), "us")]),
        period_s=m.PERIOD_S,
        snapshots=(snapshot,),
        records=({"events": events},),
    )


def row(of: WindowBatch) -> dict[str, float]:
    snapshot = of.snapshots[0]
    part = np.array([[cast("float", snapshot["ToolCount"]), cast("float", snapshot["ToolOffset"])]], dtype=np.float64)
    known = newest_inspections(of.records[0]["events"])[None]
    x = f.course_features(of.values.astype(np.float64), of.end.astype(np.int64) / 1e6, part, known)
    return dict(zip(f.NAMES, x[0].tolist(), strict=True))


@pytest.fixture(scope="module")
def shipped() -> CompensationTask:
    store = ModelStore()
    task = CompensationTask(CompensationConfig())
    task.load(store.load(store.folder("compensation")), "cpu")
    return task


def said(task: CompensationTask, of: WindowBatch) -> Advice:
    (advice,) = task.recommend(of)
    assert advice is not None
    return advice


def test_features_are_the_same_whatever_is_compensated() -> None:
    """A mill whose parts measure 9 um less because the offset stands 9 um higher gives the same row."""
    measured = (4.0, 2.0, -1.0)
    low, high = batch(18.0, measured=measured), batch(27.0, measured=tuple(v - 9.0 for v in measured))
    assert row(low) == pytest.approx(row(high), nan_ok=True, abs=1e-4)


def test_an_offset_changed_since_the_measurement_is_put_back() -> None:
    """The course of an inspected part is its deviation plus the offset of its own time, not of today."""
    found = row(batch(offset=30.0, measured=(5.0,), measured_offset=18.0))
    then = 18.0 + USUAL_UM * (149 - 150 - 5)
    assert found["inspected_course"] == pytest.approx(5.0 + then, abs=0.3)


def test_an_offset_written_for_a_new_tool_is_not_its_usual_rise() -> None:
    """Three minutes into a tool's life a written offset of 30 um leaves the usual rise per part as it was."""
    fresh = batch(offset=0.4, tool=3)
    cells = fresh.values.copy()
    cells[0, -2:, m.OFFSET] += 30.0
    assert m.offset_per_part(cells.astype(np.float64)) == pytest.approx([USUAL_UM], abs=1e-4)


def test_the_advice_moves_with_what_was_measured(shipped: CompensationTask) -> None:
    """A tool whose parts measured 15 um over is told a higher offset than one whose parts measured 15 um under."""
    over, under = (
        said(shipped, batch(measured=(15.0, 14.0, 16.0))),
        said(shipped, batch(measured=(-15.0, -14.0, -16.0))),
    )
    assert cast("float", over.value["tool_offset"]) > cast("float", under.value["tool_offset"]) + 10.0
    assert over.value["flag"] is True


def test_the_advice_followed_asks_for_no_more(shipped: CompensationTask) -> None:
    """With the advised offset in force, the same mill is told that nothing needs to change."""
    first = cast("float", said(shipped, batch(measured=(15.0, 14.0, 16.0))).value["tool_offset"])
    again = said(shipped, batch(offset=first, measured=(15.0, 14.0, 16.0), measured_offset=18.0))
    assert again.value["flag"] is False
    assert again.value["deviation"] == pytest.approx(0.0, abs=1.5)


def test_the_interval_holds_the_offset_and_reasons_name_tags(shipped: CompensationTask) -> None:
    """The interval lies around the advised offset; each reason names a tag or the inspections, largest first."""
    advice = said(shipped, batch(measured=(15.0,)))
    assert advice.interval is not None
    low, high = advice.interval
    assert low < cast("float", advice.value["tool_offset"]) < high
    assert {r.tag for r in advice.reasons} <= set(f.GROUPS)
    weights = [r.weight for r in advice.reasons]
    assert weights == sorted(weights, reverse=True)


def test_a_mill_without_a_known_offset_gets_no_answer(shipped: CompensationTask) -> None:
    """Where the present offset is not known nothing is advised: nobody could bound the step."""
    unknown = batch()
    values = unknown.values.copy()
    values[:, :, m.OFFSET] = np.nan
    dark = WindowBatch(
        unknown.equipment_ids, unknown.tags, values, np.isfinite(values), unknown.end, unknown.period_s, ({},),
        unknown.records,
    )  # fmt: skip
    assert shipped.recommend(dark) == [None]


def test_learning_brings_parts_back_into_tolerance(recordings: list[Recording], trained: TrainedModel) -> None:
    """On a mill no training saw, the advised offset leaves less than half of the squared error of the PLC's own."""
    task = CompensationTask(CompensationConfig())
    model = ModelData("compensation", "test", trained.config, trained.tensors, trained.metrics)
    found = task.evaluate(model, recordings[3:], device="cpu")
    advised, recorded = (cast("dict[str, list[float]]", found[k])["rmse_um"][0] for k in ("advised", "as_recorded"))
    assert advised**2 < 0.5 * recorded**2
    assert cast("list[float]", found["interval_covers"])[0] > 0.8


def test_the_report_has_both_candidates_and_what_was_done_before(trained: TrainedModel) -> None:
    """Trees, network and the recorded compensation stand in one table, and the winner has the smaller error."""
    by_name = {str(r["candidate"]): cast("float", r["rmse_um"]) for r in trained.report}
    assert set(by_name) == {"trees", "network", "as recorded"}
    assert by_name[cast("str", trained.config["winner"])] == min(by_name["trees"], by_name["network"])


def test_campaign_measurements_are_targets_never_inputs(recordings: list[Recording]) -> None:
    """What was measured for labels only is not among the inspections that a part's features know."""
    campaign = {count_of(e["serial_no"]) for e in recordings[0].streams["events"] if e["text"] == "labelling campaign"}
    for block in measured_parts(recordings[:1], lambda _number, rows, _end_s: rows[::50]):
        assert not campaign & set(block.inspected[:, :, 0][np.isfinite(block.inspected[:, :, 0])].tolist())


def test_no_recording_of_a_mill_is_an_error_that_names_the_tags() -> None:
    """Recordings without inspected mills end in one sentence that names the tags needed."""
    with pytest.raises(ContractError, match="ToolOffset"):
        list(measured_parts([], lambda _number, rows, _end_s: rows))


def test_a_task_without_a_model_says_how_to_get_one() -> None:
    """Loading without weights names the command that makes them."""
    with pytest.raises(ContractError, match="lineside train compensation"):
        CompensationTask(CompensationConfig()).load(None, "cpu")


def test_it_gives_set_point_advice() -> None:
    """Its kind is a set-point, its flag a declared Boolean, and what it writes is bounded."""
    outputs = CompensationTask(CompensationConfig()).outputs()
    bounds = {o.name: (o.low, o.high) for o in outputs.fields}
    assert outputs.kind is Kind.SET_POINT
    assert bounds["tool_offset"] == (-500.0, 500.0)
