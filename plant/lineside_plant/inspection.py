"""The end-of-line check: what the bench inspects, what ships, what is scrapped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lineside_plant.events import EventKind, Journal, PlantEvent, time_us
from lineside_plant.kpis import Ledger
from lineside_plant.mills import Mill, Part, Stage
from lineside_plant.orders import OrderBook
from lineside_plant.policies import Inspection, Policy
from lineside_plant.spec import PlantSpec
from lineside_plant.streams import Draws

CAMPAIGN_TEXT = "labelling campaign"
"""``text`` of an inspection made for labels only: it neither scrapped the part nor corrected the mill."""


class Bench:
    """The inspection effort of the plant: a token bucket that earns ``inspection_share`` per part."""

    def __init__(self, spec: PlantSpec) -> None:
        self._spec = spec
        self._tokens = 0.0

    def earn(self) -> None:
        """A part has come by."""
        self._tokens = min(self._spec.bench_tokens, self._tokens + self._spec.inspection_share)

    def spend(self, reserve: float = 0.0) -> bool:
        """Use one token if one is there after leaving ``reserve``."""
        if self._tokens < 1.0 + reserve - 1e-9:
            return False
        self._tokens -= 1.0
        return True


@dataclass(frozen=True, slots=True)
class Campaign:
    """A share of parts that are measured for labels, whatever the policy inspects."""

    share: float
    draws: Draws


class EndOfLine:
    """Checks every part that comes off the conveyor and keeps the list of serial numbers still in the line."""

    def __init__(
        self,
        spec: PlantSpec,
        policy: Policy,
        orders: OrderBook,
        *,
        ledger: Ledger,
        journal: Journal,
        campaign: Campaign,
    ) -> None:
        self._spec = spec
        self._policy = policy
        self._ledger = ledger
        self._journal = journal
        self._orders = orders
        self._campaign = campaign
        self._bench = Bench(spec)
        self.in_line: dict[str, Part] = {}
        self.on_offset: Callable[[Mill], None] = _ignore

    def flag(self, serial_no: str, stage: Stage) -> bool:
        """Mark a part for rejection; False when it has left, is unknown or has not passed ``stage`` yet."""
        part = self.in_line.get(serial_no)
        if part is None or part.stage < stage:
            return False
        part.flagged = True
        return True

    def check(self, part: Part, now_s: float) -> None:
        """Decide about ``part``: inspect it or not, then ship or scrap it."""
        self._bench.earn()
        bad = part.bad
        counted = self._ledger.counted(now_s)
        if counted:
            self._count_made(part, bad)
        if self._policy.inspection is Inspection.ORACLE and bad:
            part.flagged = True
        sampled = not part.flagged and part.sample_u < self._spec.inspection_share
        inspected = (part.flagged and self._bench.spend()) or (sampled and self._bench.spend(self._reserve()))
        if inspected:
            self._inspect(part, bad, now_s)
        if self._campaign.share and self._campaign.draws() < self._campaign.share and not inspected:
            self._report(part, part.dimension_um + self._spec.gauge_um * part.gauge_z, bad, now_s, CAMPAIGN_TEXT)
        scrap = (inspected and bad) or (part.flagged and not inspected)
        if counted:
            self._count_fate(part, bad, scrap, inspected)
        self.leave(part, now_s)

    def leave(self, part: Part, now_s: float) -> None:
        """Take ``part`` out of the line and end its job order if it was the last one."""
        self.in_line.pop(part.serial_no, None)
        order = part.order
        if not self._orders.part_left(order):
            return
        late_min = max(0.0, (now_s - order.due_s) / 60.0)
        if self._ledger.counted(now_s):
            self._ledger.counts.orders_ended += 1
            self._ledger.counts.orders_on_time += late_min == 0.0
        self._journal.job_orders_changed = True
        self._journal.events.append(
            PlantEvent(time_us(now_s), EventKind.JOB_ORDER_ENDED, part.mill.name, value=late_min, text=order.id)
        )

    def _reserve(self) -> float:
        return 0.0 if self._policy.inspection is Inspection.SAMPLE else self._spec.bench_reserve

    def _inspect(self, part: Part, bad: bool, now_s: float) -> None:
        measured = part.dimension_um + self._spec.gauge_um * part.gauge_z
        self._report(part, measured, bad, now_s, "flagged" if part.flagged else "sample")
        if part.mill.feed_back(part, measured):
            self.on_offset(part.mill)

    def _report(self, part: Part, measured_um: float, bad: bool, now_s: float, text: str) -> None:
        event = PlantEvent(
            time_us(now_s),
            EventKind.INSPECTION,
            part.mill.name,
            part.serial_no,
            value=measured_um,
            porous=part.porous,
            defect=bad,
            text=text,
        )
        self._journal.events.append(event)

    def _count_made(self, part: Part, bad: bool) -> None:
        counts = self._ledger.counts
        counts.made += 1
        if bad:
            counts.defects += 1
            if part.porous:
                counts.porosity_defects += 1
            else:
                counts.dimension_defects += 1

    def _count_fate(self, part: Part, bad: bool, scrap: bool, inspected: bool) -> None:
        counts = self._ledger.counts
        counts.inspected += inspected
        if scrap:
            counts.rejected += bad
            counts.false_scrap += not bad
            return
        counts.shipped += 1
        counts.escaped += bad
        if not bad:
            counts.good += 1
            counts.ideal_s += self._spec.ideal_cycle_s(part.order.family)


def _ignore(_: Mill) -> None:
    """Nobody listens to compensation changes."""
