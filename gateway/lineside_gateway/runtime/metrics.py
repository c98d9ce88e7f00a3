"""Figures for Prometheus: read once a second on the event loop, served from a thread, free where nobody asks.

Names follow Prometheus: ``lineside_`` first, base units, ``_total`` for what only grows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lineside_gateway.dispatch import CeleryDispatcher
from lineside_gateway.errors import LinesideError
from lineside_gateway.fleet import Member
from lineside_gateway.ingest.pages import EquipmentPage, Pages
from lineside_gateway.ledger import Ledger, Outcome
from lineside_gateway.runtime.pipeline import Pipeline
from lineside_gateway.runtime.service import Service
from lineside_gateway.settings.services import MetricsSettings
from lineside_gateway.store import RequestStore

READ_EVERY_S = 1.0


class MetricsError(LinesideError):
    """The endpoint for metrics cannot be opened."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the figures come from."""

    ledger: Ledger
    dispatcher: CeleryDispatcher
    store: RequestStore
    pipeline: Pipeline
    pages: Pages
    service: Service

    def read(self) -> list[Metric]:
        """All families at this moment; call it on the event loop."""
        ended = CounterMetricFamily("lineside_requests", "Requests by how they ended.", labels=["task", "outcome"])
        closed = CounterMetricFamily("lineside_requests_closed", "Windows that became requests.", labels=["task"])
        pending = GaugeMetricFamily("lineside_requests_pending", "Requests that are open.", labels=["task"])
        effects = CounterMetricFamily("lineside_effects", "What the plant was asked to do.", labels=["task", "effect"])
        for task, ledger in self.ledger.tasks.items():
            closed.add_metric([task], ledger.closed)
            pending.add_metric([task], ledger.pending)
            for outcome in Outcome:
                ended.add_metric([task, outcome.value], ledger.outcomes[outcome])
            for effect, count in ledger.effects.items():
                effects.add_metric([task, effect.value], count)
        waiting = GaugeMetricFamily("lineside_windows_waiting", "Windows that wait for a worker.", labels=["task"])
        age = GaugeMetricFamily("lineside_queue_age_seconds", "Age of the oldest window that waits.", labels=["task"])
        for task, (count, oldest_s) in self.pipeline.waiting(time.monotonic()).items():
            waiting.add_metric([task], count)
            age.add_metric([task], oldest_s)
        return [closed, pending, ended, effects, waiting, age, *self._values(), *self._dispatch(), *self._store()]

    def _values(self) -> Iterable[Metric]:
        values = self.ledger.values
        yield CounterMetricFamily("lineside_values_received", "Values received from servers.", values.received)
        dropped = CounterMetricFamily("lineside_values_dropped", "Values that go no further.", labels=["reason"])
        for reason, count in values.dropped.items():
            dropped.add_metric([reason], count)
        yield dropped
        yield from equipment_metrics(self.pages.equipment())

    def _dispatch(self) -> Iterable[Metric]:
        counts, spent = self.dispatcher.counts, self.dispatcher.spent_s
        batches = CounterMetricFamily("lineside_batches", "Batches by what became of them.", labels=["what"])
        for what, count in counts.items():
            batches.add_metric([what], count)
        yield batches
        seconds = CounterMetricFamily(
            "lineside_batch_seconds",
            "Seconds spent on answered batches: inference, and transfer with queueing at the broker.",
            labels=["part"],
        )
        for part, total in spent.items():
            seconds.add_metric([part], total)
        yield seconds
        yield GaugeMetricFamily("lineside_broker_up", "1 while the broker answers.", int(self.dispatcher.connected))
        yield GaugeMetricFamily("lineside_service_level", "OPC UA ServiceLevel of this gateway.", self.service.level)
        if self.service.member is not None:
            yield from fleet_metrics(self.service.member)

    def _store(self) -> Iterable[Metric]:
        rows = CounterMetricFamily("lineside_store_requests", "Requests by what the store did.", labels=["what"])
        for what, count in self.store.counts.items():
            rows.add_metric([what], count)
        yield rows


def fleet_metrics(member: Member) -> list[Metric]:
    """Who leads each shard, as this member knows it, and how often it has come to lead it itself."""
    labels, leases = ["shard", "member"], member.leases
    leads = GaugeMetricFamily("lineside_shard_led", "1 while this member leads the shard.", labels=labels)
    leader = GaugeMetricFamily("lineside_shard_leader", "1 for the member known to lead the shard.", labels=labels)
    times = CounterMetricFamily("lineside_shard_takeovers", "Times this member came to lead it.", labels=labels)
    for shard in member.shards.names:
        leads.add_metric([shard, member.name], int(leases.leads(shard)))
        times.add_metric([shard, member.name], leases.times_led(shard))
        if holder := leases.holder(shard):
            leader.add_metric([shard, holder], 1)
    return [leads, leader, times]


def equipment_metrics(pages: Mapping[str, EquipmentPage]) -> list[Metric]:
    """The ledger of each piece of equipment; single tags are told by ``lineside status --tags``."""
    labels = ["equipment"]
    values = CounterMetricFamily(
        "lineside_equipment_values", "Samples of numeric tags by what became of them.", labels=[*labels, "fate"]
    )
    pending = GaugeMetricFamily("lineside_equipment_values_pending", "Samples that wait for windows.", labels=labels)
    gaps = CounterMetricFamily("lineside_equipment_gaps", "Gaps that have ended, one per tag and loss.", labels=labels)
    seconds = CounterMetricFamily("lineside_equipment_gap_seconds", "Time in them, summed over tags.", labels=labels)
    still = GaugeMetricFamily("lineside_equipment_open_gaps", "Tags of which values are missing now.", labels=labels)
    for equipment_id, page in pages.items():
        for fate, count in (("received", page.received), ("used", page.used), ("dropped", page.dropped)):
            values.add_metric([equipment_id, fate], count)
        pending.add_metric([equipment_id], page.pending)
        gaps.add_metric([equipment_id], page.gaps)
        seconds.add_metric([equipment_id], page.gap_s)
        still.add_metric([equipment_id], page.open_gaps)
    return [values, pending, gaps, seconds, still]


class _Held(Collector):
    """Hands out what was read last: a scrape comes on a thread of its own."""

    def __init__(self) -> None:
        self.families: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        return self.families


async def serve_metrics(settings: MetricsSettings, source: Source) -> None:
    """Serve ``/metrics`` until cancelled; returns at once where the settings name no port.

    Raises:
        MetricsError: The port cannot be opened.
    """
    if settings.port is None:
        return
    held, registry = _Held(), CollectorRegistry()
    held.families = source.read()
    registry.register(held)
    try:
        server, thread = start_http_server(settings.port, settings.host, registry)
    except OSError as e:
        raise MetricsError(
            f"metrics cannot be served on {settings.host}:{settings.port}: {e}; choose another metrics.port"
        ) from e
    try:
        while True:
            held.families = source.read()
            await asyncio.sleep(READ_EVERY_S)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
