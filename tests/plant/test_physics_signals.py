"""What the PLCs show: 1 Hz columns, changes per part, force curves and images."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lineside_plant import (
    MACHINES,
    SAMPLED_TAGS,
    TAGS,
    EventKind,
    Maintenance,
    Observe,
    Plant,
    PlantSpec,
    Policy,
    State,
    baseline_policy,
    tags_of,
    time_us,
)
from lineside_plant.images import Surface

HOUR = 3600.0


SHORT_LIVED = replace(PlantSpec.nominal(), life_h=20.0)  # so that a short run shows whole lives


@pytest.fixture(scope="module")
def watched():
    """40 h of a plant run to failure, in one drain."""
    plant = Plant(SHORT_LIVED, 15, Policy(maintenance=Maintenance.NONE), observe=Observe.FULL, label_share=1.0)
    plant.advance(40 * HOUR)
    return plant, plant.drain()


def test_every_second_has_one_sample_of_every_sampled_tag(watched):
    """Samples fall on whole seconds from 1 to now, the watermark PlantTime says so, and all columns are as long."""
    _, out = watched
    for name in MACHINES:
        samples = out.machines[name]
        assert samples.times.dtype == np.dtype("datetime64[us]")
        assert np.array_equal(samples.columns["PlantTime"], np.arange(1, 40 * 3600 + 1))
        assert samples.times.astype(np.int64)[-1] == time_us(40 * HOUR)
        assert set(samples.columns) == set(SAMPLED_TAGS)
        assert all(c.shape == samples.times.shape for c in samples.columns.values())
        assert np.all(np.diff(samples.columns["Energy"]) > 0)


def test_slices_show_the_same_as_one_drain(watched):
    """Draining every 37 s yields bit for bit the samples and changes of one drain at the end."""
    _, whole = watched
    plant = Plant(SHORT_LIVED, 15, Policy(maintenance=Maintenance.NONE), observe=Observe.FULL, label_share=1.0)
    vib, serials = [], []
    for to_s in range(37, 8 * 3600, 37):
        plant.advance(to_s)
        samples = plant.drain().machines["A2"]
        vib.append(samples.columns["VibRms"])
        serials += [c for c in samples.changes if c.tag == "SerialNo"]
    joined = np.concatenate(vib)
    assert np.array_equal(joined, whole.machines["A2"].columns["VibRms"][: len(joined)])
    assert serials == [c for c in whole.machines["A2"].changes if c.tag == "SerialNo"][: len(serials)]


def test_state_tells_repairs_setups_and_runs(watched):
    """Between a failure and the end of its repair State is 5; running machines draw more and shake more."""
    _, out = watched
    repair = next(e for e in out.events if e.kind is EventKind.REPAIR)
    samples = out.machines[repair.equipment_id]
    times = samples.times.astype(np.int64)
    inside = (times > repair.time - repair.value * 3.6e9) & (times < repair.time)
    assert set(samples.columns["State"][inside]) == {State.FAILED}
    mill = out.machines["A1"].columns
    running = mill["State"] == State.RUNNING
    assert 0.4 < running.mean() < 0.98
    assert (mill["State"] == State.SETUP).any()
    assert mill["SpindlePower"][running].mean() > 5 > mill["SpindlePower"][~running].mean()
    assert np.median(mill["VibRms"][running]) > 5 * np.median(mill["VibRms"][~running])


def test_a_failing_machine_shows_its_mode(watched):
    """Kurtosis is up in the hour before a bearing failure and temperature before a lubrication failure, else not."""
    _, out = watched
    rises = {"bearing": [], "lubrication": []}
    for repair in (e for e in out.events if e.kind is EventKind.REPAIR):
        columns = out.machines[repair.equipment_id].columns
        failed = int((repair.time - time_us(0)) / 1e6 - repair.value * HOUR)
        run = columns["State"] == State.RUNNING
        first, last = run.copy(), run.copy()
        first[3 * 3600 :] = False
        last[: failed - 3600] = last[failed:] = False
        if failed > 8 * 3600:
            kurtosis, temp = (
                columns[t][last].mean() - columns[t][first].mean() for t in ("VibKurtosis", "SpindleTemp")
            )
            rises[repair.mode].append((kurtosis, temp))
    bearing, lubrication = (np.mean(rises[m], axis=0) for m in ("bearing", "lubrication"))
    assert bearing[0] > 2.0
    assert abs(lubrication[0]) < 0.5
    assert lubrication[1] > bearing[1] + 3.0


def test_serial_number_comes_last_and_with_the_time_of_its_part(watched):
    """ForceCurve, SurfaceImage, CycleTime and PartCount of a part precede its SerialNo, all with one time."""
    _, out = watched
    for name, before in (("B1", "ForceCurve"), ("C1", "SurfaceImage"), ("A1", "ToolOffset")):
        changes = out.machines[name].changes
        at = [i for i, c in enumerate(changes) if c.tag == "SerialNo"][100]
        part = [c for c in changes[at - 5 : at + 1] if c.time == changes[at].time]
        assert {before, "CycleTime", "PartCount", "SerialNo"} <= {c.tag for c in part}
        assert part[-1].tag == "SerialNo"
        assert [c.time for c in changes] == sorted(c.time for c in changes)


def test_force_curves_carry_the_porosity_signature(watched):
    """A filter matched to the mean difference on half of the parts tells porous from good on the other half."""
    _, out = watched
    porous = {e.serial_no: e.porous for e in out.events if e.kind is EventKind.INSPECTION}
    curves, labels, last = [], [], None
    for change in out.machines["B1"].changes:
        if change.tag == "ForceCurve":
            last = change.value
        elif change.tag == "SerialNo" and change.value in porous:
            curves.append(last)
            labels.append(porous[change.value])
    curves, labels = np.array(curves, float), np.array(labels)
    assert curves.shape[1] == 256
    scaled = curves / curves[:, 100:200].mean(axis=1, keepdims=True)
    even = np.arange(len(labels)) % 2 == 0
    template = scaled[even & labels].mean(axis=0) - scaled[even & ~labels].mean(axis=0)
    window = np.abs(np.arange(256) - np.argmin(np.where(np.arange(256) < 190, template, 0))) < 16
    score = (scaled - scaled[~labels].mean(axis=0))[:, window] @ template[window]
    good, bad = score[~even & ~labels], score[~even & labels]
    assert len(bad) > 5
    auc = (bad[:, None] > good[None, :]).mean()
    assert auc > 0.85


def test_images_are_rendered_when_asked_and_always_the_same(watched):
    """SurfaceImage is a callable that gives the same 128 x 128 grey PNG every time."""
    _, out = watched
    image = next(c.value for c in out.machines["C2"].changes if c.tag == "SurfaceImage")
    assert image() == image()
    picture = Image.open(io.BytesIO(image()))
    assert (picture.size, picture.mode, picture.format) == ((128, 128), "L", "PNG")


def test_pits_and_chatter_show_porosity_and_wear():
    """A porous surface has darker spots, a worn grinder stronger waves, than a sound one."""
    surfaces = [
        (Surface(1, f"A1-{k:07d}", False, 0.1, 0.1), Surface(1, f"A1-{k:07d}", True, 0.1, 0.1)) for k in range(30)
    ]
    dark = [[np.mean(s.pixels() < 70) for s in pair] for pair in surfaces]
    assert np.mean([p > g for g, p in dark]) > 0.9
    fresh, worn = (Surface(1, "A1-0000001", False, 0.1, x).pixels().astype(float) for x in (0.1, 0.95))
    assert worn.std() > 1.3 * fresh.std()


def test_watching_can_begin_with_an_aged_machine():
    """With observe_from_s nothing is written down before that time, and what follows is what a full run shows."""
    late = Plant(PlantSpec.nominal(), 7, baseline_policy(), observe=Observe.FULL, observe_from_s=40 * HOUR)
    late.advance(39 * HOUR)
    assert late.drain().machines == {}
    late.advance(41 * HOUR)
    out = late.drain()
    full = Plant(PlantSpec.nominal(), 7, baseline_policy(), observe=Observe.FULL)
    full.advance(41 * HOUR)
    reference = full.drain()
    first = {c.tag: c.value for c in reversed(out.machines["A1"].changes)}
    assert first["PartCount"] > 500
    for name in MACHINES:
        columns, whole = out.machines[name].columns, reference.machines[name].columns
        assert len(columns["State"]) == 3600
        assert np.array_equal(columns["State"], whole["State"][-3600:])
        assert np.allclose(columns["Energy"], whole["Energy"][-3600:])


def test_the_catalogue_names_every_tag_the_plant_shows(watched):
    """Every drained tag is in the catalogue of its machine, and a unit or range comes with each measured one."""
    _, out = watched
    for name, samples in out.machines.items():
        known = {t.name: t for t in tags_of(name)}
        assert {c.tag for c in samples.changes} <= set(known)
        assert {t.name for t in known.values() if t.sampled} == set(samples.columns)
        for tag in ("SpindlePower", "SpindleTemp", "VibRms", "VibKurtosis", "Energy"):
            low, high = known[tag].low, known[tag].high
            assert low <= samples.columns[tag].min() <= samples.columns[tag].max() <= high
    assert [t.name for t in TAGS if t.sampled][-1] == "PlantTime"
