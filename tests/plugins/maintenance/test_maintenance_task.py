import csv
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import yaml

from lineside_plugins.contract import Recording, TrainedModel
from lineside_plugins.tasks.maintenance import features as f
from lineside_plugins.tasks.maintenance import survival
from lineside_plugins.tasks.maintenance.config import MaintenanceConfig
from lineside_plugins.tasks.maintenance.task import MaintenanceTask
from lineside_plugins.types import Advice, ContractError, DeviceHealth, ModelData, WindowBatch
from lineside_workers.models.store import ModelStore
from tests.plugins.synthetic import assert_as_expected

pytestmark = pytest.mark.xdist_group("maintenance")  # a model is trained once, not once per process

CASES = Path(__file__).parent / "testcases"


@pytest.fixture(scope="module")
def shipped() -> MaintenanceTask:
    store = ModelStore()
    task = MaintenanceTask(MaintenanceConfig())
    task.load(store.load(store.folder("maintenance")), "cpu")
    return task


def as_model(trained: TrainedModel) -> ModelData:
    return ModelData("maintenance", "test", trained.config, trained.tensors, trained.metrics)


def batch_of(values: np.ndarray, events: tuple[dict[str, object], ...], end: datetime) -> WindowBatch:
    n = len(values)
    return WindowBatch(
        equipment_ids=tuple(f"M{i}" for i in range(n)),
        tags=f.CHANNELS,
        values=values,
        good=np.isfinite(values),
        end=np.full(n, np.datetime64(end.replace(tzinfo=None), "us")),
        period_s=f.PERIOD_S,
        snapshots=({},) * n,
        records=({"events": events},) * n,
    )


def of_case(case: Path) -> tuple[WindowBatch, MaintenanceConfig]:
    """A case's window: columns of window.csv in any order, empty = no Good sample."""
    facts = yaml.safe_load((case / "config.yaml").read_text())
    with (case / "window.csv").open() as file:
        table = list(csv.DictReader(file))
    cells = np.array([[float(row[tag] or "nan") for tag in f.CHANNELS] for row in table], np.float32)
    batch = batch_of(cells[None], tuple(facts.get("events", ())), datetime.fromisoformat(facts["end"]))
    return batch, MaintenanceConfig.model_validate(facts.get("config", {}))


@pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda p: p.name)
def test_case(case: Path) -> None:
    """The shipped model says of each recorded window what expected.json says; null = nothing; pairs are bounds."""
    batch, config = of_case(case)
    task = MaintenanceTask(config)
    store = ModelStore()
    task.load(store.load(store.folder("maintenance")), "cpu")
    assert_as_expected(task.recommend(batch)[0], case)


