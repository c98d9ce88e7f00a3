"""One binding at work: its equipment, its grid, its record views and the windows that wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lineside_gateway.ingest.binding import PERIOD, Binding, Request
from lineside_gateway.ingest.grid import Grid, base_cell_us
from lineside_gateway.ingest.history import NEVER_US
from lineside_gateway.ingest.records import Arrival, Selection, iso
from lineside_gateway.ingest.samples import Block
from lineside_gateway.ingest.table import TagChange, TagTable
from lineside_gateway.ingest.triggers import TriggerQueue
from lineside_gateway.ledger import Tally
from lineside_plugins.contract import Aggregate, RecordSpec, Scope
from lineside_plugins.types import BoolArray, FloatArray, Record, SnapshotValue

EQUIPMENT_STREAM = "equipment"
MANY_PERIODS = 64  # a watermark that moves by more periods than this at once is checked for a silent stretch
_NO_VALUES: FloatArray = np.empty((0, 0), np.float32)
_NO_GOOD: BoolArray = np.empty((0, 0), np.bool_)


@dataclass(frozen=True, slots=True)
class Step:
    """One move of the watermarks: from ``before`` to ``marks`` per piece of equipment, and the line's own."""

    before: Mapping[str, int]
    marks: Mapping[str, int]
    line_before_us: int
    line_us: int


