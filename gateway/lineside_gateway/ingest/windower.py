"""Watermarks in, due requests out: the one place where windows close, in the live gateway and in lock-step alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from lineside_gateway.ingest.binding import Binding, Request
from lineside_gateway.ingest.bound import BoundTask, Step
from lineside_gateway.ingest.history import NEVER_US
from lineside_gateway.ingest.table import TagTable
from lineside_gateway.ledger import Ledger
from lineside_plugins.contract import Scope

HOUR_US = 3_600_000_000  # replaced record lists stay as long, for equipment whose watermark lags


def _waiting(tasks: Sequence[BoundTask]) -> int:
    return sum(t.waiting for t in tasks)


class Windower:
    """Closes the windows of all bindings over one table, in event time.

    Bind when the tags are registered: equipment that lacks what a task requires is not bound (``unbound``).
    Nothing here reads a clock; the caller says how far event time has come. Same thread as the table.
    """

    def __init__(
        self, table: TagTable, bindings: Sequence[Binding], ledger: Ledger | None = None, first_id: int = 1
    ) -> None:
        self._table = table
        self._ledger = ledger or Ledger()
        self._next_id = first_id
        self._tasks: list[BoundTask] = []
        self._marks: dict[str, int] = {}
        self._line_us = self._line_goal = NEVER_US
        self._span_us, self._reach_us = HOUR_US, 0
        self._begin_us: dict[str, int] = {}
        for binding in bindings:
            self._add(binding)

    def bind(self, binding: Binding) -> None:
        """Add a binding while running: equipment that has come up later, its tags registered by now.

        A task of ``Scope.LINE`` has one binding, so a new one takes the place of the former, with the windows that
        waited there.
        """
        former = [t for t in self._tasks if t.binding.task == binding.task and binding.inputs.scope is Scope.LINE]
        for task in former:
            self._tasks.remove(task)
        self._add(binding, former)

    def begin(self, equipment_id: str, from_us: int) -> None:
        """Close windows of this equipment after ``from_us`` only: its samples up to there are history.

        They fill windows and make none due, neither by a period nor by a change. Say so before the equipment's
        watermark gets there.
        """
        self._begin_us[equipment_id] = max(from_us, self._begin_us.get(equipment_id, NEVER_US))

    def _add(self, binding: Binding, former: Sequence[BoundTask] = ()) -> None:
        tally = self._ledger.task(binding.task).windows
        task = BoundTask(binding, self._table, tally, self._begin_us)
        self._tasks.append(task)
        for other in former:
            task.take_over(other)
        tally.waiting = partial(_waiting, [t for t in self._tasks if t.binding.task == binding.task])
        if task.grid is not None:
            self._span_us = min(self._span_us, (task.grid.chunk - 1) * task.grid.base_us)
            self._reach_us = max(self._reach_us, task.grid.per_cell * task.grid.base_us)

    @property
    def bound(self) -> dict[str, tuple[str, ...]]:
        """Equipment of each task that is bound."""
        out: dict[str, tuple[str, ...]] = {}
        for t in self._tasks:
            out[t.binding.task] = out.get(t.binding.task, ()) + t.equipment_ids
        return out

    @property
    def unbound(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """(task, equipment, tags it lacks) for equipment that a binding names but a task cannot use."""
        return [(t.binding.task, e, tags) for t in self._tasks for e, tags in t.missing.items()]

    def close(self, watermarks: int | Mapping[str, int]) -> list[Request]:
        """Settle samples up to the watermarks and return the requests that are due, ordered by end, task, equipment.

        ``watermarks``: event time in us since 1970 up to which all samples of a piece of equipment have arrived; one
        number for all, or one per piece of equipment. A silent server keeps its watermark and holds up its own
        equipment only: the line's watermark is the latest of all given, so names that are no equipment here (the
        MES) may be among them. Calling again with the same watermarks closes what records added since made due.
        """
        if not isinstance(watermarks, Mapping):
            self._line_goal = max(self._line_us, int(watermarks))
            watermarks = dict.fromkeys(self._table.equipment_ids, int(watermarks))
        else:
            self._line_goal = max([self._line_us, *watermarks.values()])
        goal = {e: max(m, self._marks.get(e, NEVER_US)) for e, m in watermarks.items()}
        out: list[Request] = []
        while True:
            edge = self._edge(goal)
            # The history of equipment that has come up late is stepped through while the others stay where they are.
            marks = {e: max(min(m, edge), self._marks.get(e, NEVER_US)) for e, m in goal.items()}
            out += self._step(marks, min(edge, self._line_goal))
            if edge >= self._line_goal:
                return out

    def _edge(self, goal: Mapping[str, int]) -> int:
        """How far to go in one step: all the way, or as far as the grids take at once, past silent stretches."""
        moving = [e for e, m in goal.items() if m > self._marks.get(e, NEVER_US) and self._table.knows(e)]
        starts = [self._marks.get(e, NEVER_US) for e in moving]
        if not moving or self._line_goal - min(starts) <= self._span_us:
            return self._line_goal
        waiting, settled = self._table.waiting_since_us(moving), self._table.settled_us(moving)
        anchors: list[int] = []
        for e, mark, first, seen in zip(moving, starts, waiting, settled, strict=True):
            quiet = mark == NEVER_US or seen is None or seen + self._reach_us < mark
            anchors.append(mark if not quiet else goal[e] if first is None else max(mark, first - 1))
        return min(self._line_goal, min(anchors) + self._span_us)

    def _step(self, marks: dict[str, int], line_us: int) -> list[Request]:
        step = Step(self._marks, self._marks | marks, self._line_us, max(self._line_us, line_us))
        self._table.streams.prune(self._line_us - HOUR_US)
        block = self._table.settle(marks)
        changes = self._table.changes()
        arrivals = self._table.streams.arrivals(step.line_us)
        due: list[tuple[int, int, int, str, str]] = []
        for order, task in enumerate(self._tasks):
            task.take(block, step)
            task.trigger(changes, arrivals, step)
            due += [(end, order, place, key, cause) for end, place, key, cause in task.due(step)]
        self._marks, self._line_us = dict(step.marks), step.line_us
        return self._requests(sorted(due))

    def _requests(self, due: Sequence[tuple[int, int, int, str, str]]) -> list[Request]:
        out: list[Request] = []
        for end_us, order, _, key, cause in due:
            task = self._tasks[order]
            request = task.close(key, end_us, cause, self._next_id)
            if request is not None:
                self._next_id += 1
                self._ledger.task(request.task).close(request.id)
                out.append(request)
        return out
