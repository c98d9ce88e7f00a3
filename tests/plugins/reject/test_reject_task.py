import csv
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import yaml

from lineside_plugins.contract import Recording, TrainedModel
from lineside_plugins.learning import milling
from lineside_plugins.tasks.reject import curves as c
from lineside_plugins.tasks.reject.config import RejectConfig
from lineside_plugins.tasks.reject.task import RejectTask
from lineside_plugins.types import Advice, ContractError, ModelData, SnapshotValue, WindowBatch
from lineside_workers.models.store import ModelStore
from tests.plugins.synthetic import assert_as_expected

pytestmark = pytest.mark.xdist_group("reject")  # a model is trained once, not once per process

CASES = Path(__file__).parent / "testcases"
END = datetime.fromisoformat("2026-03-05T12:00:00+00:00")
UNCORRECTED_UM = 0.119 * 150  # of a mill's 150th part where nothing but the usual rise per part is compensated
Row = tuple[np.ndarray, dict[str, SnapshotValue], tuple[dict[str, object], ...]]


@pytest.fixture(scope="module")
def shipped() -> RejectTask:
    store = ModelStore()
    task = RejectTask(RejectConfig())
    task.load(store.load(store.folder("reject")), "cpu")
    return task


def batch_of(*rows: Row, end: datetime = END) -> WindowBatch:
    values = np.stack([r[0] for r in rows]).astype(np.float32)
    return WindowBatch(
        equipment_ids=tuple(f"E{i}" for i in range(len(rows))),
        tags=milling.CHANNELS,
        values=values,
        good=np.isfinite(values),
        end=np.full(len(rows), np.datetime64(end.replace(tzinfo=None), "us")),
        period_s=milling.PERIOD_S,
        snapshots=tuple(r[1] for r in rows),
        records=tuple({"events": r[2]} for r in rows),
    )


def mill(offset: float = 30.0, tool: int = 150, measured: tuple[float, ...] = ()) -> Row:
    values = np.full((milling.LENGTH, len(milling.CHANNELS)), np.nan)
    age = np.arange(milling.LENGTH) - (milling.LENGTH - 1)
    values[:, milling.POWER], values[:, milling.TEMPERATURE] = 8.2, 48
    values[:, milling.STATE], values[:, milling.FAMILY] = milling.RUNNING, 1
    values[:, milling.TOOL] = (age + tool - 1) % 240
    values[:, milling.OFFSET] = 0.119 * values[:, milling.TOOL] + (offset - 0.119 * tool)
    values[:, milling.PARTS] = 5000 + age
    events = tuple(
        {"time": END.isoformat(), "equipment_id": "E0", "kind": "inspection", "serial_no": f"A1-{4995 - 15 * i:07d}",
         "value": v, "porous": False, "defect": abs(v) > 25, "text": "sample"}
        for i, v in reversed(list(enumerate(measured)))
    )  # fmt: skip
    return values, {"SerialNo": "A1-0005001", "ToolCount": tool, "ToolOffset": offset, "ForceCurve": None}, events


def press(dip_kn: float = 0.0, seed: int = 0) -> Row:
    u = np.linspace(0, 1, c.CURVE)
    course = (400 + 60 * u) / (1 + np.exp((0.25 - u) / 0.035)) / (1 + np.exp((u - 0.84) / 0.02))
    noise = 3 * np.random.default_rng(seed).standard_normal(c.CURVE)
    curve = course - dip_kn * np.exp(-0.5 * ((u - 0.6) / 0.03) ** 2) + noise
    values = np.full((milling.LENGTH, len(milling.CHANNELS)), np.nan)
    return values, {"SerialNo": "A2-0000042", "ToolCount": None, "ForceCurve": curve.astype(np.float32)}, ()


def said(task: RejectTask, row: Row) -> Advice:
    (advice,) = task.recommend(batch_of(row))
    assert advice is not None
    return advice


def of_case(case: Path) -> WindowBatch:
    """A case's part: window.csv holds the mill's cells, curve.csv the press's force curve, whichever applies."""
    facts = yaml.safe_load((case / "config.yaml").read_text())
    values = np.full((milling.LENGTH, len(milling.CHANNELS)), np.nan)
    snapshot: dict[str, SnapshotValue] = dict(facts["snapshot"])
    if (case / "window.csv").exists():
        with (case / "window.csv").open() as file:
            values = np.array([[float(r[t] or "nan") for t in milling.CHANNELS] for r in csv.DictReader(file)])
    if (case / "curve.csv").exists():
        snapshot["ForceCurve"] = np.loadtxt(case / "curve.csv", dtype=np.float32)
    row = (values, snapshot, tuple(facts.get("events", ())))
    return batch_of(row, end=datetime.fromisoformat(facts["end"]))


@pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda p: p.name)
def test_case(case: Path, shipped: RejectTask) -> None:
    """The shipped model says of each recorded part what expected.json says; null = nothing; pairs are bounds."""
    (advice,) = shipped.recommend(of_case(case))
    assert_as_expected(advice, case)


def test_training_beats_the_usual_share_on_both_heads(trained: TrainedModel) -> None:
    """Tools that drift and curves that dip are told apart far better than by the usual share of defects."""
    by = {(r["head"], r["candidate"]): r for r in trained.report}
    assert len(by) == 6
    for head in ("dimension", "porosity"):
        best = by[head, trained.config["winner"][head]]
        assert best["auroc"] > 0.85
        assert best["average_precision"] > 3 * by[head, "usual share"]["average_precision"]
        assert best["log_loss"] == min(by[head, n]["log_loss"] for n in ("trees", "network"))
    assert trained.metrics["bench"]["caught"] > trained.metrics["bench"]["missed"]


