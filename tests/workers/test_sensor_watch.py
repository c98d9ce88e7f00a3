"""A sensor whose gain drifts is told apart from wear, from load and from a sensor mounted anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lineside_plugins import DataType, Kind, OutputField, Outputs, WindowBatch
from lineside_workers.learning import relations
from lineside_workers.watching import false_alarms
from lineside_workers.watching.drift_watch import DriftWatch
from lineside_workers.watching.sensor_watch import SensorWatch

Cells = dict[str, np.ndarray]
DAY = 144  # cells of ten minutes


def machine(days: float, seed: int, *, level: float = 1.0, wears: bool = True) -> Cells:
    """Vibration grows with the square of the load and, as kurtosis does, with wear; a third of the time it waits."""
    rng = np.random.default_rng(seed)
    n = round(days * DAY)
    wear = np.linspace(0.0, 1.0, n) if wears else np.zeros(n)
    load = np.repeat(rng.choice([0.8, 1.0, 1.3], n // 9 + 1), 9)[:n]
    busy = np.where(np.arange(n) % 9 < 6, 1.0, rng.uniform(0.05, 0.6, n))
    vib = level * busy * load**2 * np.exp(1.5 * wear) * np.exp(0.05 * rng.standard_normal(n))
    power = (0.4 + busy * (4.0 + 4.0 * load)) * np.exp(0.01 * rng.standard_normal(n))
    kurtosis = 3.0 + 4.0 * wear + 0.05 * rng.standard_normal(n)
    return {"Vib": vib, "Kurtosis": kurtosis, "Power": power}


@pytest.fixture(scope="module")
def relation() -> relations.Relation:
    """Learned from six machines, one of which has a sensor that drifts."""
    recorded = [machine(7, seed, level=0.5 + 0.3 * seed) for seed in range(6)]
    recorded[0]["Vib"][500:] *= 2.2
    return next(r for r in relations.learn(recorded) if r.tag == "Vib")


def follow(relation: relations.Relation, cells: Cells) -> SensorWatch:
    watch = SensorWatch(relation)
    for i in range(len(cells["Vib"])):
        watch.add({tag: values[i : i + 1] for tag, values in cells.items()})
    return watch


def test_wear_and_load_are_foretold_by_the_others(relation: relations.Relation) -> None:
    """Vibration that grows fourfold by wear, under loads that change, moves the watch by no tenth; power drives."""
    assert (relation.driver, relation.by_ratio, relation.scale < 0.1) == ("Power", True, True)
    watch = follow(relation, machine(6, 99, level=3.0))
    assert not watch.drifted
    assert abs(watch.moved) < 0.1


def test_a_gain_that_drifts_is_told_with_its_size(relation: relations.Relation) -> None:
    """A sensor that comes to show 2.2 times what there is has drifted, and the gain is known to a tenth."""
    cells = machine(6, 98)
    cells["Vib"][3 * DAY :] *= 2.2
    watch = follow(relation, cells)
    assert watch.drifted
    assert watch.gain == pytest.approx(2.2, rel=0.1)


def test_a_drift_is_over_when_the_sensor_returns(relation: relations.Relation) -> None:
    """The same sensor back at its level, while the machine works on, has drifted no more."""
    cells = machine(7, 97)
    cells["Vib"][3 * DAY : 5 * DAY] *= 2.2
    assert not follow(relation, cells).drifted


def test_a_step_at_a_stop_is_a_sensor_mounted_anew(relation: relations.Relation) -> None:
    """Another level after two hours standing is no drift; neither is a drift that was told before a drift after it."""
    cells = machine(6, 96)
    cells["Vib"][4 * DAY :] *= 2.2
    for tag, standing in (("Power", 0.4), ("Vib", 0.01)):
        cells[tag][4 * DAY - 12 : 4 * DAY] = standing
    assert not follow(relation, cells).drifted


def test_a_step_that_goes_on_was_the_beginning_of_a_drift(relation: relations.Relation) -> None:
    """A gain that already rises at the first hours after a long stop, and goes on, is told; one that stays is not."""
    for goes_on in (True, False):
        cells = machine(6, 93, wears=False)
        rest = cells["Vib"][4 * DAY :]
        rest *= np.minimum(2.2, 1.45 + np.arange(len(rest)) / 48 if goes_on else 1.45)
        for tag, standing in (("Power", 0.4), ("Vib", 0.01)):
            cells[tag][4 * DAY - 12 : 4 * DAY] = standing
        assert follow(relation, cells).drifted is goes_on


def test_what_it_compares_is_told_in_words(relation: relations.Relation) -> None:
    """Before there is enough to compare with, and after, one sentence says how many cells, which gain, which bound."""
    assert follow(relation, machine(0.3, 92)).seen.startswith("Vib: 0 cells at load in the reference")
    assert (
        "48 cells at load against the 144 before; gain 0.98, told from 1."
        in follow(relation, machine(4, 92, wears=False)).seen
    )


def test_the_limit_follows_from_the_false_alarms_asked_for() -> None:
    """One in twenty sound weeks passes it where one is asked for, also where half of the sensors drifted up."""
    rng = np.random.default_rng(0)
    farthest, others = rng.gumbel(3.0, 1.0, (400, 2)), rng.gumbel(3.0, 1.0, (20_000, 2))
    drifting = farthest + np.where(np.arange(400) % 2, 8.0, 0.0)[:, None] * [1.0, 0.0]
    for recorded in (farthest, drifting):
        limit = false_alarms.passed_by(recorded, 0.05)
        assert (others.max(axis=1) > limit).mean() == pytest.approx(0.05, abs=0.02)


def test_too_short_a_recording_calibrates_nothing(relation: relations.Relation) -> None:
    """One machine week leaves the relation its own bound; eight of a sound sensor give the least there is."""
    week = (relation, machine(7, 90, wears=False))
    assert false_alarms.calibrated([week]) is None
    assert false_alarms.calibrated([week] * 8) == false_alarms.LEAST


def test_a_machine_is_followed_by_its_own_relation(relation: relations.Relation) -> None:
    """A relation of the machine's name goes before the general one, which holds for all others."""
    deaf = replace(relation, bound=1e9, machine="M1")
    watch = DriftWatch({"Vib": (0.0, 50.0)}, "", [deaf, relation])
    cells = machine(6, 91, wears=False)
    cells["Vib"][3 * DAY :] *= 2.2
    values = np.repeat(np.stack(list(cells.values()), axis=1).astype(np.float32)[None], 2, axis=0)
    at = np.repeat(np.array(["2026-01-12"], "datetime64[us]"), 2)
    found = watch.see(WindowBatch(("M1", "M2"), tuple(cells), values, np.isfinite(values), at, 600.0), [None, None], {})
    assert [d.equipment_id for d in found] == ["M2"]


