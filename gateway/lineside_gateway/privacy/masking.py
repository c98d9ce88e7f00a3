"""Between pipeline and dispatcher: batches go out under pseudonyms, recommendations come back under their names."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeVar, cast

from lineside_gateway.dispatch import Dispatcher, WorkerInfo
from lineside_gateway.privacy.pseudonyms import EQUIPMENT, OPERATOR, ORDER, SERIAL, Pseudonyms
from lineside_plugins.types import Reason, Recommendation, WindowBatch
from lineside_plugins.wire import BatchResult

NAMED = {
    "equipment_id": EQUIPMENT, "equipment": EQUIPMENT, "serial_no": SERIAL, "SerialNo": SERIAL, "job_order_id": ORDER,
    "ActiveOrder": ORDER, "user": OPERATOR, "operator": OPERATOR,
}  # fmt: skip
"""Fields of records and snapshots that hold a name, and the kind of name."""
REMEMBERED = 100_000  # pseudonyms that can be told back; a worker answers with those of the batch it was given
_PSEUDONYM = re.compile(rf"(?:{EQUIPMENT}|{SERIAL}|{ORDER}|{OPERATOR})-[0-9a-f]{{16}}(?:-\d+)?")
_COUNT = re.compile(r"\d+$")
T = TypeVar("T")


class MaskingDispatcher:
    """A dispatcher that names nobody and nothing of the plant to broker and workers. One event loop uses it.

    A serial number keeps the count it ends in, which tasks go by. Names inside of free text are replaced where they
    are whole words that the same batch names; whole fields are emptied by ``drop``.
    """

    def __init__(self, inner: Dispatcher, pseudonyms: Pseudonyms, drop: Collection[str] = ()) -> None:
        self._inner = inner
        self._pseudonyms = pseudonyms
        self._drop = frozenset(drop)
        self._names: OrderedDict[str, str] = OrderedDict()

    async def submit(
        self, batch: WindowBatch, task: str, deadline: datetime, config: Mapping[str, object] | None = None
    ) -> BatchResult:
        """The result of ``batch``, which leaves under pseudonyms; see ``Dispatcher.submit``."""
        result = await self._inner.submit(self.masked(batch), task, deadline, config or {})
        return replace(
            result,
            recommendations=tuple(None if r is None else self.named(r) for r in result.recommendations),
            refused=tuple(replace(r, why=self._told(r.why)) for r in result.refused),
            error=self._told(result.error),
            shadow=tuple(self.named(r) for r in result.shadow),
            drift=tuple(
                replace(d, equipment_id=self._told(d.equipment_id), cause=self._told(d.cause)) for d in result.drift
            ),
        )

    async def workers(self) -> list[WorkerInfo]:
        """Workers alive now."""
        return await self._inner.workers()

    def masked(self, batch: WindowBatch) -> WindowBatch:
        """``batch`` under pseudonyms."""
        found: dict[str, str] = {name: self._mask(EQUIPMENT, name) for name in batch.equipment_ids}
        snapshots = tuple(self._row(s, found) for s in batch.snapshots)
        records = tuple(
            {stream: tuple(self._row(row, found) for row in rows) for stream, rows in per.items()}
            for per in batch.records
        )
        return replace(
            batch,
            equipment_ids=tuple(found[name] for name in batch.equipment_ids),
            snapshots=tuple(_words(s, found) for s in snapshots),
            records=tuple(
                {stream: tuple(_words(row, found) for row in rows) for stream, rows in per.items()} for per in records
            ),
        )

    def named(self, rec: Recommendation) -> Recommendation:
        """``rec`` under the names of the plant."""
        return replace(
            rec,
            equipment_id=self._told(rec.equipment_id),
            key=self._told(rec.key),
            value={k: self._told(v) for k, v in rec.value.items()},
            reasons=tuple(Reason(r.tag, r.weight, self._told(r.text)) for r in rec.reasons),
        )

    def _row(self, row: Mapping[str, T], found: dict[str, str]) -> dict[str, T]:
        """``row`` with its named fields masked and dropped ones empty; what was masked is added to ``found``."""
        out = dict(row)
        for name, value in row.items():
            if isinstance(value, str) and name in self._drop:
                out[name] = cast("T", "")
            elif isinstance(value, str) and value and name in NAMED:
                found[value] = self._mask(NAMED[name], value)
                out[name] = cast("T", found[value])
        return out

    def _mask(self, kind: str, name: str) -> str:
        count = _COUNT.search(name) if kind == SERIAL else None
        mask = self._pseudonyms.of(kind, name[: count.start()] if count else name)
        if count:
            mask = f"{mask}-{count.group()}"
        self._names[mask] = name
        self._names.move_to_end(mask)
        if len(self._names) > REMEMBERED:
            self._names.popitem(last=False)
        return mask

    def _told(self, value: T) -> T:
        """``value`` with every pseudonym in its texts, however deep, told back."""
        if isinstance(value, str):
            return cast("T", _PSEUDONYM.sub(lambda m: self._names.get(m.group(), m.group()), value))
        if isinstance(value, tuple):
            return cast("T", tuple(self._told(v) for v in value))
        if isinstance(value, Mapping):
            return cast("T", {k: self._told(v) for k, v in value.items()})
        return value


def _words(row: Mapping[str, T], found: Mapping[str, str]) -> dict[str, T]:
    """``row`` with the names in ``found`` replaced where they stand as words in its other texts."""
    names = re.compile("|".join(rf"(?<!\w){re.escape(n)}(?!\w)" for n in sorted(found, key=len, reverse=True)))
    return {
        k: cast("T", names.sub(lambda m: found[m.group()], v)) if isinstance(v, str) and k not in NAMED else v
        for k, v in row.items()
    }
