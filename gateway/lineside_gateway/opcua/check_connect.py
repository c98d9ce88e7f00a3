"""What is wrong with a settings file against the running servers: reachable, trusted, tags found, type and unit."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Iterable, Mapping

from lineside_gateway.errors import ConnectError, JobControlError, NodeError
from lineside_gateway.opcua.check import Tasks, create_tasks
from lineside_gateway.opcua.connection import Connection
from lineside_gateway.opcua.delivery import Equipment
from lineside_gateway.opcua.events import event_source
from lineside_gateway.opcua.finding import Finding, by_severity, error, fine, warning
from lineside_gateway.opcua.job_control import open_job_control
from lineside_gateway.opcua.nodes import find, resolve
from lineside_gateway.opcua.plan import ServerPlan, plan_servers, written_tags
from lineside_gateway.opcua.security import Pki
from lineside_gateway.opcua.session import Session
from lineside_gateway.opcua.units import same_unit
from lineside_gateway.settings import Settings, TaskSettings
from lineside_plugins.contract import Inputs

REQUEST_TIMEOUT_S = 5.0


async def check_connect(settings: Settings, pki: Pki) -> list[Finding]:
    """Connect to every server at once, and look for everything the settings and their tasks want there."""
    tasks, _ = create_tasks(settings)
    inputs = {name: task.inputs() for name, task in tasks.items()}
    plans = plan_servers(settings, inputs)
    checks = [_check_server(plan, settings, tasks, inputs, pki) for plan in plans.values()]
    found: list[Finding] = []
    seen: list[Equipment] = []
    for findings, equipment in await asyncio.gather(*checks):
        found += findings
        seen += equipment
    for task in settings.tasks:
        if task.task in tasks and seen and not any(_applies(task, e, inputs[task.task]) for e in seen):
            needs = ", ".join(inputs[task.task].requires) or "no particular tag"
            found.append(
                error(f"task {task.task}", f"applies to no equipment; it needs {needs}", "check equipment, tags")
            )
    return by_severity(found)


async def _check_server(
    plan: ServerPlan, settings: Settings, tasks: Tasks, inputs: Mapping[str, Inputs], pki: Pki
) -> tuple[list[Finding], list[Equipment]]:
    where = f"server {plan.server.name}"
    timeout = min(plan.server.request_timeout_s, REQUEST_TIMEOUT_S)
    server = plan.server.model_copy(update={"request_timeout_s": timeout})
    try:
        async with Session(server, pki).connect() as connection:
            found = [fine(where, f"connected to {server.url}, {server.security.policy}")]
            found += await _check_roots(connection, plan)
            equipment = await resolve(connection, plan.equipment)
            for task in settings.tasks:
                if task.task in tasks:
                    found += [f for e in equipment for f in _check_tags(task, inputs[task.task], e)]
            found += await _check_feeds(connection, plan)
            return found, equipment
    except ConnectError as e:
        return [error(where, e.sentence)], []


async def _check_roots(connection: Connection, plan: ServerPlan) -> list[Finding]:
    out: list[Finding] = []
    for want in plan.equipment:
        where = f"equipment {want.entry.id or want.entry.browse}"
        try:
            found = await find(connection, want.entry.browse)
        except NodeError as e:
            out.append(error(where, e.sentence, f"look with 'lineside browse {plan.server.url}'"))
            continue
        names = ", ".join(f.name for f in found)
        out.append(fine(where, f"'{want.entry.browse}' is {names}"))
    return out


def _applies(task: TaskSettings, equipment: Equipment, inputs: Inputs) -> bool:
    return _named(task, equipment) and all(t in equipment.tags for t in inputs.requires)


def _named(task: TaskSettings, equipment: Equipment) -> bool:
    return any(fnmatch.fnmatchcase(equipment.id, p) for p in task.equipment_patterns)


def _why_not(where: str, inputs: Inputs, equipment: Equipment) -> Iterable[Finding]:
    """Why a task that is bound to this equipment does not run there: nothing of what it needs, or not all of it."""
    lacking = [t for t in inputs.requires if t not in equipment.tags]
    if len(lacking) == len(inputs.requires) and not equipment.unfit:
        yield fine(where, f"does not apply: none of {', '.join(lacking)} is there")
        return
    for tag in lacking:
        say = error if tag in equipment.unfit else warning
        yield say(f"{where}.{tag}", equipment.missing.get(tag, "not found"), "the task does not run there without it")


def _check_tags(task: TaskSettings, inputs: Inputs, equipment: Equipment) -> Iterable[Finding]:
    """Tags of one task on one piece of equipment; silent where the task does not apply to it."""
    where = f"task {task.task}, {equipment.id}"
    if not _applies(task, equipment, inputs):
        if _named(task, equipment):
            yield from _why_not(where, inputs, equipment)
        return
    for channel in inputs.window.channels if inputs.window is not None else ():
        node = equipment.tags.get(channel.tag)
        if node is None:
            cause = equipment.missing.get(channel.tag, "not found")
            yield (warning if channel.optional else error)(f"{where}.{channel.tag}", cause)
        elif channel.unit and node.unit and not same_unit(channel.unit, node.unit):
            what = f"{node.address} is in {node.unit}; the task expects {channel.unit}"
            yield error(f"{where}.{channel.tag}", what, "convert in the PLC, or map another tag")
        elif channel.unit and not node.unit:
            what = f"{node.address} states no EngineeringUnits; the task expects {channel.unit}"
            yield warning(f"{where}.{channel.tag}", what, "make sure of the unit")
    for tag in (*inputs.snapshot, *inputs.trigger.on_change):
        if tag not in equipment.tags:
            yield warning(f"{where}.{tag}", equipment.missing.get(tag, "not found"))
    yield from _check_writes(where, task, equipment)


def _check_writes(where: str, task: TaskSettings, equipment: Equipment) -> Iterable[Finding]:
    targets = {t for w in task.write for t in w.set}
    for tag in written_tags(task):
        node = equipment.tags.get(tag)
        if node is None:
            yield error(f"{where}.{tag}", equipment.missing.get(tag, "not found"))
        elif tag in targets and not node.writable:
            yield error(f"{where}.{tag}", f"{node.address} is not writable for this user", "give the user the right")


async def _check_feeds(connection: Connection, plan: ServerPlan) -> list[Finding]:
    out: list[Finding] = []
    if plan.job_control is not None:
        try:
            control = await open_job_control(connection, plan.job_control)
            out.append(fine("job_control", f"'{plan.job_control.browse}' is a job order receiver"))
            out += [error("job_control", f"no counter '{c}' there") for c in plan.job_tags if control.node(c) is None]
        except JobControlError as e:
            out.append(error("job_control", e.sentence.removeprefix("job_control: ")))
    for source in plan.events:
        try:
            await event_source(connection, source)
            out.append(fine("events", f"{source.node} of server '{plan.server.name}' has the fields"))
        except NodeError as e:
            out.append(error("events", e.sentence))
    return out