def test_a_model_says_which_sensor_left_the_others(relation: relations.Relation) -> None:
    """Overlapping windows in order give one drift with machine, tag, gain and distance; late ones none."""
    config = {"reference": {"Vib": [0.0, 50.0]}, "relations": [relation.to_json()]}
    watch = DriftWatch.of(config, Outputs(Kind.MAINTENANCE, (OutputField("flag", DataType.BOOLEAN, "."),), flag="flag"))
    assert watch is not None
    cells = machine(6, 95, wears=False)
    cells["Vib"][3 * DAY :] *= 2.2
    values = np.stack(list(cells.values()), axis=1).astype(np.float32)
    found = ()
    for end in [*range(72, len(values), 24), len(values) - 60]:
        window = values[end - 72 : end][None]
        at = np.array(["2026-01-05"], "datetime64[us]") + np.timedelta64(600 * end, "s")
        found = watch.see(WindowBatch(("M1",), tuple(cells), window, np.isfinite(window), at, 600.0), [None], {})
    (drift,) = found
    assert (drift.equipment_id, drift.tag) == ("M1", "Vib")
    assert "M1.Vib shows 2.2 times what Kurtosis, Power say it should" in drift.cause
    assert drift.times > 1.5


def test_a_worker_that_starts_anew_goes_on_from_what_was_known(relation: relations.Relation, tmp_path: Path) -> None:
    """A drift that stands at the end of one process stands in the next; a torn file or a clock set back begins anew."""
    config = {"reference": {"Vib": [0.0, 50.0]}, "relations": [relation.to_json()]}
    outputs = Outputs(Kind.MAINTENANCE, (OutputField("flag", DataType.BOOLEAN, "."),), flag="flag")
    cells = machine(6, 94)
    cells["Vib"][3 * DAY :] *= 2.2
    values = np.stack(list(cells.values()), axis=1).astype(np.float32)

    def look(watch: DriftWatch, end: int) -> list[str]:
        window = values[end - 72 : end][None]
        at = np.array(["2026-01-05"], "datetime64[us]") + np.timedelta64(600 * end, "s")
        batch = WindowBatch(("M1",), tuple(cells), window, np.isfinite(window), at, 600.0)
        return [d.tag for d in watch.see(batch, [None], {})]

    first, second, third = (DriftWatch.of(config, outputs) for _ in range(3))
    assert None not in (first, second, third)
    told = [look(first, end) for end in range(72, 5 * DAY, 24)]
    assert told[-1] == ["Vib"]
    first.keep(tmp_path / "watch" / "v1.json")
    assert second.take_up(tmp_path / "watch" / "v1.json") == 1
    assert look(second, 5 * DAY + 24) == ["Vib"]
    (tmp_path / "watch" / "v1.json").write_text('{"M1": {}}')
    assert third.take_up(tmp_path / "watch" / "v1.json") == 0
    assert look(third, 5 * DAY + 24) == []
    assert look(second, 72) == []  # the clock was set back by days: learned anew


def test_tags_that_have_nothing_to_do_with_each_other_are_not_followed() -> None:
    """Noise foretells noise no better than its mean."""
    rng = np.random.default_rng(0)
    assert relations.learn([{t: np.exp(rng.standard_normal(1000)) for t in "ab"} for _ in range(3)]) == []
