"""The closed loop: plant, windows, shipped models, guard and effects, in process and over OPC UA."""

from __future__ import annotations

import contextlib
import io
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from lineside_trials.arms import KPIS, Arm, Replication
from lineside_trials.campaign import MOST_TOGETHER, Campaign, plan
from lineside_trials.lineside_arm import Advisers, in_lockstep, load_advisers, run_lineside_arm
from lineside_trials.lockstep import run_together
from lineside_trials.over_opcua import run_over_opcua
from lineside_trials.summary import document, tables

WORN_S = 44.0 * 3600.0  # plant time at which machines that nobody maintains begin to fail


class EnoughError(Exception):
    """What was waited for has happened."""


@pytest.fixture(scope="module")
def advisers() -> Advisers:
    return load_advisers()


def same(a: dict[str, float], b: dict[str, float]) -> bool:
    return all(a[k] == b[k] or (math.isnan(a[k]) and math.isnan(b[k])) for k in KPIS)


@pytest.mark.timeout(400)
async def test_every_task_acts_on_the_plant(advisers: Advisers) -> None:
    """On a worn plant each task is written within two days and acknowledged by the plant, and the ledger balances."""
    loop = in_lockstep(Replication(plant_seed=502, run_seed=2, horizon_h=92.0, warmup_h=0.0), advisers)
    for request in await loop.observe(WORN_S):
        await loop.take(request, None)  # nobody advises until machines are near their ends
    waited_for = {"maintenance", "reject", "schedule", "compensation"}

    def look(_at_s: float) -> None:
        waited_for.difference_update([n for n in waited_for if loop.ledger.task(n).snapshot()["acted_on"]])
        if not waited_for:
            raise EnoughError

    with contextlib.suppress(EnoughError):
        await loop.run(WORN_S + 48.0 * 3600.0, look, from_s=WORN_S)
    assert waited_for == set()
    assert loop.ledger.balanced


@pytest.mark.timeout(400)
def test_the_same_seed_gives_the_same_kpis_in_process_and_over_opcua(advisers: Advisers) -> None:
    """Two plant hours through real OPC UA servers end with the KPIs of the in-process run, to the last bit."""
    replication = Replication(plant_seed=501, run_seed=1, horizon_h=2.0, warmup_h=0.0)
    assert same(run_lineside_arm([replication], advisers)[0], run_over_opcua(replication, advisers))


async def test_a_plant_runs_beside_others_as_if_alone(advisers: Advisers) -> None:
    """KPIs and every count of what was said and done are the same alone and in step with another plant."""
    pair = [Replication(plant_seed=p, run_seed=p, horizon_h=3.0, warmup_h=0.0) for p in (501, 504)]
    together = [in_lockstep(r, advisers) for r in pair]
    await run_together(together, 3.0 * 3600.0)
    for replication, beside in zip(pair, together, strict=True):
        alone = in_lockstep(replication, advisers)
        await alone.run(3.0 * 3600.0)
        assert same(dict(await alone.link.kpis()), dict(await beside.link.kpis()))
        assert alone.ledger.snapshot() == beside.ledger.snapshot()


def test_every_arm_of_every_replication_is_planned_once() -> None:
    """However many processes there are, no run is left out or done twice, and Lineside's come first."""
    runs = tuple(Replication(plant_seed=1 + i, run_seed=i, horizon_h=1.0, warmup_h=0.0) for i in range(19))
    for jobs in (1, 2, 3, 8, 64):
        for through_opcua in (False, True):
            parts = plan(Campaign(runs, jobs=jobs, through_opcua=through_opcua))
            done = sorted((part.arm, i) for part in parts for i in part.places)
            assert done == sorted((arm, i) for arm in Arm for i in range(19))
            sizes = [len(part.places) for part in parts if part.arm is Arm.LINESIDE]
            assert all(part.arm is Arm.LINESIDE for part in parts[: len(sizes)])
            assert max(sizes) - min(sizes) <= 1
            assert max(sizes) <= (1 if through_opcua else MOST_TOGETHER)


def test_the_report_has_every_kpi_arm_and_interval() -> None:
    """The JSON section holds mean, low and high of each arm and of the share of the gap closed."""
    outcomes = [{arm: dict.fromkeys(KPIS, 0.1 * (i + 1) + 0.01 * j) for j, arm in enumerate(Arm)} for i in range(3)]
    kpis = document(outcomes)
    assert set(kpis) == set(KPIS)
    for row in kpis.values():
        assert isinstance(row, dict)
        for part in (*(arm.value for arm in Arm), "gap_closed"):
            assert set(row[part]) == {"mean", "low", "high"}


def test_the_tables_are_whole_in_eighty_columns() -> None:
    """Both tables show every KPI, each number with its interval, on a terminal of 80 columns."""
    outcomes = [{arm: dict.fromkeys(KPIS, 0.5 + 0.1 * i + 0.02 * j * i) for i, arm in enumerate(Arm)} for j in range(3)]
    for table in tables(outcomes):
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(table)
        text = console.export_text()
        assert sum("±" in line for line in text.splitlines()) == len(KPIS)
        assert "…" not in text


@pytest.mark.timeout(400)
def test_evaluate_writes_json_and_plot(tmp_path: Path) -> None:
    """`lineside evaluate` on two short runs writes report and plot; Lineside's KPIs differ from today's practice."""
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "lineside_trials", "--replications", "2", "--hours", "4", "--warmup", "1",
               "--json", str(report), "--plants", "501,502"]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(report.read_text())
    assert found["kpis"]["oee"]["lineside"]["low"] <= found["kpis"]["oee"]["lineside"]["mean"]
    means = {
        arm: {name: row[arm]["mean"] for name, row in found["kpis"].items()} for arm in (Arm.LINESIDE, Arm.BASELINE)
    }
    assert means[Arm.LINESIDE] != means[Arm.BASELINE]
    assert report.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
