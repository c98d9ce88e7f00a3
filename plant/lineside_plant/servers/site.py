"""The plant and its six servers as one: advance the plant, show what happened, in step or by the wall clock."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence

from lineside_plant.events import PlantEvent, time_us
from lineside_plant.plant import Plant
from lineside_plant.servers.faults import SERVER_FAULTS, FaultSpec, SampleFaults, ServerFault
from lineside_plant.servers.interlocks import WATCHDOG_S
from lineside_plant.servers.mes import MES, Mes
from lineside_plant.servers.past import Past
from lineside_plant.servers.plc import Plc
from lineside_plant.servers.samples import Sample, in_time_order
from lineside_plant.spec import MACHINES

CHUNK_S = 60.0
"""Plant time shown without a break; between chunks the servers publish and answer."""
_CLOCK_S = 1.0


class Site:
    """Serves ``plant`` at ``urls`` (one per machine, and the MES's). ``until_s`` is where the run ends.

    In lock-step, nothing moves but by the method ``Simulation.Advance`` of the MES; else whoever owns the wall clock
    calls ``advance``.
    """

    def __init__(
        self,
        plant: Plant,
        urls: Mapping[str, str],
        *,
        lock_step: bool,
        faults: Sequence[FaultSpec] = (),
        until_s: float = math.inf,
        past: Past | None = None,
        watchdog_s: float = WATCHDOG_S,
    ) -> None:
        """``past`` is what a plant that has run before remembers of it; ``watchdog_s`` is the PLCs' (wall clock)."""
        self.plant = plant
        self.until_s = until_s
        self.urls = dict(urls)
        self._began_s = plant.now_s
        self._lock = asyncio.Lock()
        self._past = past or Past()
        self.plcs = {m: Plc(m, urls[m], plant, lambda: plant.now_s, self._past.tags[m], watchdog_s) for m in MACHINES}
        self.mes = Mes(urls[MES], plant, self.advance if lock_step else None, self._past.events)
        self._servers: tuple[Plc | Mes, ...] = (*self.plcs.values(), self.mes)
        self._sample_faults = {
            m: SampleFaults([f for f in faults if f.machine == m], plant.seed)
            for m in {f.machine for f in faults if f.kind not in SERVER_FAULTS}
        }
        self._server_faults: list[tuple[Plc, ServerFault]] = [
            (self.plcs[f.machine], SERVER_FAULTS[f.kind](f)) for f in faults if f.kind in SERVER_FAULTS
        ]

    async def start(self) -> None:
        """Build all servers, show the present state, listen.

        Raises:
            PortBusyError: Another process has one of the ports; choose others.
        """
        for plc, fault in self._server_faults:
            fault.prepare(plc)
        for server in self._servers:
            await server.start()
        for machine, changes in self._past.changes.items():
            await self.plcs[machine].publish(Sample(*change) for change in changes)
        await self.mes.publish()
        await self._show()
        self._clock = asyncio.create_task(self._keep_clocks())

    async def stop(self) -> None:
        """Stop listening, all servers at once."""
        self._clock.cancel()
        await asyncio.gather(*(server.stop() for server in self._servers))

    async def advance(self, to_s: float) -> float:
        """Run to plant time ``to_s`` at most to the end of the run, show all of it, and return plant time.

        What clients wrote before takes effect at the start. asyncua answers one request of a connection after the
        other, so a client that watches its connection (asyncua: every second) advances in steps of an hour at most.
        """
        async with self._lock:
            to_s = min(to_s, self.until_s)
            while self.plant.now_s < to_s:
                await self._begin_cycle()
                self.plant.advance(min(to_s, self._next_stop_s()))
                await self._show()
                await asyncio.sleep(0)
            return self.plant.now_s

    def _next_stop_s(self) -> float:
        """End of this chunk: its full length, or an earlier time at which a server fault acts."""
        now_s = self.plant.now_s
        acts = [self._began_s + at for _, fault in self._server_faults for at in fault.times]
        return min([now_s + CHUNK_S, *(at for at in acts if at > now_s)])

    async def _begin_cycle(self) -> None:
        for plc in self.plcs.values():
            await plc.scan()
        for plc, fault in self._server_faults:
            await fault.step(plc, self.plant.now_s - self._began_s)

    async def _show(self) -> None:
        """Show everything since the last time: events and job orders first, PlantTime last."""
        output = self.plant.drain()
        for event in output.events:
            await self._emit(event)
        await self.mes.publish(job_orders_changed=output.job_orders_changed)
        now_us, began_us = time_us(self.plant.now_s), time_us(self._began_s)
        for machine, samples in output.machines.items():
            stream = in_time_order(samples)
            faults = self._sample_faults.get(machine)
            await self.plcs[machine].publish(faults.apply(stream, began_us, now_us) if faults else stream)

    async def _emit(self, event: PlantEvent) -> None:
        await self.mes.emit(event)
        await self.plcs[event.equipment_id].emit(event)

    async def _keep_clocks(self) -> None:
        while True:
            for server in self._servers:
                await server.write_clock()
            await asyncio.sleep(_CLOCK_S)
