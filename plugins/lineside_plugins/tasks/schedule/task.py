"""The schedule task: on change of job orders, machine states or the maintenance forecast, the sequence to run next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import numpy as np

from lineside_plugins.contract import (
    DataType,
    Inputs,
    OutputField,
    Outputs,
    RecordSpec,
    Scope,
    TaskPlugin,
    Trigger,
)
from lineside_plugins.tasks.schedule.advice import Proposal, write_advice
from lineside_plugins.tasks.schedule.config import ScheduleConfig
from lineside_plugins.tasks.schedule.memory import Memory, cause_of
from lineside_plugins.tasks.schedule.problem import Problem, Schedule
from lineside_plugins.tasks.schedule.rules import best_by_rule, keep_agreed
from lineside_plugins.tasks.schedule.situation import View
from lineside_plugins.types import Advice, Kind, ModelData, Record, WindowBatch

DEADLINE_S = 300.0
EFFORT_S = 0.01  # deterministic seconds per unit of effort
Improve = Callable[[Problem, Schedule], Schedule]


class ScheduleTask(TaskPlugin[ScheduleConfig]):
    """Sequences the open job orders on parallel machines; pure arithmetic, nothing learned from recordings."""

    config_type = ScheduleConfig
    needs_model: ClassVar[bool] = False

    def __init__(self, config: ScheduleConfig) -> None:
        """Keep the configuration."""
        super().__init__(config)
        self._memories: dict[str, Memory] = {}
        self._improve: Improve | None = None

    def inputs(self) -> Inputs:
        """Job orders, the machines' states and the maintenance forecast, for the whole line at once."""
        return Inputs(
            trigger=Trigger(
                on_change=("State",),
                on_records=("job_orders", "recommendations/maintenance"),
                min_interval_s=self.config.min_interval_s,
            ),
            deadline_s=DEADLINE_S,
            records=(
                RecordSpec("job_orders", limit=64, whole_line=True),
                RecordSpec(
                    "equipment",
                    limit=64,
                    whole_line=True,
                    tags=("State", "ActiveFamily", "PartCount", "CycleTime", "SpeedOverride"),
                ),
                RecordSpec("recommendations/maintenance", limit=64, whole_line=True),
                RecordSpec("events", limit=32, whole_line=True, kinds=("failure", "tool_break", "trip")),
            ),
            scope=Scope.LINE,
        )

    def outputs(self) -> Outputs:
        """The sequence, what it costs, and what it cost by the best rule."""
        return Outputs(
            kind=Kind.SCHEDULE,
            flag="flag",
            fields=(
                OutputField("flag", DataType.BOOLEAN, "the MES should take this sequence; False: it has it already"),
                OutputField("sequence", DataType.RECORDS, "open job orders with equipment, priority, start and end"),
                OutputField("objective", DataType.DOUBLE, "cost of the sequence in minutes of setup", "min", low=0),
                OutputField("rule_objective", DataType.DOUBLE, "cost by the best dispatching rule", "min", low=0),
                OutputField("rule", DataType.STRING, "the best dispatching rule"),
                OutputField("changed", DataType.INT32, "job orders whose priority or equipment changes", low=0),
                OutputField("summary", DataType.STRING, "the change in one sentence"),
            ),
        )

    def load(self, model: ModelData | None, device: str) -> None:  # noqa: ARG002  # nothing learned, CPU only
        """Import the solver, unless ``effort`` is 0."""
        if self.config.effort > 0:
            from lineside_plugins.tasks.schedule.solver import Limits, improve  # noqa: PLC0415  # worker only

            limits = Limits(EFFORT_S * self.config.effort, self.config.wall_limit_s)
            self._improve = lambda problem, start: improve(problem, start, limits)

    def recommend(self, batch: WindowBatch) -> Sequence[Advice | None]:
        """A schedule per window; None while nothing has changed that the last one depends on."""
        return [
            self._schedule(self._memories.setdefault(line, Memory(self.config)), _utc(end), records)
            for line, end, records in zip(batch.equipment_ids, batch.end, batch.records, strict=True)
        ]

    def _schedule(self, memory: Memory, now: datetime, records: Mapping[str, tuple[Record, ...]]) -> Advice | None:
        view = View.of(now, records)
        line = memory.observe(view)
        cause, agreed = cause_of(view, self.config), view.agreed(self.config.machines)
        if not memory.needs_schedule(view, cause, agreed):
            return None
        problem, rows = line.problem(view)
        if not problem.orders:
            return None
        rule, by_rule = best_by_rule(problem)
        best = self._improve(problem, by_rule) if self._improve is not None else by_rule
        proposal = Proposal(view.now, problem, rows, keep_agreed(problem), rule, by_rule, best)
        names = tuple(tuple(problem.orders[i].id for i in s) for s in best.sequences)
        memory.solved(view, cause, agreed, names)
        return write_advice(proposal, self.config)


def _utc(time: np.datetime64) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(time.astype(np.int64)))