def test_the_tolerance_is_learned_from_the_bench(trained: TrainedModel) -> None:
    """Nobody tells the task the tolerance; the verdicts of the bench do."""
    assert trained.config["rule"]["tolerance_um"] == pytest.approx(20.0, abs=1.5)


def test_evaluation_covers_both_heads_and_the_bench(trained: TrainedModel, recordings: list[Recording]) -> None:
    """Evaluation on another unit ranks its defects and replays its bench."""
    model = ModelData("reject", "test", trained.config, trained.tensors, trained.metrics)
    found = RejectTask(RejectConfig()).evaluate(model, recordings[3:], device="cpu")
    assert found["dimension"]["auroc"][0] > 0.85
    assert found["porosity"]["auroc"][0] > 0.85
    assert found["bench"]["caught"] > found["bench"]["missed"] * 0.3


def test_a_tool_measured_far_off_raises_the_probability_of_its_next_part(shipped: RejectTask) -> None:
    """After three parts at +22 um and no correction, the next part of that tool is suspect; after three near 0 not."""
    centred = said(shipped, mill(offset=UNCORRECTED_UM, measured=(0.5, -1.0, 1.0)))
    off = said(shipped, mill(offset=UNCORRECTED_UM, measured=(23.0, 21.0, 22.0)))
    assert off.value["dimension_probability"] > 10 * centred.value["dimension_probability"]
    assert off.value["serial_no"] == "A1-0005001"
    assert centred.value["flag"] is False
    assert "um expected" in off.reasons[0].text


def test_a_deep_dip_flags_the_part_at_the_press(shipped: RejectTask) -> None:
    """A curve with a strong signature is flagged under the serial number that is in the press, a clean one is not."""
    porous, clean = said(shipped, press(14.0)), said(shipped, press())
    assert (porous.value["flag"], porous.value["serial_no"]) == (True, "A2-0000042")
    assert clean.value["flag"] is False
    assert porous.value["porosity_probability"] > 20 * clean.value["porosity_probability"]
    assert porous.reasons[0].tag == "ForceCurve"


def test_equipment_that_makes_neither_gets_no_answer_and_keeps_its_place(shipped: RejectTask) -> None:
    """A grinder between mill and press yields None in its own place; so does a part without a serial number."""
    grinder = (mill()[0], {"SerialNo": "A1-0004000", "ToolCount": None, "ForceCurve": None}, ())
    nameless = (mill()[0], {"SerialNo": "", "ToolCount": 5, "ToolOffset": 0.0, "ForceCurve": None}, ())
    answers = shipped.recommend(batch_of(mill(), grinder, press(), nameless))
    assert [a is None for a in answers] == [False, True, False, True]
    assert [a.value["serial_no"] for a in answers if a] == ["A1-0005001", "A2-0000042"]


def test_a_part_alone_and_in_a_batch_gets_the_same_answer(shipped: RejectTask) -> None:
    """Batching changes no probability."""
    rows = [mill(measured=(20.0,)), press(8.0), mill(tool=5), press(2.0, seed=4)]
    together = shipped.recommend(batch_of(*rows))
    for row, advice in zip(rows, together, strict=True):
        assert advice is not None
        alone = said(shipped, row).value["defect_probability"]
        assert advice.value["defect_probability"] == pytest.approx(alone, rel=1e-5)


def test_configured_thresholds_replace_the_tuned_ones() -> None:
    """A user's thresholds decide per station."""
    store = ModelStore()
    task = RejectTask(RejectConfig(dimension_threshold=1e-9, porosity_threshold=0.999999))
    task.load(store.load(store.folder("reject")), "cpu")
    assert said(task, mill()).value["flag"] is True
    assert said(task, press(6.0)).value["flag"] is False


def test_where_an_escape_is_dear_parts_are_flagged_sooner(shipped: RejectTask) -> None:
    """A part that is bad with one in fifty goes out where an escape costs a hundred good parts, and ships elsewhere."""
    store = ModelStore()
    dear = RejectTask(RejectConfig(escape_cost=100.0))
    dear.load(store.load(store.folder("reject")), "cpu")
    suspect = mill(offset=UNCORRECTED_UM, measured=(23.0, 21.0, 22.0))
    assert 1 / 101 < said(shipped, suspect).value["dimension_probability"] < 1 / 3
    assert (said(shipped, suspect).value["flag"], said(dear, suspect).value["flag"]) == (False, True)


def test_a_broken_curve_is_no_curve(shipped: RejectTask) -> None:
    """A curve of another length or with a NaN gets no answer rather than a wrong one."""
    values, snapshot, events = press(14.0)
    short = {**snapshot, "ForceCurve": np.ones(12, np.float32)}
    holed = {**snapshot, "ForceCurve": np.full(c.CURVE, np.nan, np.float32)}
    assert list(shipped.recommend(batch_of((values, short, events), (values, holed, events)))) == [None, None]


def test_task_without_model_says_how_to_get_one() -> None:
    """Neither loading nothing nor recommending unloaded fails silently."""
    task = RejectTask(RejectConfig())
    with pytest.raises(ContractError, match="lineside train reject"):
        task.load(None, "cpu")
    with pytest.raises(ContractError, match="call load first"):
        task.recommend(batch_of(mill()))


def test_three_parts_cost_little(shipped: RejectTask) -> None:
    """Two mills and a press at once take a few milliseconds of CPU, features and reasons included."""
    batch = batch_of(mill(measured=(3.0, 4.0)), mill(tool=5), press())
    shipped.recommend(batch)
    spent = []
    for _ in range(30):
        begun = time.process_time()
        shipped.recommend(batch)
        spent.append(time.process_time() - begun)
    assert min(spent) < 0.01
