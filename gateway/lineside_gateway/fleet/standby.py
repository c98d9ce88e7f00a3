"""Windows of equipment that another member leads: kept until their deadline, in case that member dies."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from lineside_gateway.ingest import Request


@dataclass(frozen=True, slots=True)
class Held:
    """A request, with its deadline in wall clock (seconds since 1970)."""

    request: Request
    expires_at: float


class Standby:
    """Holds at most ``most`` requests per task; beyond that the oldest are given up as the expired ones are."""

    def __init__(self, most: Callable[[str], int]) -> None:
        self._most = most
        self._held: dict[str, deque[Held]] = {}

    def __len__(self) -> int:
        """Requests held."""
        return sum(map(len, self._held.values()))

    def hold(self, request: Request, expires_at: float) -> None:
        """Keep ``request`` for as long as its answer would be of use."""
        self._held.setdefault(request.task, deque()).append(Held(request, expires_at))

    def sort(self, now: float, leads: Callable[[str], bool]) -> tuple[list[Held], list[Request]]:
        """What this gateway is to answer by now, and what it has stood by for in vain."""
        mine: list[Held] = []
        over: list[Request] = []
        for task, held in self._held.items():
            led = {e: leads(e) for e in {h.request.equipment_id for h in held}}
            left: deque[Held] = deque()
            for one in held:
                if now >= one.expires_at:
                    over.append(one.request)
                elif led[one.request.equipment_id]:
                    mine.append(one)
                else:
                    left.append(one)
            over += [left.popleft().request for _ in range(len(left) - self._most(task))]
            self._held[task] = left
        return mine, over
