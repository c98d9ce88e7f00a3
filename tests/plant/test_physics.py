"""The physics of RefPlant: determinism, pairing, what policies and commands do."""

import math

import numpy as np
import pytest

from lineside_plant import (
    MACHINES,
    EventKind,
    Observe,
    OrderState,
    Plant,
    PlantSpec,
    Policy,
    SpecError,
    baseline_policy,
    family_first_policy,
    oracle_policy,
)
from lineside_plant.machines import Life
from lineside_plant.streams import Streams

HOUR = 3600.0


def run(policy, seed, hours=168.0, spec=None, **options):
    plant = Plant(spec or PlantSpec.nominal(), seed, policy, horizon_h=hours, warmup_h=48.0, **options)
    plant.advance(hours * HOUR)
    return plant


def lower_bound(differences):
    """Lower end of the 95 % interval of the mean of paired differences (t, n = 5)."""
    d = np.asarray(differences)
    assert len(d) == 5
    return d.mean() - 2.776 * d.std(ddof=1) / math.sqrt(len(d))


def test_kpis_do_not_depend_on_how_a_run_is_sliced_or_observed():
    """The same seed gives the same KPIs and events in one step, in odd steps, and while being watched."""
    whole = run(baseline_policy(), 3, 72.0)
    sliced = Plant(PlantSpec.nominal(), 3, baseline_policy(), horizon_h=72.0, warmup_h=48.0, observe=Observe.FULL)
    events = []
    for to_s in np.arange(777.7, 72 * HOUR, 777.7):
        sliced.advance(float(to_s))
        events += sliced.drain().events
    sliced.advance(72 * HOUR)
    events += sliced.drain().events
    assert whole.kpis() == sliced.kpis()
    assert whole.drain().events == events


def test_different_seeds_give_different_runs():
    """A run depends on its seed."""
    assert run(baseline_policy(), 1, 72.0).kpis() != run(baseline_policy(), 2, 72.0).kpis()


def test_the_kth_order_is_the_same_under_every_policy():
    """Job order k has the same family, quantity and time to its due date whatever the policy dispatches."""
    orders = []
    for policy in (baseline_policy(), family_first_policy()):
        seen = {}
        plant = Plant(PlantSpec.nominal(), 5, policy)
        for hour in range(1, 49):
            plant.advance(hour * HOUR)
            seen |= {o.id: (o.family, o.quantity, round(o.due_s - o.release_s, 6)) for o in plant.job_orders()}
        orders.append(seen)
    shared = orders[0].keys() & orders[1].keys()
    assert len(shared) > 30
    assert all(orders[0][k] == orders[1][k] for k in shared)


def test_the_kth_part_and_life_are_the_same_under_every_policy():
    """Part k of a mill is porous, and life k of a machine ends in the same mode, whatever the policy does."""
    porous, modes = [], []
    for policy in (Policy(maintenance="none"), oracle_policy(1.15)):
        plant = run(policy, 8, 120.0, label_share=1.0)
        porous.append({e.serial_no: e.porous for e in plant.drain().events if e.kind is EventKind.INSPECTION})
        modes.append([Plant(PlantSpec.nominal(), 8, policy).hidden(m).mode for m in MACHINES])
    shared = porous[0].keys() & porous[1].keys()
    assert len(shared) > 5000
    assert all(porous[0][k] == porous[1][k] for k in shared)
    assert modes[0] == modes[1]


def test_oracle_beats_family_first_beats_baseline_on_oee():
    """OEE rises from P3 to family-first to the oracle, each paired difference clear of zero at 95 %."""
    oee = {
        name: [run(policy, seed).kpis().oee for seed in range(40, 45)]
        for name, policy in (("p3", baseline_policy()), ("ff", family_first_policy()), ("oracle", oracle_policy()))
    }
    assert lower_bound(np.subtract(oee["ff"], oee["p3"])) > 0
    assert lower_bound(np.subtract(oee["oracle"], oee["ff"])) > 0
    assert 0.64 < np.mean(oee["p3"]) < 0.76


