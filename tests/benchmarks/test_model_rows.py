"""The models' benchmark: what a row says, and that the command runs end to end on a little data."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.models.kept import Finished, Kept, closure
from benchmarks.models.row import Row, over_seeds
from lineside_workers.learning.datasets.ai4i import TAGS

CHECKOUT = Path(__file__).parents[2]


def _run(data: Path, cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.models", "--cache", str(cache), *arguments]
    environ = os.environ | {"LINESIDE_DATA": str(data)}
    return subprocess.run(command, cwd=CHECKOUT, env=environ, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(("value", "higher", "met"), [(0.9, True, True), (0.9, False, False), (0.7, True, False)])
def test_a_goal_is_a_bound_on_the_better_side(value: float, higher: bool, met: bool) -> None:
    """A figure meets its goal at or above it, or at or below it where less is better."""
    row = Row("set", "figure", value, 0.0, 1.0, seeds=1, goal=0.8, higher_is_better=higher)
    assert row.met is met


@pytest.mark.parametrize(("value", "met"), [(0.87, False), (0.9, True), (0.93, False)])
def test_a_goal_of_two_sides_can_be_missed_on_both(value: float, met: bool) -> None:
    """Coverage above its goal is as wrong as below."""
    row = Row("set", "coverage", value, 0.0, 1.0, seeds=1, within=(0.88, 0.92))
    assert row.met is met
    assert row.cells()["goal"] == "0.88 to 0.92"


def test_a_figure_that_is_not_there_is_null() -> None:
    """NaN never reaches the JSON line."""
    figures = Row("set", "figure", float("nan"), 0.0, 1.0, seeds=1).figures()
    assert figures == {"value": None, "low": 0.0, "high": 1.0, "trees": None, "anchor": None}


def test_an_interval_is_wider_over_few_units() -> None:
    """Rows of one unit move together, so drawing units says less than their number of rows suggests."""
    values = np.repeat(np.random.default_rng(0).normal(size=8), 50)
    own = over_seeds(np.arange(400).astype(str), [lambda rows: float(values[rows].mean())])
    grouped = over_seeds(np.repeat(np.arange(8), 50).astype(str), [lambda rows: float(values[rows].mean())])
    assert grouped.value == own.value
    assert grouped.high - grouped.low > 3 * (own.high - own.low)


def test_the_last_line_is_json_of_every_row(tmp_path: Path) -> None:
    """The command trains on what it is given and ends in one JSON object of value, low, high, trees and anchor."""
    rng = np.random.default_rng(0)
    (tmp_path / "ai4i").mkdir()
    columns = ["Air temperature [K]", "Process temperature [K]", "Rotational speed [rpm]", "Torque [Nm]"]
    header = [*columns, "Tool wear [min]", "Type", "Machine failure"]
    assert len(header) == len(TAGS) + 1
    with gzip.open(tmp_path / "ai4i" / "ai4i2020.csv.gz", "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for torque in rng.uniform(10, 70, 300):
            writer.writerow([300, 310, 1500, torque, rng.uniform(0, 200), "L", int(torque > 60)])
    report = tmp_path / "report.json"
    done = _run(tmp_path, tmp_path / "cache", "--only", "ai4i", "--quick", "--record", str(report))
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert set(figures["ai4i.f1"]) == {"value", "low", "high", "trees", "anchor"}
    assert figures["ai4i.f1"]["value"] > 0.9
    recorded = json.loads(report.read_text())["ai4i"]["rows"]
    assert recorded[0]["value"] == figures["ai4i.f1"]["value"]
    again = _run(tmp_path, tmp_path / "cache", "--only", "ai4i", "--quick")
    assert again.stdout == done.stdout
    assert "as measured before" in again.stderr


def test_kept_rows_are_those_of_todays_code_and_options(tmp_path: Path) -> None:
    """Rows are read back whole under the options they were made with, and not at all under others."""
    kept = Kept(tmp_path, "test-5")
    finished = Finished((Row("ai4i", "f1", 0.9, 0.8, float("nan"), 5, goal=0.88, trees=0.7, note="n"),), 12.5)
    kept.write("ai4i", finished)
    found = kept.read("ai4i")
    assert found is not None
    assert found.seconds == 12.5
    assert found.rows[0].cells() == finished.rows[0].cells()
    assert Kept(tmp_path, "test-1").read("ai4i") is None
    assert kept.read("skab") is None


def test_rows_rest_on_all_code_that_makes_them() -> None:
    """What a data set imports at any depth counts; how rows are shown does not."""
    behind = closure(["benchmarks.models.deletion"])
    assert {"benchmarks.models.life", "lineside_workers.learning.heads", "lineside_plugins.learning.trees"} < {*behind}
    assert "benchmarks.models.row" not in behind


def test_missing_data_is_an_error_with_a_next_step(tmp_path: Path) -> None:
    """Without data the command ends with 2 and says what to set."""
    done = _run(tmp_path / "nowhere", tmp_path, "--quick")
    assert done.returncode == 2
    assert "LINESIDE_DATA" in done.stderr


def test_an_unknown_data_set_is_refused(tmp_path: Path) -> None:
    """A wrong name lists the right ones."""
    done = _run(tmp_path, tmp_path, "--only", "ai5i")
    assert done.returncode == 2
    assert "choose of ai4i" in done.stderr
