"""A plain OPC UA client that knows nothing of the gateway's inside: it reads what an HMI would read."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from asyncua.client.client import Client

from lineside_gateway.opcua.standard import AttributeIds, UaError
from lineside_gateway.publish import NAMESPACE_URI

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
PLANT_COUNTERS = {
    "maintenance": ("MaintenanceTaken",),
    "reject": ("RejectsTaken",),
    "compensation": ("OffsetsTaken",),
    "schedule": ("UpdatesTaken", "DispatchesByPriority"),
}


@dataclass(slots=True)
class Sight:
    """What was seen: seconds until the first Good recommendation, hosted values by node, plant counters by name."""

    first_s: float | None = None
    good: dict[str, int] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)


class Observer:
    """Looks at the hosted server twice a second until cancelled, and at the plant's counters once at the end."""

    def __init__(self, endpoint: str, flags: Mapping[str, Sequence[str]], plant: Mapping[str, str]) -> None:
        """``flags`` are the flat flag nodes of each task; ``plant`` the plant's endpoints by name."""
        self.sight = Sight()
        self._endpoint = endpoint
        self._flags = flags
        self._plant = plant

    async def run(self, started: float) -> None:
        """Watch; ``started`` is the monotonic time from which the first recommendation is counted."""
        while True:
            try:
                async with Client(self._endpoint) as client:
                    await self._watch(client, started)
            except (OSError, TimeoutError, UaError) as e:
                logger.info("observer_waits endpoint=%s cause=%s", self._endpoint, e)
                await asyncio.sleep(LOOK_EVERY_S)

    async def _watch(self, client: Client, started: float) -> None:
        index = await client.get_namespace_index(NAMESPACE_URI)
        while True:
            for task, names in self._flags.items():
                nodes = [client.get_node(f"ns={index};s={name}") for name in names]
                found = await client.read_attributes(nodes, AttributeIds.Value)
                good = [dv for dv in found if dv.StatusCode is not None and dv.StatusCode.is_good()]
                self.sight.good[task] = max(len(good), self.sight.good.get(task, 0))
                if good and self.sight.first_s is None:
                    self.sight.first_s = time.monotonic() - started
                for name, dv in zip(names, found, strict=True):
                    self.sight.values[name] = dv.Value.Value if dv.Value is not None else None
            await asyncio.sleep(LOOK_EVERY_S)

    async def count(self) -> None:
        """Read from the plant's own servers what it did on request."""
        for name, url in self._plant.items():
            try:
                async with Client(url) as client:
                    await self._count(client, name)
            except (OSError, TimeoutError, UaError) as e:
                logger.warning("plant_not_read server=%s cause=%s", name, e)

    async def _count(self, client: Client, name: str) -> None:
        for place in await client.nodes.objects.get_children():
            below = {str((await n.read_browse_name()).Name): n for n in await place.get_children()}
            for counters in PLANT_COUNTERS.values():
                for counter in counters:
                    if counter in below:
                        value = await below[counter].read_value()
                        self.sight.counters[counter] = self.sight.counters.get(counter, 0) + int(value or 0)
        logger.info("plant_read server=%s", name)
