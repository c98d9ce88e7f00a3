"""Traces of batches with OpenTelemetry's own in-memory exporter."""

from __future__ import annotations

import sys

import pytest

from lineside_gateway.runtime.traces import Traces, TracingError, Travel, traces_of
from lineside_gateway.settings.services import TracingSettings

pytest.importorskip("opentelemetry.sdk", reason="needs OpenTelemetry: pip install 'lineside[otel]'")

S = 1_000_000_000
TRAVEL = Travel(
    "maintenance", "answered", ("M1", "M2"), ended_ns=10 * S, sent_ns=11 * S, answered_ns=14 * S, published_ns=15 * S,
    meta={"inference_s": 0.5, "worker": "gpu-1", "attempts": 1},
)  # fmt: skip


def spans(travel: Travel) -> dict[str, object]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    traces = Traces(provider)
    traces.batch(travel)
    traces.close()
    return {span.name: span for span in kept.get_finished_spans()}


def test_a_batch_is_one_trace_from_its_windows_end_to_its_nodes() -> None:
    """Waiting, dispatch with the worker's inference inside, and publishing, each with its own times."""
    found = spans(TRAVEL)
    assert {n: ((s.start_time - 10 * S) / S, (s.end_time - 10 * S) / S) for n, s in found.items()} == {
        "lineside.batch": (0, 5),
        "wait": (0, 1),
        "dispatch": (1, 4),
        "inference": (3.5, 4),
        "publish": (4, 5),
    }
    assert len({s.context.trace_id for s in found.values()}) == 1
    assert found["inference"].parent.span_id == found["dispatch"].context.span_id
    assert found["publish"].parent.span_id == found["lineside.batch"].context.span_id
    assert found["inference"].attributes["worker"] == "gpu-1"
    assert found["lineside.batch"].attributes["lineside.windows"] == 2


def test_a_batch_that_nobody_answered_has_no_inference() -> None:
    """Its trace says how it ended."""
    found = spans(Travel("maintenance", "expired", ("M1",), 10 * S, 11 * S, 14 * S, 14 * S, {}))
    assert "inference" not in found
    assert found["lineside.batch"].attributes["lineside.status"] == "expired"


def test_tracing_is_off_unless_a_collector_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off needs no OpenTelemetry; on without it is one sentence with the next step."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    assert traces_of(TracingSettings(), "gw") is None
    with pytest.raises(TracingError, match=r"pip install 'lineside\[otel\]'"):
        traces_of(TracingSettings(endpoint="http://127.0.0.1:4318/v1/traces"), "gw")
