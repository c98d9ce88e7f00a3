"""Two gateways over one line in this process, real plant, broker and worker; tests/faults/fleet kills processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from asyncua import Client, ua

from lineside_gateway.fleet import Leases
from lineside_gateway.ledger import Outcome
from lineside_gateway.runtime import Gateway
from lineside_gateway.settings import read_settings
from tests.gateway.fleet.rig import Rig, install_quick

WARM = 2  # OPC UA Part 5, 12.5 RedundancySupport


async def status_text(gateway: Gateway) -> str:
    async with Client(gateway.hosted.endpoint) as client:
        index = await client.get_namespace_index("urn:lineside:ua")
        value = await client.get_node(f"ns={index};s=M1.quick.status_text").read_data_value(raise_on_bad_status=False)
        return str(value.Value.Value)


async def server_says(gateway: Gateway) -> tuple[int, int]:
    """ServiceLevel and RedundancySupport."""
    async with Client(gateway.hosted.endpoint) as client:
        ids = (ua.ObjectIds.Server_ServiceLevel, ua.ObjectIds.Server_ServerRedundancy_RedundancySupport)
        level, support = await client.read_values([client.get_node(ua.NodeId(i)) for i in ids])
        return level, support


async def die(running: asyncio.Task[None], monkeypatch: pytest.MonkeyPatch) -> None:
    """End a gateway without letting it give anything back, as SIGKILL does."""

    async def nothing(*_: object) -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr(Leases, "_give_back", nothing)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@pytest.mark.timeout(600)
async def test_a_standby_takes_over_and_nothing_is_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Callable[..., object]
) -> None:
    """One writes, the other says who leads; when the first is gone the other writes what is new and each key once."""
    with Rig(tmp_path, lease_s=3.0) as rig:
        monkeypatch.syspath_prepend(str(install_quick(tmp_path / "here")))
        both = {name: Gateway(read_settings(rig.settings(name))) for name in "ab"}
        running = {name: asyncio.create_task(gateway.run()) for name, gateway in both.items()}
        await until(lambda: len(rig.writes()) >= 4, 150)
        first = rig.leader()
        other = both["ab".replace(first, "")]
        while f"standby: '{first}' leads shard 'all'" not in await status_text(other):  # noqa: ASYNC110 - asked over OPC UA
            await asyncio.sleep(0.1)
        both_say = {first: (255, WARM), "ab".replace(first, ""): (100, WARM)}
        while {name: await server_says(gateway) for name, gateway in both.items()} != both_say:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.1)
        last = rig.writes()[-1][1]
        await die(running.pop(first), monkeypatch)
        await until(lambda: other.fleet.leads("M1"), 150)
        done = len(rig.writes())
        await until(lambda: len(rig.writes()) >= done + 8, 150)
        keys = [key for _, key, _ in rig.writes()]
        assert rig.twice() == {}
        assert last in keys
        ledger = other.ledger.task("quick")
        assert ledger.outcomes[Outcome.PUBLISHED] > 0
        assert ledger.balanced
        for task in running.values():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
