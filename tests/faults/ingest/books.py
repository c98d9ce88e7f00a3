"""The gateway's feed into a tag table, and every sample that came."""

from __future__ import annotations

from typing import Any

from lineside_gateway.ingest import TagTable
from lineside_gateway.runtime.feed import Feed, Listeners


class Books(Feed):
    """The gateway's feed, which also keeps every sample that came, and settles the table as windows would."""

    def __init__(self) -> None:
        table = TagTable()
        tell = Listeners(lambda *_: None, self._settle, lambda _s: None, lambda *_: None)
        super().__init__(table, {"S": 2.0}, frozenset(), tell)
        self.columns: list[tuple[Any, Any, Any]] = []
        self.keeps = True

    def samples(self, indices: Any, times_us: Any, values: Any, status: Any) -> None:
        if self.keeps:
            self.columns.append((indices.copy(), times_us.copy(), values.copy()))
        super().samples(indices, times_us, values, status)

    def _settle(self) -> None:
        self.table.settle(self.watermarks())
