"""OpenTelemetry traces of batches, from the end of their windows to the hosted nodes: off unless a collector is named.

One trace per batch, written when it is over: ``lineside.batch`` from the end of its first window, and below it ``wait``
(for samples that are late, for company, for a slot), ``dispatch`` (broker and queueing), within that ``inference``, and
``publish``. What they tell of the worker is in the answer, so workers need no OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineside_gateway.errors import LinesideError
from lineside_gateway.settings.services import TracingSettings

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

SCOPE = "lineside.gateway"


class TracingError(LinesideError):
    """Traces are asked for and cannot be made; install what the message names, or drop ``tracing.endpoint``."""


@dataclass(frozen=True, slots=True)
class Travel:
    """One batch's way, in wall-clock nanoseconds since 1970. ``meta`` is the answer's, empty where none came."""

    task: str
    status: str
    equipment_ids: tuple[str, ...]
    ended_ns: int
    sent_ns: int
    answered_ns: int
    published_ns: int
    meta: Mapping[str, object]


class Traces:
    """Writes spans with the tracer of ``provider``."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(SCOPE)

    def batch(self, travel: Travel) -> None:
        """Write the spans of one batch; the exporter sends them from a thread of its own."""
        begun = min(travel.ended_ns, travel.sent_ns)
        attributes: dict[str, Any] = {
            "lineside.task": travel.task,
            "lineside.status": travel.status,
            "lineside.windows": len(travel.equipment_ids),
            "lineside.equipment_ids": travel.equipment_ids,
        }
        root = self._tracer.start_span("lineside.batch", start_time=begun, attributes=attributes)
        self._child(root, "wait", begun, travel.sent_ns)
        inference_ns = min(_inference_ns(travel.meta), travel.answered_ns - travel.sent_ns)
        dispatch = self._child(root, "dispatch", travel.sent_ns, travel.answered_ns)
        if inference_ns:
            about = {k: v for k in ("worker", "attempts") if isinstance(v := travel.meta.get(k), str | int)}
            self._child(dispatch, "inference", travel.answered_ns - inference_ns, travel.answered_ns, about)
        self._child(root, "publish", travel.answered_ns, travel.published_ns)
        root.end(travel.published_ns)

    def close(self) -> None:
        """Send what is left."""
        shutdown = getattr(self._provider, "shutdown", None)
        if shutdown is not None:
            shutdown()

    def _child(
        self, parent: Any, name: str, start_ns: int, end_ns: int, attributes: Mapping[str, Any] | None = None
    ) -> Any:
        from opentelemetry.trace import set_span_in_context  # noqa: PLC0415 - an extra; here only where it is on

        span = self._tracer.start_span(
            name, context=set_span_in_context(parent), start_time=start_ns, attributes=attributes
        )
        span.end(end_ns)
        return span


def traces_of(settings: TracingSettings, gateway_id: str) -> Traces | None:
    """Traces to the collector of ``settings``; None where none is named.

    Raises:
        TracingError: OpenTelemetry is not installed.
    """
    if settings.endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider as SdkProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as e:
        raise TracingError(
            f"tracing.endpoint {settings.endpoint} needs OpenTelemetry: pip install 'lineside[otel]', or leave it out"
        ) from e
    resource = Resource.create({"service.name": "lineside-gateway", "service.instance.id": gateway_id})
    provider = SdkProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint)))
    return Traces(provider)


def _inference_ns(meta: Mapping[str, object]) -> int:
    seconds = meta.get("inference_s")
    return round(1e9 * seconds) if isinstance(seconds, int | float) else 0