class BoundTask:
    """A binding over the equipment that has what the task requires; ``missing`` lists the rest with what it lacks."""

    def __init__(self, binding: Binding, table: TagTable, tally: Tally, begin_us: Mapping[str, int]) -> None:
        """``begin_us`` says per piece of equipment up to where samples are history; read at every step."""
        self.binding = binding
        self._table = table
        self._tally = tally
        self._begin_us = begin_us
        inputs = binding.inputs
        needs = dict.fromkeys(inputs.requires)
        if inputs.window is not None:
            needs.update(dict.fromkeys(c.tag for c in inputs.window.channels if not c.optional))
        lacks = {e: tuple(t for t in needs if not table.has(e, t)) for e in binding.equipment_ids}
        self.missing = {e: tags for e, tags in lacks.items() if tags}
        self.equipment_ids = tuple(e for e in binding.equipment_ids if e not in self.missing)
        line = inputs.scope is Scope.LINE
        self.keys = ((binding.line_id,) if self.equipment_ids else ()) if line else self.equipment_ids
        trigger = inputs.trigger
        self._queues = {k: TriggerQueue(round(trigger.min_interval_s * 1e6)) for k in self.keys}
        self._every_us = round((trigger.every_s or 0.0) * 1e6)
        self._next_us: dict[str, int] = {}
        self._views = {s.stream: table.streams.select(s) for s in inputs.records if s.stream != EQUIPMENT_STREAM}
        self._equipment_view = next((s for s in inputs.records if s.stream == EQUIPMENT_STREAM), None)
        self._bind_window()
        for equipment_id in self.equipment_ids:
            for tag in trigger.on_change:
                table.watch(equipment_id, tag)

    def _bind_window(self) -> None:
        spec = self.binding.inputs.window
        self.grid: Grid | None = None
        self._tags: tuple[str, ...] = () if spec is None else tuple(c.tag for c in spec.channels)
        self._period_s = 0.0 if spec is None else spec.period_s
        self._min_good = max(self.binding.min_good, 0.0 if spec is None else spec.min_good)
        self._places = {e: i for i, e in enumerate(self.equipment_ids)}
        if spec is None or not self.equipment_ids:
            return
        found = [[self._table.index_of(e, c.tag) for c in spec.channels] for e in self.equipment_ids]
        self._rows = np.array([[-1 if i is None else i for i in row] for row in found], np.int64)
        self.grid = Grid(spec, base_cell_us(spec, self.binding.inputs.trigger.every_s), self._rows)
        required = [i for i, c in enumerate(spec.channels) if not c.optional] or list(range(len(spec.channels)))
        live = [i for i in required if spec.channels[i].aggregate is not Aggregate.LAST] or required
        everything = len(required) == len(spec.channels)
        self._required = slice(None) if everything else np.array(required)
        self._live = np.array(live)

    @property
    def waiting(self) -> int:
        """Windows that wait for their time."""
        return sum(map(len, self._queues.values()))

    def take_over(self, former: BoundTask) -> None:
        """Go on with the windows that wait in ``former``, a binding of the same task, which is not used again."""
        queues, next_us, views = former.handed_over()
        for key, queue in queues.items():
            if key in self._queues:
                self._queues[key] = queue
            else:
                self._tally.drop("unbound", len(queue))
        self._next_us |= {k: t for k, t in next_us.items() if k in self._queues}
        for view in views:
            self._table.streams.release(view)

    def handed_over(self) -> tuple[Mapping[str, TriggerQueue], Mapping[str, int], Sequence[Selection]]:
        """Windows that wait and the next period by key, and the record views: what a binding leaves behind."""
        return self._queues, self._next_us, tuple(self._views.values())

    # ---- triggers ------------------------------------------------------------------------------------------------

    def take(self, block: Block, step: Step) -> None:
        """Bring the grid up to the step's watermarks."""
        if self.grid is not None:
            self.grid.add(block)
            self.grid.seal([step.marks.get(e, NEVER_US) for e in self.equipment_ids])

    def trigger(self, changes: Sequence[TagChange], arrivals: Sequence[Arrival], step: Step) -> None:
        """Queue the windows that changes, rows and periods of this step make due."""
        events = self._changed(changes, step) + self._arrived(arrivals, step)
        for time_us, key, cause, exact in sorted(events):
            queue = self._queues[key]
            self._tally.received += queue.change(time_us, cause) if exact else queue.after(time_us, cause)
        if self._every_us:
            for key in self.keys:
                self._periods(key, step)

    def _changed(self, changes: Sequence[TagChange], step: Step) -> list[tuple[int, str, str, bool]]:
        tags = self.binding.inputs.trigger.on_change
        mine = [c for c in changes if c.tag in tags and c.equipment_id in self._places and self._is_live(c)]
        if self.binding.inputs.scope is Scope.EQUIPMENT:
            return [(c.time_us, c.equipment_id, c.tag, True) for c in mine]
        return [(max(c.time_us, step.line_before_us), self.binding.line_id, c.tag, False) for c in mine]

    def _is_live(self, change: TagChange) -> bool:
        return change.time_us > self._begin_us.get(change.equipment_id, NEVER_US)

    def _arrived(self, arrivals: Sequence[Arrival], step: Step) -> list[tuple[int, str, str, bool]]:
        out: list[tuple[int, str, str, bool]] = []
        for a in arrivals:
            if a.stream not in self.binding.inputs.trigger.on_records or not self._sees(a):
                continue
            named = None if a.record is None else str(a.record.get("equipment_id"))
            for key in self.keys:
                if key == self.binding.line_id:
                    out.append((max(a.time_us, step.line_before_us), key, a.stream, False))
                elif named is None or named == key:
                    out.append((max(a.time_us, step.before.get(key, NEVER_US)), key, a.stream, False))
        return out

    def _sees(self, arrival: Arrival) -> bool:
        view = self._views.get(arrival.stream)
        return view is None or arrival.record is None or view.sees(arrival.record)

    def _periods(self, key: str, step: Step) -> None:
        mark = step.line_us if key == self.binding.line_id else step.marks.get(key, NEVER_US)
        if key not in self._next_us:
            first = self._first_us(key, mark)
            if first is None or first > mark:
                return
            self._next_us[key] = -(-first // self._every_us) * self._every_us
        if self.grid is not None and mark - self._next_us[key] > MANY_PERIODS * self._every_us:
            self._skip_silence(key, mark)
        queue, due = self._queues[key], self._next_us[key]
        while due <= mark:
            self._tally.received += queue.at(due, PERIOD)
            due += self._every_us
        self._next_us[key] = due

    def _first_us(self, key: str, mark: int) -> int | None:
        """Where periods begin: at a window's first sample after its history, else no further back than the deadline."""
        begin = self._begin_us.get(key, NEVER_US) + 1
        if self.grid is not None:
            first = self._table.gap(self._rows[self._places[key]])[1]
            return None if first is None else max(first, begin)
        found = [t for t in map(self._table.first_us, self.equipment_ids if key not in self._places else (key,)) if t]
        return max(min(found), mark - round(self.binding.inputs.deadline_s * 1e6), begin) if found else None

    def _skip_silence(self, key: str, mark: int) -> None:
        """Count the periods of a stretch without any sample as stale, without closing each."""
        last, first = self._table.gap(self._rows[self._places[key]])
        period_us = round(self._period_s * 1e6)
        begin = max(self._next_us[key], -(-(last + period_us) // self._every_us) * self._every_us)
        end = mark + 1 if first is None else min(first, mark + 1)
        count = -(-(end - begin) // self._every_us)
        if count > 0 and begin == self._next_us[key]:
            self._tally.received += count
            self._tally.drop("stale_window", count)
            self._next_us[key] = begin + count * self._every_us

    # ---- requests ------------------------------------------------------------------------------------------------

    def due(self, step: Step) -> list[tuple[int, int, str, str]]:
        """What closes now: (end_us, place among the equipment, key, cause)."""
        out: list[tuple[int, int, str, str]] = []
        for place, key in enumerate(self.keys):
            queue = self._queues[key]
            if len(queue):
                mark = step.line_us if key == self.binding.line_id else step.marks.get(key, NEVER_US)
                out.extend((d.end_us, place, key, "+".join(d.causes)) for d in queue.take(mark))
        return out

    def close(self, key: str, end_us: int, cause: str, request_id: int) -> Request | None:
        """The request, or None with the reason counted: no history, a stale or a poor window."""
        inputs = self.binding.inputs
        values, good, quality = _NO_VALUES, _NO_GOOD, 1.0
        if self.grid is not None:
            found = self.grid.window(self._places[key], end_us)
            if found is None:
                self._tally.drop("no_history")
                return None
            values, good = found
            if not np.count_nonzero(good[-1, self._live]):
                self._tally.drop("stale_window")
                return None
            asked = good[:, self._required]
            quality = float(np.count_nonzero(asked)) / asked.size
        snapshot = self._snapshot(key, end_us)
        if self.grid is None and snapshot:
            quality = sum(v is not None for v in snapshot.values()) / len(snapshot)
        if quality < self._min_good:
            self._tally.drop("poor_window")
            return None
        self._tally.used += 1
        return Request(
            id=request_id,
            task=self.binding.task,
            equipment_id=key,
            end_us=end_us,
            deadline_us=end_us + round(inputs.deadline_s * 1e6),
            tags=self._tags,
            period_s=self._period_s,
            values=values,
            good=good,
            snapshot=snapshot,
            records=self._records(key, end_us),
            quality=quality,
            cause=cause,
        )

    def _snapshot(self, key: str, end_us: int) -> dict[str, SnapshotValue]:
        out: dict[str, SnapshotValue] = {}
        for tag in self.binding.inputs.snapshot:
            found = self._table.as_of(key, tag, end_us)
            out[tag] = found.value if found is not None and found.good else None
        return out

    def _records(self, key: str, end_us: int) -> dict[str, tuple[Record, ...]]:
        out = {stream: view.rows(key, end_us) for stream, view in self._views.items()}
        if self._equipment_view is not None:
            out[EQUIPMENT_STREAM] = self._equipment_rows(key, self._equipment_view, end_us)
        return out

    def _equipment_rows(self, key: str, spec: RecordSpec, end_us: int) -> tuple[Record, ...]:
        whole = spec.whole_line or key not in self._places
        time = iso(end_us)
        rows: list[Record] = []
        for equipment_id in (self.equipment_ids if whole else (key,))[: spec.limit]:
            row: dict[str, bool | int | float | str | None] = {"time": time, "equipment_id": equipment_id}
            for tag in spec.tags:
                found = self._table.as_of(equipment_id, tag, end_us)
                value = found.value if found is not None and found.good else None
                row[tag] = value if isinstance(value, bool | int | float | str) else None
            rows.append(row)
        return tuple(rows)
