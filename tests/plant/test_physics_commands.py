"""Commands from outside and the interlocks that carry them out."""

import math

import numpy as np
import pytest

from lineside_plant import (
    MACHINES,
    CommandError,
    EventKind,
    Maintenance,
    Observe,
    Plant,
    PlantSpec,
    Policy,
    baseline_policy,
    external_policy,
)

HOUR = 3600.0


def step_to(plant, to_s, step_s=30.0):
    """Advance in steps, gathering changes per machine and events."""
    changes, events = {m: [] for m in MACHINES}, []
    while plant.now_s < to_s:
        plant.advance(min(plant.now_s + step_s, to_s))
        out = plant.drain()
        events += out.events
        for name, samples in out.machines.items():
            changes[name] += samples.changes
    return changes, events


def make(policy=None, seed=2, **options):
    return Plant(PlantSpec.nominal(), seed, policy or external_policy(), observe=Observe.FULL, **options)


def values(changes, tag):
    return [c.value for c in changes if c.tag == tag]


def test_a_mill_takes_a_maintenance_request_between_lots():
    """A request to a mill waits for the lot to end; then it is taken, counted, and the request falls back."""
    plant = make()
    step_to(plant, 2 * HOUR)
    running = next(o for o in plant.job_orders() if o.equipment == "A1")
    assert running.remaining > 0
    plant.request_maintenance("A1")
    plant.advance(plant.now_s + 120)
    changes = plant.drain().machines["A1"].changes
    assert values(changes, "MaintenanceRequest") == [True]
    assert plant.maintenance_taken("A1") == 0
    changes, events = step_to(plant, 8 * HOUR)
    assert values(changes["A1"], "MaintenanceRequest") == [False]
    assert values(changes["A1"], "MaintenanceTaken") == [1]
    done = next(e for e in events if e.kind is EventKind.MAINTENANCE)
    taken = next(c for c in changes["A1"] if c.tag == "MaintenanceTaken")
    starts = [e for e in events if e.kind is EventKind.JOB_ORDER_STARTED and e.equipment_id == "A1"]
    assert starts[0].time >= done.time > taken.time  # nothing was set up between lot end and maintenance
    assert done.value == pytest.approx((done.time - taken.time) / 3.6e9)


def test_a_press_takes_a_maintenance_request_at_the_next_part():
    """A request to the press is taken within minutes, not at a lot boundary, and renews the machine."""
    plant = make()
    step_to(plant, 5 * HOUR)
    assert plant.hidden("B1").age_h > 1
    plant.request_maintenance("B1")
    changes, events = step_to(plant, 5 * HOUR + 600)
    assert values(changes["B1"], "MaintenanceTaken") == [1]
    step_to(plant, 14 * HOUR)
    assert plant.hidden("B1").age_h < 10
    assert not [e for e in events if e.kind is EventKind.FAILURE]


def test_a_request_during_maintenance_falls_back_when_it_ends():
    """A request written while the machine is already under maintenance causes no second one."""
    plant = make()
    step_to(plant, HOUR)
    plant.request_maintenance("C1")
    step_to(plant, HOUR + 600)
    plant.request_maintenance("C1")
    changes, events = step_to(plant, 12 * HOUR)
    assert values(changes["C1"], "MaintenanceRequest") == [True, False]
    assert [e.equipment_id for e in events if e.kind is EventKind.MAINTENANCE] == ["C1"]
    assert plant.maintenance_taken("C1") == 1


def test_a_flagged_part_is_checked_and_one_that_has_left_is_refused():
    """A reject within the line leads to an inspection of that very part; later it is refused and counted."""
    plant = make()
    step_to(plant, 3 * HOUR)
    serials = []
    while not serials:
        changes, _ = step_to(plant, plant.now_s + 1, 1.0)
        serials = values(changes["A1"], "SerialNo")
    serial = serials[-1]
    assert plant.reject("A1", serial)
    assert not plant.reject("B1", serial)  # the press has not seen it yet
    assert not plant.reject("A1", "A1-9999999")
    changes, events = step_to(plant, 4 * HOUR)
    flagged = [e for e in events if e.kind is EventKind.INSPECTION and e.text == "flagged"]
    assert [e.serial_no for e in flagged] == [serial]
    assert values(changes["A1"], "RejectsTaken") == [1]
    assert values(changes["A1"], "LastRejectedSerialNo") == [serial]
    assert values(changes["A1"], "RejectsRefused") == [1]
    assert values(changes["B1"], "RejectsRefused") == [1]
    assert not plant.reject("A1", serial)


