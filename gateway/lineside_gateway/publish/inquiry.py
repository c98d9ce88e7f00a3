"""Asks a running gateway how it stands, as any OPC UA client could: its own diagnostics nodes and ledger."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node

from lineside_gateway.errors import LinesideError
from lineside_gateway.opcua.security import Pki, as_the_gateway
from lineside_gateway.opcua.standard import StatusCodes, UaError, UaStatusCodeError
from lineside_gateway.publish.names import GATEWAY, NAMESPACE_URI, ROOT
from lineside_gateway.settings import SecurityPolicy, Settings

TIMEOUT_S = 4.0
BEAT_WITHIN_S = 2.5  # the heartbeat counts once a second


class GatewayNotSeenError(LinesideError):
    """No gateway answers at the endpoint, its heartbeat stands still, or it does not know what it is asked about."""


@dataclass(frozen=True, slots=True)
class WayIn:
    """Where a gateway listens, and how to come in.

    With ``pki`` the gateway's own certificate is shown, over ``policy``, as application and as user: who holds its
    key on this machine may look.
    """

    endpoint: str
    pki: Pki | None = None
    policy: SecurityPolicy | None = None

    @classmethod
    def of(cls, settings: Settings) -> WayIn:
        """To the gateway with these settings on this machine."""
        gateway = settings.gateway
        endpoint = gateway.endpoint.replace("//0.0.0.0", "//127.0.0.1")  # "every address" is none to connect to
        if gateway.security.anonymous:
            return cls(endpoint)
        return cls(endpoint, Pki.of(settings), gateway.security.policies[0])


@contextlib.asynccontextmanager
async def _visit(way: WayIn) -> AsyncIterator[Node]:
    """The Object ``Lineside/Gateway`` of a running gateway.

    Raises:
        GatewayNotSeenError: Nothing answers there, or it is no Lineside gateway.
    """
    client = Client(way.endpoint, timeout=TIMEOUT_S)
    if way.pki is not None and way.policy is not None:
        await as_the_gateway(client, way.pki, way.policy)
    try:
        async with client:
            index = await client.get_namespace_index(NAMESPACE_URI)
            yield await client.nodes.objects.get_child([f"{index}:{ROOT}", f"{index}:{GATEWAY}"])
    except (OSError, TimeoutError, UaError, ValueError, KeyError) as e:
        raise GatewayNotSeenError(f"no gateway answers at {way.endpoint}: {e}; start one: lineside run FILE") from e


async def inquire(way: WayIn) -> dict[str, object]:
    """Values of the diagnostics nodes by BrowseName; the heartbeat was seen to count.

    Raises:
        GatewayNotSeenError: Nothing answers there, it is no Lineside gateway, or its heartbeat stands still.
    """
    async with _visit(way) as gateway:
        nodes = await _variables(gateway)
        found = await _values(nodes)
        until = asyncio.get_running_loop().time() + BEAT_WITHIN_S
        while await nodes["Heartbeat"].read_value() == found["Heartbeat"]:
            if asyncio.get_running_loop().time() > until:
                raise GatewayNotSeenError(f"the gateway at {way.endpoint} answers, but its heartbeat stands still")
            await asyncio.sleep(0.1)
        return found


async def equipment_ledger(way: WayIn) -> dict[str, dict[str, object]]:
    """Counts and gaps of each piece of equipment, by BrowseName.

    Raises:
        GatewayNotSeenError: Nothing answers there, or it is no Lineside gateway.
    """
    async with _visit(way) as gateway:
        index = gateway.nodeid.NamespaceIndex
        folder = await gateway.get_child(f"{index}:Ledger")
        machines = await folder.get_children(nodeclassmask=ua.NodeClass.Object)
        return {str((await m.read_browse_name()).Name): await _values(await _variables(m)) for m in machines}


async def tag_ledger(way: WayIn, equipment_id: str) -> list[dict[str, object]]:
    """Counts and newest gaps of each numeric tag of a piece of equipment.

    Raises:
        GatewayNotSeenError: Nothing answers there, or the gateway has no numeric tag of that equipment.
    """
    async with _visit(way) as gateway:
        try:
            told = await gateway.call_method(f"{gateway.nodeid.NamespaceIndex}:TagLedger", equipment_id)
        except UaStatusCodeError as e:
            if e.code != StatusCodes.BadNotFound:
                raise
            known = "lineside status --ledger lists what it knows"
            raise GatewayNotSeenError(f"the gateway has no numeric tag of equipment '{equipment_id}'; {known}") from e
        rows: list[dict[str, object]] = json.loads(told)
        return rows


async def _variables(parent: Node) -> dict[str, Node]:
    children = await parent.get_children(nodeclassmask=ua.NodeClass.Variable)
    return {str((await n.read_browse_name()).Name): n for n in children}


async def _values(nodes: dict[str, Node]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, node in nodes.items():
        dv = await node.read_data_value(raise_on_bad_status=False)
        found[name] = dv.Value.Value if dv.Value is not None else None
    return found
