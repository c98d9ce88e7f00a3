"""KPIs of a run, counted from the end of the warm-up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kpis:
    """The seven KPIs. All but ``kwh_per_good_part`` are shares; NaN where nothing was counted yet.

    ``oee``: time the shipped good parts take at the highest mill speed / (2 mills x counted time).
    ``defects_made``: of parts made. ``defects_escaped``: of parts shipped. ``unplanned_downtime`` (failures, trips,
    tool breaks, waiting for the crew included) and ``total_downtime`` (also maintenance and tool changes): of
    5 machines x counted time. ``on_time_delivery``: of job orders shipped or overdue, those shipped by their due time.
    """

    oee: float
    defects_made: float
    defects_escaped: float
    unplanned_downtime: float
    total_downtime: float
    on_time_delivery: float
    kwh_per_good_part: float


@dataclass(slots=True)
class Counts:
    """Raw counts behind the KPIs, from the end of the warm-up."""

    made: int = 0
    defects: int = 0
    dimension_defects: int = 0
    porosity_defects: int = 0
    shipped: int = 0
    escaped: int = 0
    good: int = 0
    ideal_s: float = 0.0
    inspected: int = 0
    rejected: int = 0
    false_scrap: int = 0
    orders_ended: int = 0
    orders_on_time: int = 0
    orders_overdue: int = 0
    failures: int = 0
    maintenances: int = 0
    trips: int = 0
    tool_breaks: int = 0
    tool_changes: int = 0
    setup_s: float = 0.0
    unplanned_s: float = 0.0
    planned_s: float = 0.0
    kwh: float = 0.0


class Ledger:
    """Knows which part of plant time counts and holds the counts."""

    def __init__(self, warmup_s: float, horizon_s: float) -> None:
        self.warmup_s = warmup_s
        self.horizon_s = horizon_s
        self.counts = Counts()

    def counted(self, now_s: float) -> bool:
        """Whether something that happens at ``now_s`` counts."""
        return self.warmup_s <= now_s <= self.horizon_s

    def overlap_s(self, start_s: float, end_s: float) -> float:
        """Seconds of ``[start_s, end_s]`` that count."""
        start_s = max(start_s, self.warmup_s)
        end_s = min(end_s, self.horizon_s)
        return end_s - start_s if end_s > start_s else 0.0


def kpis_of(counts: Counts, counted_s: float, mills: int, machines: int) -> Kpis:
    """KPIs of ``counts`` gathered over ``counted_s`` seconds."""
    return Kpis(
        oee=_share(counts.ideal_s, mills * counted_s),
        defects_made=_share(counts.defects, counts.made),
        defects_escaped=_share(counts.escaped, counts.shipped),
        unplanned_downtime=_share(counts.unplanned_s, machines * counted_s),
        total_downtime=_share(counts.unplanned_s + counts.planned_s, machines * counted_s),
        on_time_delivery=_share(counts.orders_on_time, counts.orders_ended + counts.orders_overdue),
        kwh_per_good_part=_share(counts.kwh, counts.good),
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")
