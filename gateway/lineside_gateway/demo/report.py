"""What the demo did, as JSON, and whether every kind of recommendation went all the way."""

from __future__ import annotations

from lineside_gateway.demo.observer import PLANT_COUNTERS, Sight
from lineside_gateway.runtime import Status

STEPS = ("published", "written", "read_back", "acted_on")


def build_report(status: Status, sight: Sight, seconds: float, speed: float) -> dict[str, object]:
    """The report; ``ok`` is true when every task was published, written, read back and acted on.

    ``observer`` is what an independent OPC UA client saw: hosted nodes that were Good per task, and the plant's own
    counters of requests it carried out.
    """
    recommendations = {t.name: {step: getattr(t, step) for step in STEPS} for t in status.tasks}
    report: dict[str, object] = {
        "ok": not missing(status, sight),
        "missing": missing(status, sight),
        "seconds": round(seconds, 1),
        "speed": speed,
        "endpoint": status.endpoint,
        "tags_per_s": round(status.tags_per_s, 1),
        "batches": status.batches,
        "first_recommendation_s": None if sight.first_s is None else round(sight.first_s, 2),
        "latency_ms": {t.name: dict(t.latency_ms) for t in status.tasks},
        "recommendations": recommendations,
        "withheld": {t.name: dict(t.withheld) for t in status.tasks},
        "late": {t.name: t.late for t in status.tasks},
        "reasons": {t.name: t.last for t in status.tasks},
        "observer": {"good_nodes": dict(sight.good), "plant_counters": dict(sight.counters)},
        "ledger": dict(status.ledger),
        "workers": list(status.workers),
    }
    return report


def went_all_the_way(status: Status, sight: Sight) -> bool:
    """Whether a recommendation of every task was acted on, and an OPC UA client has seen its node Good."""
    return all(getattr(t, step) for t in status.tasks for step in STEPS) and all(
        sight.good.get(t.name) for t in status.tasks
    )


def missing(status: Status, sight: Sight) -> list[str]:
    """What did not happen, in words; empty when all went all the way."""
    out = []
    for t in status.tasks:
        out += [f"{t.name}: none {step.replace('_', ' ')}" for step in STEPS if not getattr(t, step)]
        if not sight.good.get(t.name):
            out.append(f"{t.name}: an OPC UA client saw no Good node")
        if not any(sight.counters.get(c) for c in PLANT_COUNTERS.get(t.name, ())):
            out.append(f"{t.name}: the plant's own counters show no request carried out")
    if not status.ledger.get("balanced"):
        out.append("the ledger does not balance")
    return out
