"""What the settings allow each bound task to do, in the guard's terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lineside_gateway.guard.effects import JobOrderNow
from lineside_gateway.guard.policy import JOB_CONTROL, Policy
from lineside_gateway.opcua.delivery import Equipment
from lineside_gateway.runtime.tasks import BoundTask
from lineside_plugins.contract import Scope
from lineside_plugins.types import Record


def policy(task: BoundTask, equipment: Iterable[Equipment], line_id: str, job_control: str = JOB_CONTROL) -> Policy:
    """The guard's policy of ``task``; a line task may give orders to any equipment it is bound to.

    ``job_control`` is the name under which the job order receiver's counters are delivered.
    """
    ids = frozenset(e.id for e in equipment if task.applies_to(e))
    line = task.inputs.scope is Scope.LINE
    return Policy(
        task=task.name,
        mode=task.settings.mode,
        flag=task.outputs.flag,
        deadline_s=task.inputs.deadline_s,
        equipment_ids=frozenset({line_id}) if line else ids,
        write=task.settings.write,
        min_quality=task.settings.min_quality,
        acknowledge_within_s=task.settings.acknowledge_within_s,
        assignable=ids if line else frozenset(),
        job_control=job_control or JOB_CONTROL,
    )


def orders_now(rows: Iterable[Record]) -> Mapping[str, JobOrderNow]:
    """What the MES holds for each order that can still be updated, from its records."""
    return {
        str(r["job_order_id"]): JobOrderNow(int(str(r.get("priority") or 0)), str(r.get("equipment") or "") or None)
        for r in rows
        if r.get("state") == "AllowedToStart"
    }
