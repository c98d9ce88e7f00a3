import numpy as np
import pytest

from lineside_plugins.contract import Recording
from lineside_plugins.learning import measured, milling
from lineside_plugins.tasks.reject import curves as c
from lineside_plugins.tasks.reject import dataset
from lineside_plugins.tasks.reject import features as f

END = np.array([1.8e9])


def mill(tool: float = 120.0, offset: float = 30.0) -> np.ndarray:
    """A mill's window, one part a minute, compensation rising a quarter um per part, tool mounted 120 parts ago."""
    values = np.zeros((1, milling.LENGTH, len(milling.CHANNELS)), np.float32)
    age = np.arange(milling.LENGTH) - (milling.LENGTH - 1)
    values[0, :, milling.POWER] = 8
    values[0, :, milling.TEMPERATURE] = 50
    values[0, :, milling.STATE] = milling.RUNNING
    values[0, :, milling.TOOL] = (age + tool - 1) % 240
    values[0, :, milling.OFFSET] = 0.25 * values[0, :, milling.TOOL] + (offset - 0.25 * tool)
    values[0, :, milling.PARTS] = 5000 + age
    return values


def row(
    values: np.ndarray, inspected: np.ndarray | None = None, part: tuple[float, float] = (120, 30)
) -> tuple[np.ndarray, float]:
    """Features of the part, and its compensation beyond the usual course."""
    known = np.full((1, f.INSPECTED, 2), np.nan) if inspected is None else inspected
    x, beyond = f.dimension_features(values, END, np.array([part], dtype=float), known)
    return x[0], float(beyond[0])


def at(name: str) -> int:
    return f.NAMES.index(name)


def test_an_inspected_part_is_found_again_by_its_count() -> None:
    """A part measured at +8 um forty parts ago predicts +8 um now, for the PLC compensated the usual wear since."""
    known = np.full((1, f.INSPECTED, 2), np.nan)
    known[0, 0] = (4960, 8.0)
    found, beyond = row(mill(), known)
    assert found[at("inspected")] == 1
    assert found[at("inspected_tool_change")] == pytest.approx(41, abs=1.5)
    assert found[at("inspected_mean")] == pytest.approx(8, abs=0.5)
    assert beyond == pytest.approx(0, abs=0.5)


def test_a_correction_since_the_inspection_changes_the_compensation_and_no_feature() -> None:
    """If 6 um were added to the compensation since, the row is the same: only what is compensated differs by 6."""
    known = np.full((1, f.INSPECTED, 2), np.nan)
    known[0, :2] = (4990, 8.0), (4960, 8.0)
    values = mill()
    values[0, -5:, milling.OFFSET] += 6
    (left, beyond), (alone, none) = row(values, known, (120, 36)), row(mill(), known)
    np.testing.assert_allclose(left, alone, atol=1e-4)
    assert beyond - none == pytest.approx(6, abs=1e-3)


def test_a_correction_before_the_inspection_is_put_back() -> None:
    """A part measured at +2 um while 6 um were compensated would have measured +8 um."""
    known = np.full((1, f.INSPECTED, 2), np.nan)
    known[0, 0] = (4990, 2.0)
    values = mill()
    values[0, -60:, milling.OFFSET] += 6
    assert row(values, known, (120, 36))[0][at("inspected_mean")] == pytest.approx(8, abs=0.5)


def test_parts_that_drift_are_carried_forward() -> None:
    """Six parts that rise a tenth of a um per part point beyond their mean of +15; a single one to itself."""
    known = np.full((1, f.INSPECTED, 2), np.nan)
    for i in range(6):
        known[0, i] = (4990 - 20 * i, 20 - 2 * i)
    x = np.stack([row(mill(), known)[0]])
    assert 17 < f.measured_course(x)[0] < 21
    known[0, 1:] = np.nan
    assert f.measured_course(np.stack([row(mill(), known)[0]]))[0] == pytest.approx(20, abs=0.5)


def test_parts_of_the_tool_before_do_not_speak_for_this_one() -> None:
    """A measurement from before the tool change is kept apart from those of the tool in use."""
    known = np.full((1, f.INSPECTED, 2), np.nan)
    known[0, 0] = (5000 - 150, 12.0)
    found, _ = row(mill(), known)
    assert found[at("inspected")] == 0
    assert np.isnan(found[at("inspected_mean")])
    assert found[at("other_tool_mean")] == pytest.approx(12)


