"""``lineside run`` with a witness: which windows closed, which of them are on disk, how each request ended.

A line is in the kernel's hands before the gateway goes on, so the file outlives a SIGKILL. Fields: process id, what
(``closed``, ``kept`` or how it ended), machine, window end in us since 1970, and for an end its reason.

``python member_side.py FILE run lineside.yaml``
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lineside_gateway.ingest import Request, Windower
from lineside_gateway.ledger import Outcome, TaskLedger
from lineside_gateway.runtime.pipeline import Pipeline
from lineside_gateway.store import Kept, RequestStore


class Witness:
    """Writes the lines. Requests are told apart by their ids, which are unique in one process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._seen: dict[int, str] = {}

    def meet(self, requests: Iterable[Request]) -> None:
        self._seen |= {r.id: f"{r.equipment_id} {r.end_us}" for r in requests}

    def note(self, what: str, request_ids: Iterable[int], reason: str = "") -> None:
        lines = [f"{os.getpid()} {what} {self._seen[i]} {reason.replace(' ', '_')}\n" for i in request_ids]
        os.write(self._file, "".join(lines).encode())


def watch(witness: Witness) -> None:
    """Put the witness behind the public methods by which a request comes and goes."""
    close, settle, adopt = Windower.close, TaskLedger.settle, Pipeline.adopt

    def noted_close(self: Windower, watermarks: Any) -> list[Request]:
        found = close(self, watermarks)
        witness.meet(found)
        witness.note("closed", [r.id for r in found])
        return found

    def noted_settle(self: TaskLedger, request_id: int, outcome: Outcome, reason: str = "") -> bool:
        ended = settle(self, request_id, outcome, reason)
        if ended:
            witness.note(outcome.value, [request_id], reason)
        return ended

    async def noted_adopt(self: Pipeline, kept: Sequence[Kept]) -> None:
        witness.meet(k.request for k in kept)
        await adopt(self, kept)

    Windower.close, TaskLedger.settle, Pipeline.adopt = noted_close, noted_settle, noted_adopt  # type: ignore[method-assign]
    watch_store(witness)


def watch_store(witness: Witness) -> None:
    """The same for the store: what is on disk a restart must know."""
    opened, put, durable = RequestStore.__init__, RequestStore.put, RequestStore.durable
    under_way: list[int] = []

    def noted_open(self: RequestStore, *arguments: Any, **options: Any) -> None:
        opened(self, *arguments, **options)
        witness.meet(k.request for k in self.kept)

    def noted_put(self: RequestStore, request: Request, expires_at: float) -> None:
        put(self, request, expires_at)
        under_way.append(request.id)

    async def noted_durable(self: RequestStore) -> None:
        on_disk = under_way.copy()
        under_way.clear()
        await durable(self)
        witness.note("kept", on_disk)

    RequestStore.__init__, RequestStore.put, RequestStore.durable = noted_open, noted_put, noted_durable  # type: ignore[method-assign]


if __name__ == "__main__":
    from lineside_gateway.cli import main

    watch(Witness(Path(sys.argv.pop(1))))
    main()
