"""The arithmetic of docs/scale.md, and the page that is made of it."""

from pathlib import Path

import pytest

from benchmarks.broker import plan
from benchmarks.broker.__main__ import Row, SiteRow, write
from lineside_gateway.dispatch import MAX_IN_FLIGHT

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def test_a_million_tags_every_ten_seconds() -> None:
    """41,667 machines are 4,167 windows and 130 batches a second, of 0.4 megabytes each."""
    million = plan.Plan(1_000_000, 100, 10.0)
    assert million.gateways == 20
    assert million.windows_per_s == pytest.approx(4166.7, abs=0.1)
    assert million.batches_per_s == pytest.approx(130.2, abs=0.1)
    assert million.claim_bytes == 405_504
    assert million.cores(500.0) == pytest.approx(0.065, abs=0.001)
    assert million.brokers(500.0) == 1
    assert plan.Plan(1_000_000, 100, 1.0).brokers(500.0) > 1
    assert plan.IN_FLIGHT == MAX_IN_FLIGHT


def test_the_page_holds_the_tables_and_is_written_again_in_place(tmp_path: Path) -> None:
    """Between its marks alone, as often as it is run."""
    page = tmp_path / "scale.md"
    page.write_text(PAGE.read_text())
    rows = [Row("batches of 32", 1.0, 32.0, 0.5, 500.0, 1.0, 2.0, 3.0, 2000.0)]
    sites = [SiteRow(130.0, 3400, 5000.0, 0.1, 20.0, 1.0, 2.0, 3.0, 4.0, 0)]
    write(rows, sites, page)
    once = page.read_text()
    write(rows, sites, page)
    assert page.read_text() == once
    assert "| batches of 32 | 1.0 |" in once
    assert "at the 500 us per batch" in once
    assert "| 130.0 | 3,400 |" in once
    assert PAGE.read_text().count("| gateways that lead") == 1