def test_importing_the_task_imports_no_model_library() -> None:
    """A gateway that asks for inputs and outputs pays for numpy and pydantic only."""
    import subprocess

    code = (
        "import sys; from lineside_plugins.registry import create; t = create('maintenance'); t.inputs(); t.outputs();"
        "print([m for m in ('torch', 'sklearn', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_training_beats_age_and_ships_the_better_candidate(trained: TrainedModel) -> None:
    """On machines whose wear shows, the better model beats the age rule clearly, and it is the one that ships."""
    loss = trained.metrics["validation_loss"]
    assert isinstance(loss, dict)
    assert min(loss["trees"], loss["network"]) < 0.8 * loss["age"]
    assert trained.config["winner"] == min(("trees", "network"), key=loss.get)
    candidates = [row["candidate"] for row in trained.report]
    assert candidates == ["trees", "network", "age"]
    best, age = trained.report[0]["best_replay"], trained.report[0]["best_age_replay"]
    assert isinstance(best, dict)
    assert isinstance(age, dict)
    assert best["cost"] < age["cost"]


def test_evaluation_on_unseen_units_reports_ranking_and_coverage(
    trained: TrainedModel, recordings: list[Recording]
) -> None:
    """Evaluation ranks failures of unseen machines and states the coverage of its interval, with bounds over units."""
    task = MaintenanceTask(MaintenanceConfig())
    found = task.evaluate(as_model(trained), recordings[10:], device="cpu")
    point, low, high = found["auroc"]
    assert 0.8 < low <= point <= high <= 1
    assert 0.6 < found["rul_coverage"][0] <= 1
    assert found["replay"]["failures"] <= found["replay_age_70_h"]["failures"]


@pytest.mark.parametrize("winner", ["trees", "network"])
def test_either_candidate_can_ship(trained: TrainedModel, recordings: list[Recording], winner: str) -> None:
    """A stored network and stored trees both load, advise and explain with weights that are shares."""
    from lineside_plugins.learning.normaliser import Normaliser
    from lineside_plugins.tasks.maintenance.model import HazardNetwork, NetworkHazards

    tensors = dict(trained.tensors)
    if winner == "network" != trained.config["winner"]:
        normaliser = Normaliser(np.zeros(f.FEATURES, np.float32), np.ones(f.FEATURES, np.float32))
        tensors = {k: v for k, v in tensors.items() if not k.startswith("hazard.")}
        tensors |= NetworkHazards(HazardNetwork(), normaliser).to_tensors()
    elif winner != trained.config["winner"]:
        pytest.skip("the network won on these machines; its trees are not stored")
    task = MaintenanceTask(MaintenanceConfig())
    task.load(ModelData("maintenance", "test", {**trained.config, "winner": winner}, tensors), "cpu")
    cells = np.stack(
        [recordings[10].tags["M1"].get(t, np.full(len(recordings[10].time), np.nan, np.float32)) for t in f.CHANNELS],
        axis=1,
    )
    for end in range(f.LENGTH, 900, 60):
        (said,) = task.recommend(batch_of(cells[None, end - f.LENGTH : end], (), datetime(2026, 3, 5)))  # noqa: DTZ001
        if said is not None:
            weights = [r.weight for r in said.reasons]
            assert weights == sorted(weights, reverse=True)
            assert 0 <= sum(weights) <= 1 + 1e-9


def renewed(hours_ago: float, end: datetime, kind: str = "maintenance") -> tuple[dict[str, object], ...]:
    from datetime import timedelta

    return ({"time": (end - timedelta(hours=hours_ago)).isoformat(), "equipment_id": "M0", "kind": kind, "mode": ""},)


END = datetime.fromisoformat("2026-03-05T12:00:00+00:00")


def flagged(task: MaintenanceTask, values: np.ndarray, events: tuple[dict[str, object], ...]) -> Advice:
    (said,) = task.recommend(batch_of(values, events, END))
    assert said is not None
    return said


def test_worn_machine_is_flagged_and_a_noisy_quarter_of_an_hour_is_not(
    shipped: MaintenanceTask, window: Callable[..., np.ndarray]
) -> None:
    """Kurtosis and vibration high for half a day raise the flag; the same level for one cell alone does not."""
    worn, noisy = window(), window()
    climb = np.linspace(0, 1, 80) ** 2
    worn[0, -80:, f.KURTOSIS] += 5 * climb
    worn[0, -80:, f.VIBRATION] *= np.exp(1.6 * climb)
    noisy[0, -1, f.KURTOSIS] += 5
    noisy[0, -1, f.VIBRATION] *= 5
    said = flagged(shipped, worn, renewed(70, END))
    assert said.value["flag"] is True
    assert said.value["mode"] == "bearing"
    assert said.value["device_health"] == DeviceHealth.MAINTENANCE_REQUIRED
    assert said.reasons[0].tag in ("VibKurtosis", "VibRms")
    assert said.reasons[-1].text.startswith("failure within ")
    assert flagged(shipped, noisy, renewed(70, END)).value["flag"] is False


def test_a_failed_machine_asks_for_nothing(shipped: MaintenanceTask, window: Callable[..., np.ndarray]) -> None:
    """A machine under repair reports FAILURE without a flag; under planned maintenance it says nothing at all."""
    failed, maintained = window(), window()
    failed[0, -5:, f.STATE] = f.FAILED
    maintained[0, -5:, f.STATE] = f.MAINTAINED
    said = flagged(shipped, failed, renewed(1.2, END, "failure"))
    assert (said.value["flag"], said.value["device_health"], said.value["rul_h"]) == (False, DeviceHealth.FAILURE, 0.0)
    broken_tool = flagged(shipped, failed, renewed(50, END))
    assert broken_tool.value["rul_h"] > 0
    assert shipped.recommend(batch_of(maintained, renewed(70, END), END)) == [None]


def test_interval_contains_the_point_and_predicted_time_fits_it(
    shipped: MaintenanceTask, window: Callable[..., np.ndarray]
) -> None:
    """low <= median <= high <= 240 h, and predicted_time is the window's end plus the median."""
    said = flagged(shipped, window(3), renewed(30, END)).value
    assert 0 <= said["rul_low_h"] <= said["rul_h"] <= said["rul_high_h"] <= survival.RUL_CAP_H
    ahead = datetime.fromisoformat(str(said["predicted_time"])) - END
    assert ahead.total_seconds() == pytest.approx(3600 * said["rul_h"], abs=1)


def test_configured_threshold_replaces_the_tuned_one(window: Callable[..., np.ndarray]) -> None:
    """A user who sets the threshold to almost nothing gets a flag from a machine without a sign of wear."""
    store = ModelStore()
    task = MaintenanceTask(MaintenanceConfig(threshold=1e-6))
    task.load(store.load(store.folder("maintenance")), "cpu")
    assert flagged(task, window(), renewed(70, END)).value["flag"] is True
    assert flagged(task, window(), renewed(2, END)).value["flag"] is False


def test_task_without_model_says_how_to_get_one() -> None:
    """Neither loading nothing nor recommending unloaded fails silently."""
    task = MaintenanceTask(MaintenanceConfig())
    with pytest.raises(ContractError, match="lineside train maintenance"):
        task.load(None, "cpu")
    with pytest.raises(ContractError, match="call load first"):
        task.recommend(batch_of(np.zeros((1, f.LENGTH, 7), np.float32), (), END))


def test_five_windows_cost_little(shipped: MaintenanceTask, window: Callable[..., np.ndarray]) -> None:
    """A batch of five machines takes a few milliseconds of CPU, features and reasons included."""
    batch = batch_of(np.concatenate([window(i) for i in range(5)]), renewed(70, END), END)
    shipped.recommend(batch)
    spent = []
    for _ in range(30):
        begun = time.process_time()
        shipped.recommend(batch)
        spent.append(time.process_time() - begun)
    assert min(spent) < 0.01