def test_an_oracle_leaves_no_escape_and_few_failures():
    """With every hidden state known no defective part ships, and unplanned downtime falls."""
    oracle, baseline = run(oracle_policy(), 12), run(baseline_policy(), 12)
    assert oracle.kpis().defects_escaped == 0.0
    assert baseline.kpis().defects_escaped > 0.004
    assert oracle.counts().failures < baseline.counts().failures
    assert oracle.kpis().unplanned_downtime < baseline.kpis().unplanned_downtime


def test_speed_is_not_credited_above_the_ideal():
    """The ideal cycle is that of the highest speed, so faster mills raise OEE through output only."""
    spec = PlantSpec.nominal()
    assert spec.ideal_cycle_s(0) == spec.mill_cycle_s(0, 1.15) < spec.mill_cycle_s(0, 1.0)
    fast, slow = run(Policy(speed=1.15), 4, 120.0), run(Policy(speed=0.8), 4, 120.0)
    assert slow.kpis().oee < fast.kpis().oee < 1.0
    assert fast.counts().defects / fast.counts().made > slow.counts().defects / slow.counts().made


@pytest.mark.parametrize(("make", "cv"), [(PlantSpec.nominal, 0.67), (lambda: PlantSpec.low_gain(1), 0.39)])
def test_lives_scatter_as_written(make, cv):
    """Lives at unit load have the stated coefficient of variation: .67 nominally, .39 in the low-gain plant."""
    spec = make()
    streams = Streams(1)
    lives = []
    for k in range(1500):
        life = Life(spec, streams.generator("life", k))
        while not life.run(1.0, 1.0):
            pass
        lives.append(life.age_h)
    assert np.std(lives) / np.mean(lives) == pytest.approx(cv, rel=0.10)


def test_drawn_plants_differ_and_repeat():
    """A plant's seed fixes its constants and exponents; another seed gives others, near the nominal ones."""
    nominal, one, two = PlantSpec.nominal(), PlantSpec.draw(1), PlantSpec.draw(2)
    assert one == PlantSpec.draw(1)
    for name in ("life_h", "vib_exponent", "vib_load_exponent", "tool_speed_exponent", "setup_min", "signature_at"):
        assert getattr(one, name) != getattr(two, name) != getattr(nominal, name)
        ratio = np.divide(getattr(one, name), getattr(nominal, name))
        assert np.all(np.abs(ratio - 1) <= 0.2)
    assert one.tolerance_um == nominal.tolerance_um


def test_a_plant_that_cannot_be_is_refused():
    """A spec, policy or horizon out of bounds is refused with its value and bound."""
    with pytest.raises(SpecError, match="mix adds up to"):
        PlantSpec(mix=(0.5, 0.2, 0.2, 0.2))
    with pytest.raises(SpecError, match="speed is 2"):
        Policy(speed=2.0)
    with pytest.raises(SpecError, match="warmup_h is 80"):
        Plant(PlantSpec.nominal(), 1, baseline_policy(), horizon_h=72.0, warmup_h=80.0)


def test_the_pool_always_holds_twelve_orders_and_ends_are_reported_at_shipping():
    """Two orders run, twelve wait; an order ends minutes after its last part was cut, when that has been checked."""
    plant = Plant(PlantSpec.nominal(), 6, baseline_policy())
    plant.drain()
    plant.advance(20 * HOUR)
    states = [o.state for o in plant.job_orders()]
    assert states.count(OrderState.ALLOWED_TO_START) == 12
    out = plant.drain()
    assert out.job_orders_changed
    ended = [e.text for e in out.events if e.kind is EventKind.JOB_ORDER_ENDED]
    started = [e.text for e in out.events if e.kind is EventKind.JOB_ORDER_STARTED]
    assert set(ended) < set(started)
    assert len(ended) == len(set(ended)) > 5
