"""Windows on the grid, against a reference that looks at every sample each time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside_gateway.ingest import Binding, BindingError, Request, TagTable, Windower
from lineside_gateway.ledger import Ledger
from lineside_plugins.contract import Aggregate, Channel, Inputs, Trigger, WindowSpec

START = int(np.datetime64("2026-01-05T06:00:00", "us").astype(np.int64))
SECOND = 1_000_000
GOOD, UNCERTAIN, BAD = 0, 0x40000000, 0x80000000
CHANNELS = (
    Channel("Mean"),
    Channel("Last", aggregate=Aggregate.LAST),
    Channel("Max", aggregate=Aggregate.MAX, optional=True),
)
# cells, period s, trigger period s: base cells of 60 s and of 30, 1, 10 and 4 s, rolled up to 150 at a time
GRIDS = [(6, 60.0, 60.0), (4, 180.0, 60.0), (5, 30.0, 90.0), (5, 7.0, 35.0), (4, 100.0, 50.0), (2, 600.0, 28.0)]
Samples = list[tuple[int, float, int]]  # time us, value, StatusCode


def reference(
    samples: Samples, aggregate: Aggregate, end: int, length: int, period_s: float
) -> list[tuple[float, bool]]:
    cells: list[tuple[float, bool]] = []
    for t in range(length):
        low, high = end - (length - t) * period_s * SECOND, end - (length - t - 1) * period_s * SECOND
        inside = [(v, s) for time, v, s in samples if low < time <= high and s != BAD]
        good = [v for v, s in inside if s == GOOD]
        chosen = good or [v for v, _ in inside]
        if aggregate is Aggregate.LAST:
            held = [(np.nan if s == BAD else v, s == GOOD) for time, v, s in sorted(samples) if time <= high]
            cells.append(held[-1] if held else (np.nan, False))
        elif not chosen:
            cells.append((np.nan, False))
        else:
            cells.append((float(np.mean(chosen)) if aggregate is Aggregate.MEAN else max(chosen), bool(good)))
    return cells


def one_machine(length: int, period_s: float, every_s: float) -> tuple[TagTable, Windower, Ledger, dict[str, int]]:
    ledger = Ledger()
    table = TagTable(ledger.values)
    index = {c.tag: table.add("M1", c.tag) for c in CHANNELS}
    spec = WindowSpec(CHANNELS, length, period_s, min_good=0.0)
    binding = Binding("probe", Inputs(Trigger(every_s=every_s), 30.0, window=spec), ("M1",))
    return table, Windower(table, [binding], ledger), ledger, index


sample = st.tuples(
    st.integers(1, 1500), st.floats(-1e6, 1e6, width=32), st.sampled_from([GOOD, GOOD, GOOD, UNCERTAIN, BAD])
)
series = st.lists(sample, min_size=1, max_size=120, unique_by=lambda s: s[0])


def absolute(raw: list[tuple[int, float, int]]) -> Samples:
    return [(START + t * SECOND, v, s) for t, v, s in raw]


@settings(max_examples=60, deadline=None)
@given(
    raw=st.tuples(series, series, series),
    grid=st.sampled_from(GRIDS),
    moves=st.lists(st.integers(1, 700), min_size=1, max_size=12),
)
def test_windows_equal_the_reference(
    raw: tuple[Samples, Samples, Samples], grid: tuple[int, float, float], moves: list[int]
) -> None:
    """A window holds, cell by cell, what a look at every single sample gives, however far each watermark jumps."""
    length, period_s, every_s = grid
    table, windower, ledger, index = one_machine(length, period_s, every_s)
    columns = {c.tag: absolute(r) for c, r in zip(CHANNELS, raw, strict=True)}
    for tag, rows in columns.items():
        times, values, status = zip(*rows, strict=True)
        table.write_many([index[tag]] * len(rows), times, values, status)
    got: list[Request] = []
    at = START
    for move in [*moves, 4000]:
        at += move * SECOND
        got += windower.close(at)
    for request in got:
        assert request.end_us % round(every_s * 1e6) == 0
        for c, channel in enumerate(CHANNELS):
            want = reference(columns[channel.tag], channel.aggregate, request.end_us, length, period_s)
            np.testing.assert_allclose(request.values[:, c], [v for v, _ in want], rtol=1e-6, atol=1e-6)
            assert request.good[:, c].tolist() == [g for _, g in want]
    assert ledger.balanced
    assert ledger.values.used == sum(map(len, columns.values()))


def test_every_period_gives_a_window_while_samples_come() -> None:
    """A window closes at each multiple of the period, from the first sample on, and at none before or twice."""
    table, windower, _, index = one_machine(3, 60.0, 60.0)
    for second in range(90, 400):
        table.write(index["Mean"], [START + second * SECOND], [1.0])
    ends = [r.end_us for r in windower.close(START + 399 * SECOND)]
    assert ends == [START + k * 60 * SECOND for k in (2, 3, 4, 5, 6)]
    assert windower.close(START + 399 * SECOND) == []


def test_a_silent_stretch_gives_no_window_and_is_counted() -> None:
    """Periods whose newest cell holds no Good sample yield no request; each is counted as a stale window."""
    table, windower, ledger, index = one_machine(3, 60.0, 60.0)
    table.write(index["Mean"], [START + 30 * SECOND], [1.0])
    later = START + 10_000 * 60 * SECOND
    table.write(index["Mean"], [later + 30 * SECOND], [2.0])
    ends = [r.end_us for r in windower.close(later + 90 * SECOND)]
    assert ends == [START + 60 * SECOND, later + 60 * SECOND]
    windows = ledger.task("probe").windows
    assert windows.dropped == {"stale_window": 9_999}
    assert ledger.balanced


@pytest.mark.parametrize("gap_s", [130, 3_000, 30_000, 3_000_000])
def test_a_held_value_survives_any_gap(gap_s: int) -> None:
    """A LAST channel shows the last value reported, however long ago that was; a MEAN channel shows nothing."""
    table, windower, _, index = one_machine(4, 120.0, 60.0)
    table.write(index["Last"], [START + SECOND], [7.0])
    table.write(index["Mean"], [START + SECOND], [1.0])
    windower.close(START + 60 * SECOND)
    table.write(index["Mean"], [START + gap_s * SECOND], [2.0])
    end = START + -(-gap_s // 60) * 60 * SECOND
    last = windower.close(end)[-1]
    assert last.end_us == end
    assert last.values[-1, 1] == 7.0
    assert last.good[-1, 1]
    assert last.values[-1, 0] == 2.0
    assert np.isnan(last.values[:, 2]).all()


def test_a_poor_window_yields_no_request() -> None:
    """A window below the share of Good cells that the binding asks for is dropped with its reason."""
    ledger = Ledger()
    table = TagTable(ledger.values)
    tag = table.add("M1", "Mean")
    inputs = Inputs(Trigger(every_s=60.0), 30.0, window=WindowSpec((Channel("Mean"),), 4, 60.0, min_good=0.1))
    windower = Windower(table, [Binding("probe", inputs, ("M1",), min_good=0.75)], ledger)
    table.write(tag, START + np.arange(1, 241) * SECOND, np.ones(240))
    requests = windower.close(START + 240 * SECOND)
    assert [r.quality for r in requests] == [0.75, 1.0]
    assert ledger.task("probe").windows.dropped == {"poor_window": 2}
    assert ledger.balanced


def test_a_grid_too_fine_for_its_length_is_refused_at_start() -> None:
    """Periods without a useful common divisor are an error that names the grid, not a slow gateway."""
    table = TagTable()
    table.add("M1", "Mean")
    inputs = Inputs(Trigger(every_s=60.0), 30.0, window=WindowSpec((Channel("Mean"),), 100_000, 90.001))
    with pytest.raises(BindingError, match="common divisor"):
        Windower(table, [Binding("probe", inputs, ("M1",))])
