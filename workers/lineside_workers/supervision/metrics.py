"""Figures of one worker process for Prometheus, read when it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lineside_workers.errors import WorkerError
from lineside_workers.requests.figures import Figures
from lineside_workers.watching.side_by_side import Pair

Compared = tuple[str, str, str]
"""Task, version and stage."""
_BESIDE = {
    "windows": "Windows that a version in shadow or canary was asked about.",
    "both": "Of those, windows that the version in full answered too.",
    "flags_differ": "Of those, windows in which the two differ in their flag.",
    "apart": "Sum of how far their first numbers lie apart.",
}
_SIDES = {
    "abstained": "Windows abstained from.", "flags": "Flags raised.", "failed": "Windows that failed.",
    "seconds": "Seconds spent.",
}  # fmt: skip


class WorkerCollector(Collector):
    """Batches by status, windows, seconds; restarts and the running batch as ``describe`` tells them. Any thread.

    ``compared`` tells how versions in shadow and canary differ from the one in full, by task, version and stage.
    """

    def __init__(
        self,
        figures: Figures,
        describe: Callable[[], Mapping[str, object]],
        compared: Callable[[], Mapping[Compared, Pair]] = dict,
    ) -> None:
        self._figures, self._describe, self._compared = figures, describe, compared

    def collect(self) -> Iterable[Metric]:
        """All families at this moment."""
        figures, row = self._figures, self._describe()
        batches = CounterMetricFamily("lineside_worker_batches", "Batches by status.", labels=["status"])
        for status, count in tuple(figures.batches.items()):
            batches.add_metric([status], count)
        yield batches
        yield CounterMetricFamily("lineside_worker_windows", "Windows in batches that ran.", figures.windows)
        seconds = CounterMetricFamily("lineside_worker_seconds", "Seconds by what they went into.", labels=["part"])
        seconds.add_metric(["inference"], figures.inference_s)
        seconds.add_metric(["answer"], figures.answer_s)
        yield seconds
        yield CounterMetricFamily("lineside_worker_restarts", "Restarts by the supervisor.", _number(row, "restarts"))
        yield GaugeMetricFamily("lineside_worker_busy_seconds", "Age of the running batch.", _number(row, "busy_s"))
        yield from _versions(self._compared())


def _versions(compared: Mapping[Compared, Pair]) -> Iterable[Metric]:
    """What each version in shadow or canary said beside the one in full; side is own or full."""
    names = ["task", "version", "stage"]
    for name, text in _BESIDE.items():
        family = CounterMetricFamily(f"lineside_version_{name}", text, labels=names)
        for key, pair in compared.items():
            family.add_metric(list(key), getattr(pair, name))
        yield family
    for name, text in _SIDES.items():
        family = CounterMetricFamily(f"lineside_version_{name}", text, labels=[*names, "side"])
        for key, pair in compared.items():
            for side, said in (("own", pair.own), ("full", pair.other)):
                family.add_metric([*key, side], getattr(said, name))
        yield family


def serve(port: int, host: str, collector: WorkerCollector) -> None:
    """Serve ``/metrics`` from a daemon thread until the process ends.

    Raises:
        WorkerError: The port cannot be opened.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        start_http_server(port, host, registry)
    except OSError as e:
        raise WorkerError(
            f"metrics cannot be served on {host}:{port}: {e}; choose another LINESIDE_METRICS_PORT"
        ) from e


def _number(row: Mapping[str, object], name: str) -> float:
    return float(str(row.get(name, 0)))
