"""KPIs: what is counted, from when, and that the books balance."""

import math

import pytest

from lineside_plant import EventKind, Plant, PlantSpec, baseline_policy, external_policy
from lineside_plant.kpis import Counts, kpis_of

HOUR = 3600.0


def test_every_part_made_is_shipped_or_scrapped():
    """made = shipped + rejected + falsely scrapped, and shipped = good + escaped."""
    plant = Plant(PlantSpec.draw(3), 3, external_policy(), horizon_h=150.0, warmup_h=20.0)
    plant.advance(150 * HOUR)
    c = plant.counts()
    assert c.made == c.shipped + c.rejected + c.false_scrap > 5000
    assert c.shipped == c.good + c.escaped
    assert c.defects >= c.dimension_defects + c.porosity_defects > 0


def test_nothing_counts_before_the_warm_up_has_passed():
    """KPIs are NaN until the warm-up ends and cover only what follows."""
    plant = Plant(PlantSpec.nominal(), 1, baseline_policy(), horizon_h=100.0, warmup_h=50.0)
    plant.advance(50 * HOUR)
    assert math.isnan(plant.kpis().oee)
    plant.advance(60 * HOUR)
    counts = plant.counts()
    assert 500 < counts.made < 1400
    assert 10 * 5 * 2.5 < counts.kwh < 10 * (5 * 2.5 + 2 * 8 + 15 + 2 * 7)


def test_nothing_counts_after_the_horizon():
    """A plant that runs on past its horizon keeps the KPIs of the horizon, within the orders still open then."""
    plant = Plant(PlantSpec.nominal(), 1, baseline_policy(), horizon_h=60.0, warmup_h=20.0)
    plant.advance(60 * HOUR)
    before = plant.counts()
    plant.advance(80 * HOUR)
    after = plant.counts()
    after.orders_overdue = before.orders_overdue
    assert after == before


def test_downtime_adds_up_to_the_events():
    """Unplanned downtime is the time of repairs, trips and tool breaks that the events report."""
    spec = PlantSpec.nominal()
    plant = Plant(spec, 2, baseline_policy(), horizon_h=200.0, warmup_h=0.0)
    plant.advance(200 * HOUR)
    events = plant.drain().events
    hours = sum(e.value for e in events if e.kind in (EventKind.REPAIR, EventKind.TRIP))
    hours += sum(spec.break_min / 60 for e in events if e.kind is EventKind.TOOL_BREAK)
    open_h = 12.0  # a repair or trip may be under way at the end
    assert hours - open_h <= plant.counts().unplanned_s / HOUR <= hours + open_h
    assert plant.kpis().total_downtime > plant.kpis().unplanned_downtime > 0


def test_ratios_of_known_counts():
    """Each KPI is the ratio it says it is."""
    counts = Counts(
        made=100, defects=5, shipped=96, escaped=4, good=92, ideal_s=3600.0, orders_ended=9, orders_on_time=8,
        orders_overdue=1, unplanned_s=900.0, planned_s=900.0, kwh=46.0,
    )  # fmt: skip
    kpis = kpis_of(counts, 3600.0, mills=2, machines=5)
    assert (kpis.oee, kpis.defects_made, kpis.defects_escaped) == (0.5, 0.05, pytest.approx(4 / 96))
    assert (kpis.unplanned_downtime, kpis.total_downtime) == (0.05, 0.1)
    assert (kpis.on_time_delivery, kpis.kwh_per_good_part) == (0.8, 0.5)
