"""Few machines are split by time: the newest stretch judges, and nothing of it is seen before."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_workers.__main__ import main
from lineside_workers.condition import evaluation, windows
from lineside_workers.errors import LabelError, SplitError
from lineside_workers.hosting.host import Host
from lineside_workers.models.store import ModelStore
from lineside_workers.models.versions import Stage, Versions
from lineside_workers.recorded import labels, reading, splitting
from lineside_workers.recorded.splitting import Split
from lineside_workers.settings import WorkerSettings

HOUR_US = 3_600_000_000
CONFIG = ConditionConfig(length=12)


def _split(data: windows.Rows) -> Split:
    return splitting.by_time(data.unit, data.end_us, sum(windows.reach_us(CONFIG)))


def test_stretches_of_time_share_no_cell(make) -> None:
    """The sides follow each other in time; no window of one reaches into another, and none looks ahead into it."""
    data = windows.rows(reading.read(make(machines=("M1", "M2"), hours=200)), CONFIG)
    split = _split(data)
    cut = data.cut(split, CONFIG)
    back, ahead = windows.reach_us(CONFIG)
    sides = [cut.of(getattr(split, part)).end_us for part in splitting.PARTS]
    assert all(len(side) for side in sides)
    for older, newer in pairwise(sides):
        assert older.max() + ahead <= newer.min() - back
    assert sum(map(len, sides)) > 0.6 * len(data)
    assert splitting.of_mapping(json.loads(split.to_json())) == split


def test_windows_before_an_event_behind_a_cut_belong_to_no_earlier_stretch(make) -> None:
    """An event's windows stand on the side of the event alone, however long before it they begin."""
    found = reading.read(make(machines=("M1",), hours=200))
    data = windows.rows(found, CONFIG)
    at = np.sort(data.end_us)[len(data) // 2]
    begin, end = (labels.iso(int(at + h * HOUR_US)) for h in (-20, 20))
    split = Split(
        ("M1 part 01",), ("M1 part 02",), ("M1 part 03",), (labels.iso(int(at)), labels.iso(int(at + 40 * HOUR_US)))
    )
    known = data.labelled([labels.Label("M1", begin, end, 1, begin, "x")])
    cut = known.cut(split, CONFIG)
    assert not (cut.of(split.train).label == 1).any()
    assert (cut.of(split.validation).label == 1).any()


@pytest.mark.parametrize(
    ("cuts", "why"),
    [(["yesterday"], "a cut that is no time"), (["2026-01-06", "2026-01-05"], "do not rise")],
)
def test_cuts_are_rising_times(cuts: list[str], why: str) -> None:
    """Anything else is one sentence."""
    with pytest.raises(SplitError, match=why):
        splitting.of_mapping({"train": ["a"], "validation": ["b"], "test": ["c"], "cuts": cuts})


def test_one_machine_alone_is_learned_from_and_judged_by_its_newest_days(
    make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """pretrain, finetune, evaluate-model and a worker go through; what is judged was seen by none of them."""
    found, encoder, models = str(make(machines=("M1",), hours=300)), str(tmp_path / "e"), str(tmp_path / "m")
    assert main(["pretrain", found, "--out", encoder, "--length", "12", "--epochs", "1"]) == 0
    ask = ["--head", "forecasting", "--forecast", "SpindleTemp", "--ahead-h", "2", "--trials", "0"]
    given = ["finetune", found, "--encoder", encoder, "--models", models, "--version", "v1", *ask]
    assert main(given) == 0
    model = tmp_path / "m" / "condition" / "v1"
    page = str(tmp_path / "page.html")
    assert main(["evaluate-model", "condition", "--recordings", found, "--model", str(model), "--out", page]) == 0
    text = Path(page).read_text()
    split = json.loads((tmp_path / "e" / "encoder.json").read_text())["split"]
    assert split["test"][-1] in text
    assert not any(unit in text for unit in (*split["train"], *split["validation"]))
    store = ModelStore(tmp_path / "m")
    loaded, root = store.load(model), Path(found)
    plants = {"train": [root.name], "validation": ["plant-2"], "test": ["plant-3"]}
    with pytest.raises(LabelError, match="trained or chose v1"):  # a plant that taught, read without the others
        evaluation.judge(replace(loaded, metrics={"units": plants}), reading.read(root), [], "cpu")
    Versions(store, "condition").promote("v1", Stage.SHADOW)
    host = Host(WorkerSettings(tasks=("condition",), device="cpu", models=store.root))
    assert host.load() == ["condition"], "a worker loads it as it was trained, before any gateway asks"
    host.close()
    assert Versions(store, "condition").rollout().shadow == ("v1",)
    capsys.readouterr()
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**split, "cuts": split["cuts"][1:]}))
    assert main([*given, "--split", str(other)]) == 2
    assert "other cuts" in capsys.readouterr().err


def test_too_short_for_a_split_by_time_is_one_sentence(
    make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says how long it would have to be."""
    found = str(make(machines=("M1",), hours=30))
    assert main(["pretrain", found, "--out", str(tmp_path / "e")]) == 2
    assert "too short to split by time, which takes 117 h" in capsys.readouterr().err
