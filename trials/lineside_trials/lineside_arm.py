"""The Lineside arm of a trial: installed tasks with their shipped models, in lock-step with one plant or several."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asyncua import ua

from lineside_gateway.demo import REFPLANT_SETTINGS
from lineside_gateway.guard.envelope import target
from lineside_gateway.guard.guard import Guard
from lineside_gateway.ingest import TagTable
from lineside_gateway.opcua.delivery import Equipment
from lineside_gateway.opcua.plan import wanted_tags
from lineside_gateway.runtime.tasks import BoundTask, bind_tasks
from lineside_gateway.settings import Settings, load_settings
from lineside_plant import MACHINES, Observe, Plant, external_policy, tags_of
from lineside_trials.arms import Replication
from lineside_trials.in_process import InProcessLink, equipment_of
from lineside_trials.lockstep import LockStep, build, run_together
from lineside_workers.hosting.runner import Runner


@dataclass(frozen=True, slots=True)
class Advisers:
    """Tasks as the settings bind them, with their models loaded. One per process."""

    settings: Settings
    tasks: Mapping[str, BoundTask]
    runners: Mapping[str, Runner]

    @property
    def tags(self) -> dict[str, frozenset[str]]:
        """The bound tags that each machine has."""
        wanted = set(wanted_tags(self.settings, {n: t.inputs for n, t in self.tasks.items()}))
        return {m: frozenset(t.name for t in tags_of(m) if t.name in wanted) for m in MACHINES}

    def for_one_plant(self) -> dict[str, Runner]:
        """Runners for one run of one plant, which knows nothing of any other.

        A task that reads windows or snapshots is shown synthetic ones at its start and so has to be free of memory;
        its runner is shared. A task that reads records only may remember a line: it gets a runner of its own.

        Raises:
            TaskError, WorkerError: A task cannot be used.
        """
        own = {n: t for n, t in self.tasks.items() if t.inputs.window is None and not t.inputs.snapshot}
        return {**self.runners, **_load(own)}


def load_advisers(settings_file: Path | None = None) -> Advisers:
    """Bind and load every task of the settings (default: those of the demo).

    Raises:
        SettingsError: The file cannot be used.
        TaskError, WorkerError: A task or its model cannot be used.
    """
    settings = load_settings(settings_file or REFPLANT_SETTINGS)
    found = bind_tasks(settings)
    return Advisers(settings, found.tasks, _load(found.tasks))


def _load(tasks: Mapping[str, BoundTask]) -> dict[str, Runner]:
    runners = {name: Runner(name, task.settings.config, device="cpu") for name, task in tasks.items()}
    for runner in runners.values():
        runner.load()
    return runners


def allow_writes(guard: Guard, advisers: Advisers, equipment: list[Equipment]) -> None:
    """Put every tag that a binding writes on the guard's list, with the envelope its node declares."""
    for task in advisers.tasks.values():
        for rule in task.settings.write:
            for machine in equipment:
                for tag in rule.set:
                    node = machine.tags.get(tag)
                    if node is not None and node.writable and isinstance(node.data_type, ua.VariantType):
                        guard.allow(target(machine.id, tag, node.data_type.name, node.eu_range, rule.limits.get(tag)))


def in_lockstep(replication: Replication, advisers: Advisers) -> LockStep:
    """Lineside over a fresh plant of ``replication``, in this process, ready to run."""
    plant = Plant(
        replication.spec(),
        replication.run_seed,
        external_policy(),
        horizon_h=replication.horizon_h,
        warmup_h=replication.warmup_h,
        observe=Observe.FULL,
    )
    table, tags, settings = TagTable(), advisers.tags, advisers.settings
    equipment = equipment_of(tags)
    link = InProcessLink(plant, table, tags, settings.job_control.server if settings.job_control else "")
    loop = build(link, table, equipment, advisers.tasks, advisers.for_one_plant(), settings)
    allow_writes(loop.guard, advisers, equipment)
    return loop


def run_lineside_arm(
    replications: Sequence[Replication], advisers: Advisers, progress: Callable[[float], None] | None = None
) -> list[dict[str, float]]:
    """KPIs of each plant under Lineside's recommendations, all of one horizon, run side by side.

    A replication's KPIs do not depend on which others run beside it. ``progress`` hears the plant time (s) of each.
    """

    async def run() -> list[dict[str, float]]:
        loops = [in_lockstep(r, advisers) for r in replications]
        await run_together(loops, replications[0].horizon_h * 3600.0, progress)
        return [dict(await loop.link.kpis()) for loop in loops]

    return asyncio.run(run())