def test_a_tool_changed_within_the_last_minute_starts_with_nothing_known() -> None:
    """The snapshot's ToolCount tells of a change that the last whole cell cannot show yet."""
    known = np.full((1, f.INSPECTED, 2), np.nan)
    known[0, 0] = (4990, 8.0)
    found, _ = row(mill(), known, (1, 0.25))
    assert found[at("tool_count")] == 1
    assert found[at("inspected")] == 0
    assert np.isnan(found[at("power_since_tool")])
    assert found[at("power_slope")] == 0


def test_stops_that_cool_the_mill_are_timed() -> None:
    """A trip of half an hour that ended thirty minutes ago reads so, and is half forgotten; a setup is no stop."""
    values = mill()
    values[0, -60:-30, milling.STATE] = 4
    values[0, -10:-5, milling.STATE] = 2
    found, _ = row(values)
    assert found[at("stop_minutes_ago")] == 30
    assert found[at("stop_minutes")] == 30
    assert found[at("stop_recovery")] == 0.5
    undisturbed, _ = row(mill())
    assert np.isnan(undisturbed[at("stop_minutes_ago")])
    assert undisturbed[at("stop_recovery")] == 0


def test_power_that_rises_part_by_part_is_wear_and_another_family_is_not() -> None:
    """A rise of 0.9 kW over 120 parts reads as such, though the mill changed to a hungrier family half-way."""
    values = mill()
    values[0, -120:, milling.POWER] += 0.0075 * np.arange(120)
    values[0, -60:, milling.FAMILY] = 2
    values[0, -60:, milling.POWER] += 1.5
    values[0, -70:-60:4, milling.POWER] = 3.0  # cells in which the mill waited
    found, _ = row(values)
    assert found[at("power_slope")] == pytest.approx(0.9, abs=0.1)
    plain = mill()
    plain[0, -60:, milling.FAMILY] = 2
    plain[0, -60:, milling.POWER] += 1.5
    assert row(plain)[0][at("power_slope")] == pytest.approx(0, abs=0.02)


def test_a_part_measured_right_after_a_stop_is_known_as_such() -> None:
    """The colder the mill was at the inspection than it is now, the more the recovery has changed since."""
    values = mill()
    values[0, -140:-120, milling.STATE] = 4
    known = np.full((1, f.INSPECTED, 2), np.nan)
    known[0, 0] = (5000 - 118, -15.0)
    assert row(values, known)[0][at("inspected_recovery_change")] == pytest.approx(2**-4 - 1, abs=0.1)


def test_a_dip_in_the_force_curve_survives_what_takes_the_slow_course_out() -> None:
    """Peak force and slope vanish from the rows a model sees, the dip stays where it was, in units of the noise."""
    u = np.linspace(0, 1, c.CURVE)
    course = 300 + 90 * u
    dip = 20 * np.exp(-0.5 * ((u - 0.6) / 0.03) ** 2)
    noise = np.random.default_rng(0).standard_normal(c.CURVE)
    quiet, porous, loud = c.curve_rows(np.stack([course + noise, course + noise - dip, course + 4 * (noise - dip)]))
    assert quiet.shape == (len(c.COURSES), c.CURVE)
    assert 0.8 < quiet[0, c.PLATEAU].std() * c.NOISE_SCALE < 1.3
    for rows in (porous, loud):
        for row in rows:
            assert np.argmin(row[c.PLATEAU]) + c.PLATEAU.start == pytest.approx(0.6 * 255, abs=4)
    np.testing.assert_allclose(loud[0], porous[0], atol=0.05)
    assert c.curve_features(np.stack([course, course - dip])).shape == (2, c.BINS + 3)


def test_labels_made_for_training_are_never_inputs(recordings: list[Recording]) -> None:
    """Campaign inspections give targets for every part, and inputs come from the regular samples alone."""
    events = recordings[0].streams["events"][:200]
    regular = [e for e in events if e["text"] != measured.CAMPAIGN]
    known = measured.newest_inspections(events, f.INSPECTED)
    assert known[0].tolist() == [measured.count_of(regular[-1]["serial_no"]), regular[-1]["value"]]
    parts = dataset.dimension_parts(recordings[:1], 500, seed=0)
    assert len(parts) == 500
    assert np.nanmax(parts.x[:, at("inspected")]) <= f.INSPECTED


def test_whole_blocks_keep_every_part_of_a_stretch(recordings: list[Recording]) -> None:
    """Parts drawn in whole blocks follow each other minute by minute."""
    parts = dataset.dimension_parts(recordings[:1], 600, seed=4, whole_blocks=True)
    gaps = np.diff(np.sort(parts.end_s))
    assert (gaps == 60).mean() > 0.99
    assert 0 < len(parts) < 1740
