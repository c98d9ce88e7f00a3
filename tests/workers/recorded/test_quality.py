"""The data quality report finds what was put there, and nothing where nothing was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lineside_workers.__main__ import main
from lineside_workers.errors import SplitError
from lineside_workers.recorded import quality, reading
from lineside_workers.recorded.labels import Label
from lineside_workers.recorded.quality import Severity
from lineside_workers.recorded.splitting import Split

EXPECTED = {"VibRms": "mm/s"}


def kinds(found: reading.Recorded, **options) -> set[tuple[str, str]]:
    return {(f.kind, f.where) for f in quality.inspect(found, EXPECTED, **options)[1]}


def test_a_sound_recording_has_no_findings(make) -> None:
    """Machines that wear alike, in the right units, raise nothing."""
    assert kinds(reading.read(make(hours=120))) == set()


def test_each_fault_is_found_where_it_is(make) -> None:
    """A gap, a frozen sensor, a spike, a drifting sensor and a wrong unit are each named at their tag."""

    def spoil(machine: str, tag: str, values: np.ndarray) -> np.ndarray:
        out = values.copy()
        match machine, tag:
            case "M1", "VibRms":
                out[100:150] = np.nan
            case "M2", "SpindleTemp":
                out[200:230] = out[200]
            case "M3", "SpindlePower":
                out[50] = 4000.0
            case "M4", "SpindlePower":
                out += np.linspace(0, 8, len(out))
        return out

    found = reading.read(make(hours=120, change=spoil, units={"VibRms": "in/s", "VibKurtosis": "", "SpindleTemp":
                                                             "degC", "SpindlePower": "kW"}))  # fmt: skip
    seen = kinds(found)
    assert {("gap", "M1.VibRms"), ("frozen", "M2.SpindleTemp"), ("outliers", "M3.SpindlePower"),
            ("drift", "M4.SpindlePower")} <= seen  # fmt: skip
    assert {w for k, w in seen if k == "unit"} == {"M1.VibRms", "M2.VibRms", "M3.VibRms", "M4.VibRms"}


def test_the_same_samples_on_two_sides_are_a_leak(make) -> None:
    """A machine that was copied under another name may not train and judge."""
    found = reading.read(make(machines=("M1", "M2", "M3"), same_seed=True))
    leaks = [f for f in quality.inspect(found, {}, split=Split(("M1",), ("M2",), ("M3",)))[1] if f.kind == "leakage"]
    assert leaks
    assert leaks[0].severity is Severity.ERROR
    assert "train, validation, test" in leaks[0].what


def test_what_the_tags_of_a_machine_show_alike_is_told_once(make) -> None:
    """An hour in which a machine sent nothing is one finding, not one per tag; its length is said in its own unit."""

    def silent(machine: str, _tag: str, values: np.ndarray) -> np.ndarray:
        return np.where((np.arange(len(values)) % 100 < 7) & (machine == "M1"), np.nan, values)

    findings = quality.inspect(reading.read(make(change=silent)), {})[1]
    (gap,) = [f for f in findings if f.kind == "gap"]
    assert gap.where == "M1.SpindlePower and 3 more tags"
    assert "longest gap 80 min" in gap.what


def test_rare_labels_and_labels_of_strangers_are_told(make) -> None:
    """Hardly any positive time is a warning, a machine that was not recorded an error."""
    found = reading.read(make(machines=("M1", "M2", "M3"), hours=24))
    day = ("2026-01-05T00:00:00+00:00", "2026-01-06T00:00:00+00:00")
    seen = kinds(found, labels=[Label("M1", *day, 0, day[1], "x"), Label("M9", *day, 0, day[1], "x")])
    assert {("balance", "labels"), ("labels", "labels")} <= seen


def test_a_unit_on_two_sides_of_a_split_is_refused() -> None:
    """A split that leaks is an error that names the unit and both sides."""
    with pytest.raises(SplitError, match="M1 stands in train and in test"):
        Split(("M1", "M2"), ("M3",), ("M1",))


def test_the_report_is_one_page_and_its_exit_code_tells_errors(make, capsys: pytest.CaptureFixture[str]) -> None:
    """`lineside data report` writes HTML with plots inside; exit code 1 where something is wrong, 0 otherwise."""
    root: Path = make(machines=("M1", "M2", "M3"), hours=48)
    assert main(["data", "report", str(root)]) == 0
    page = (root / "quality.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page.replace("http-equiv", "")
    victim = next(root.glob("day=*/tags-*.parquet"))
    victim.write_bytes(victim.read_bytes()[:100])
    assert main(["data", "report", str(root)]) == 1
    assert victim.name in capsys.readouterr().out
