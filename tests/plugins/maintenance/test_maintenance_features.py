from collections.abc import Callable

import numpy as np
import pytest

from lineside_plugins.contract import Recording
from lineside_plugins.tasks.maintenance import features as f
from lineside_plugins.tasks.maintenance.dataset import fit_compensation, machines, rows

Window = Callable[..., np.ndarray]
NONE = f.Compensation(np.zeros((2, f.COVARIATES, 3)))
END = np.array([1.8e9])
UNKNOWN = np.array([np.nan])


def column(name: str) -> int:
    return f.feature_names().index(name)


def test_an_earlier_look_equals_the_window_that_ended_then(window: Window) -> None:
    """Features at lag n are those of the window that ended n cells earlier, as far as both see the same cells."""
    values = window()
    late = f.features(values, END, np.array([9e4]), NONE, lags=(0, 2))[0, 1]
    shorter = f.features(values[:, :-2], END - 2 * f.PERIOD_S, np.array([9e4 - 1800]), NONE)[0, 0]
    np.testing.assert_allclose(late, shorter, rtol=1e-9, atol=1e-9)


def test_cells_before_the_renewal_do_not_count(window: Window) -> None:
    """What the machine did in its last life changes no feature of this one."""
    values, other = window(), window()
    other[0, :-40, f.VIBRATION] *= 7
    age = np.array([40 * f.PERIOD_S])
    np.testing.assert_array_equal(
        f.features(values, END, age, NONE)[..., :-4], f.features(other, END, age, NONE)[..., :-4]
    )


def test_planned_maintenance_in_view_is_a_renewal_without_any_event(window: Window) -> None:
    """A maintenance seen in State alone begins a life; a failed State, which a broken tool shows too, does not."""
    values = window()
    values[0, -60:-50, f.STATE] = f.MAINTAINED
    values[0, -20:-18, f.STATE] = f.FAILED
    usable = f.usable_cells(values, UNKNOWN, f.PERIOD_S)[0]
    assert usable.sum() == 48
    assert not usable[:-50].any()


def test_a_rise_since_the_renewal_is_read_off_the_window(window: Window) -> None:
    """Kurtosis two higher over the last hours shows as a rise of two, and vibration doubled as log 2."""
    values = window()
    values[0, -16:, f.KURTOSIS] += 2
    values[0, -16:, f.VIBRATION] *= 2
    row = f.features(values, END, UNKNOWN, NONE)[0, 0]
    assert row[column("kurtosis_rise")] == pytest.approx(2, abs=0.1)
    assert row[column("vibration_rise")] == pytest.approx(np.log(2), abs=0.05)


def test_a_machine_that_never_ran_has_no_condition(window: Window) -> None:
    """Without a running cell every condition feature is missing rather than zero."""
    values = window()
    values[0, :, f.STATE] = 0
    row = f.features(values, END, UNKNOWN, NONE)[0, 0]
    assert np.isnan(row[: column("age_h")]).all() or np.nanmax(np.abs(row[: column("age_h")])) == 0
    assert np.isnan(row[column("vibration_1h")])
    assert row[column("running_share")] == 0


def test_compensation_takes_out_what_the_family_explains(recordings: list[Recording]) -> None:
    """A signal that follows the family alone is flat once compensated, and wear stays in."""
    changed = []
    for recording in recordings[:3]:
        tags = {m: dict(own) for m, own in recording.tags.items()}
        for own in tags.values():
            own["SpindleTemp"] = own["SpindleTemp"] + 5 * own["ActiveFamily"]
        changed.append(Recording(recording.unit, recording.period_s, recording.time, tags, recording.streams))
    found = [m for r in changed for m in machines(r)]
    fitted = fit_compensation(found)
    values = found[0].cells[None]
    left = f.signals(values) - f.covariates(values, found[0].end_s[-1:], f.PERIOD_S) @ fitted.coefficients[0]
    healthy = (values[0, :, f.STATE] == f.RUNNING) & (np.abs(values[0, :, f.KURTOSIS] - 3) < 0.3)
    family = values[0, :, f.FAMILY]
    raw = np.ptp([values[0, healthy & (family == k), f.TEMPERATURE].mean() for k in range(4)])
    clean = np.ptp([left[0, healthy & (family == k), f.TEMPERATURE].mean() for k in range(4)])
    assert raw > 10
    assert clean < 3


def test_lives_are_cut_at_renewals_and_censored_by_planned_ones(recordings: list[Recording]) -> None:
    """Every failure event ends a failed life, every planned renewal a censored one, the first age is unknown."""
    recording = recordings[0]
    found = machines(recording)
    kinds = [e["kind"] for e in recording.streams["events"]]
    lives = [life for m in found for life in m.lives]
    assert sum(life.failed for life in lives) == kinds.count("failure")
    assert [m.lives[0].known_start for m in found] == [False, False]
    table = rows(found, NONE, stride=4)
    assert (table.until_h > 0).all()
    assert set(np.unique(table.mode)) <= {-1, 0, 1}
    assert not np.isnan(table.x[table.life > 0, 0, column("age_h")]).all()