def test_rejecting_everything_runs_out_of_bench_and_scraps_good_parts():
    """Flags beyond the inspection effort cost good parts: the bench is a budget, not an oracle."""
    plant = make(horizon_h=12.0, warmup_h=0.0)
    while plant.now_s < 12 * HOUR:
        plant.advance(plant.now_s + 30)
        for change in plant.drain().machines["C1"].changes:
            if change.tag == "SerialNo":
                assert plant.reject("C1", change.value)
    counts = plant.counts()
    assert counts.inspected <= 0.05 * counts.made + 20
    assert counts.false_scrap > 0.3 * counts.made


def test_speed_is_clamped_and_shortens_the_cycle():
    """SpeedOverride takes at most 1.15 and acts from the next part on."""
    plant = make()
    step_to(plant, HOUR)
    plant.set_speed("A1", 9.0)
    changes, _ = step_to(plant, 2 * HOUR)
    assert values(changes["A1"], "SpeedOverride") == [1.15]
    cycles = set(np.round(values(changes["A1"], "CycleTime"), 6))
    expected = {round(PlantSpec.nominal().mill_cycle_s(f, 1.15), 6) for f in range(4)}
    assert cycles & expected


def test_a_written_tool_offset_is_the_compensation_the_plc_goes_on_from():
    """Writing ToolOffset shifts the very next parts by as much, and nominal wear goes on adding to it."""
    plant = make(label_share=1.0)
    step_to(plant, 2 * HOUR)
    plant.set_tool_offset("A1", 100.0)
    changes, events = step_to(plant, 3 * HOUR)
    offsets = values(changes["A1"], "ToolOffset")
    assert offsets[0] == pytest.approx(100.0)
    assert values(changes["A1"], "OffsetsTaken") == [1]
    assert 100.0 < offsets[1] < 101.0
    shifted = [e.value for e in events if e.kind is EventKind.INSPECTION and e.equipment_id == "A1" and e.value < -60]
    assert len(shifted) > 10


def test_priorities_are_followed_and_updates_of_running_orders_refused():
    """The highest priority starts next on the mill it names; a running or unknown order takes no update."""
    plant = make()
    plant.advance(HOUR)
    running, *_ = plant.job_orders()
    last = max((o for o in plant.job_orders() if o.equipment is None), key=lambda o: o.due_s)
    assert not plant.update_job_order(running.id, 5)
    assert not plant.update_job_order("JO-999999", 5)
    assert not plant.update_job_order(last.id, 5, "B1")
    assert plant.update_job_order(last.id, 5, "A2")
    plant.drain()
    _, events = step_to(plant, 8 * HOUR)
    starts = [e for e in events if e.kind is EventKind.JOB_ORDER_STARTED]
    mine = next(e for e in starts if e.text == last.id)
    assert mine.equipment_id == "A2"
    assert mine is next(e for e in starts if e.equipment_id == "A2")
    assert plant.updates_taken == plant.dispatches_by_priority == 1


def test_held_orders_wait_and_aborted_ones_never_start():
    """A held order is passed over until released; an aborted one is gone and the pool stays full."""
    plant = make()
    plant.advance(HOUR)
    pool = sorted((o for o in plant.job_orders() if o.equipment is None), key=lambda o: o.due_s)
    held, aborted = pool[0].id, pool[1].id
    assert plant.hold_job_order(held)
    assert plant.abort_job_order(aborted)
    assert plant.store_job_order("X-1", 2, 10, 5 * HOUR)
    assert not plant.store_job_order("X-1", 2, 10, 5 * HOUR)
    _, events = step_to(plant, 9 * HOUR)
    started = {e.text for e in events if e.kind is EventKind.JOB_ORDER_STARTED}
    assert "X-1" in started
    assert not {held, aborted} & started
    assert plant.release_job_order(held)
    _, events = step_to(plant, 14 * HOUR)
    assert held in {e.text for e in events if e.kind is EventKind.JOB_ORDER_STARTED}


def test_a_command_acts_at_the_next_whole_second_however_the_run_is_sliced():
    """Two runs with the same commands at the same times agree, though one is advanced in other steps."""
    kpis = []
    for step_s in (60.0, 7.5):
        plant = Plant(PlantSpec.nominal(), 9, external_policy(), horizon_h=30.0, warmup_h=0.0)
        for at_h in (3, 9, 15):
            while plant.now_s < at_h * HOUR:
                plant.advance(plant.now_s + step_s)
            plant.request_maintenance("A2")
            plant.set_speed("A1", 1.0 + at_h / 100)
            order = plant.job_orders()[-1]
            plant.update_job_order(order.id, 3, "A1")
        plant.advance(30 * HOUR)
        kpis.append(plant.kpis())
    assert kpis[0] == kpis[1]


def test_unknown_machines_are_named():
    """A command to something that is not there says what is there."""
    plant = Plant(PlantSpec.nominal(), 1, baseline_policy())
    with pytest.raises(CommandError, match="machine 'A9' is not in the plant; it has A1, A2, B1, C1, C2"):
        plant.request_maintenance("A9")
    with pytest.raises(CommandError, match="not a mill; mills are A1, A2"):
        plant.set_speed("B1", 1.0)
    with pytest.raises(CommandError, match="nan"):
        plant.set_tool_offset("A1", math.nan)


def advised(seed, hours):
    """An EXTERNAL plant, advised every 10 minutes with the true X and a family-first rule."""
    plant = Plant(PlantSpec.nominal(), seed, external_policy(), horizon_h=hours, warmup_h=48.0)
    asked = dict.fromkeys(MACHINES, False)
    for to_s in np.arange(600.0, hours * HOUR + 1, 600.0):
        plant.advance(float(to_s))
        for machine in MACHINES:
            worn = plant.hidden(machine).x >= 0.85
            if worn and not asked[machine]:
                plant.request_maintenance(machine)
            asked[machine] = worn
        orders = plant.job_orders()
        families = {o.equipment: o.family for o in orders if o.state == "Running"}
        for order in orders:
            if order.state == "Running":
                continue
            late = order.due_s - plant.now_s < 6 * HOUR
            mill = next((m for m, f in families.items() if f == order.family), None)
            plant.update_job_order(order.id, 2 if late else 1 if mill else 0, None if late else mill)
    return plant


def test_commands_from_perfect_knowledge_raise_oee():
    """Maintenance at X >= .85 and family-first priorities, given as commands, beat P3's OEE on every paired seed."""
    gains = []
    for seed in (21, 22, 23):
        base = Plant(PlantSpec.nominal(), seed, baseline_policy(), horizon_h=200.0, warmup_h=48.0)
        base.advance(200 * HOUR)
        plant = advised(seed, 200.0)
        assert plant.dispatches_by_priority > 20
        gains.append(plant.kpis().oee - base.kpis().oee)
    assert min(gains) > 0
    assert np.mean(gains) > 0.02


def test_without_maintenance_machines_fail_more_often_than_at_random_ages():
    """Policies for recordings work: run to failure fails most, a random age per life lies between."""
    counts = [
        Plant(PlantSpec.nominal(), 4, Policy(maintenance=m, random_age_h=(20.0, 120.0)), horizon_h=300.0, warmup_h=0.0)
        for m in (Maintenance.NONE, Maintenance.RANDOM_AGE)
    ]
    for plant in counts:
        plant.advance(300 * HOUR)
    none, random_age = (p.counts() for p in counts)
    assert none.maintenances == 0 < random_age.maintenances
    assert random_age.failures < none.failures
