"""Asks a running gateway how it stands, as any OPC UA client could: its own diagnostics nodes."""

from __future__ import annotations

import asyncio

from asyncua.client.client import Client

from lineside_gateway.errors import LinesideError
from lineside_gateway.opcua.security import Pki, as_the_gateway
from lineside_gateway.opcua.standard import UaError
from lineside_gateway.publish.names import GATEWAY, NAMESPACE_URI, ROOT
from lineside_gateway.settings import GatewaySettings, SecurityPolicy

TIMEOUT_S = 4.0
BEAT_WITHIN_S = 2.5  # the heartbeat counts once a second


class GatewayNotSeenError(LinesideError):
    """No gateway answers at the endpoint, or its heartbeat stands still."""


async def ask(settings: GatewaySettings) -> dict[str, object]:
    """``inquire`` of the gateway with these settings on this machine.

    Raises:
        GatewayNotSeenError: As ``inquire``.
    """
    endpoint = settings.endpoint.replace("//0.0.0.0", "//127.0.0.1")  # "every address" is none to connect to
    if settings.security.anonymous:
        return await inquire(endpoint)
    return await inquire(endpoint, Pki(settings.data_dir / "pki", settings.id), settings.security.policies[0])


async def inquire(endpoint: str, pki: Pki | None = None, policy: SecurityPolicy | None = None) -> dict[str, object]:
    """Values of the diagnostics nodes by BrowseName; the heartbeat was seen to count.

    With ``pki`` the gateway's own certificate is shown, over ``policy``, as application and as user: who holds its
    key on this machine may look.

    Raises:
        GatewayNotSeenError: Nothing answers there, it is no Lineside gateway, or its heartbeat stands still.
    """
    client = Client(endpoint, timeout=TIMEOUT_S)
    if pki is not None and policy is not None:
        await as_the_gateway(client, pki, policy)
    try:
        async with client:
            index = await client.get_namespace_index(NAMESPACE_URI)
            parent = await client.nodes.objects.get_child([f"{index}:{ROOT}", f"{index}:{GATEWAY}"])
            nodes = {str((await n.read_browse_name()).Name): n for n in await parent.get_children()}
            found = {}
            for name, node in nodes.items():
                dv = await node.read_data_value(raise_on_bad_status=False)
                found[name] = dv.Value.Value if dv.Value is not None else None
            until = asyncio.get_running_loop().time() + BEAT_WITHIN_S
            while await nodes["Heartbeat"].read_value() == found["Heartbeat"]:
                if asyncio.get_running_loop().time() > until:
                    raise GatewayNotSeenError(f"the gateway at {endpoint} answers, but its heartbeat stands still")
                await asyncio.sleep(0.1)
            return found
    except (OSError, TimeoutError, UaError, ValueError, KeyError) as e:
        raise GatewayNotSeenError(f"no gateway answers at {endpoint}: {e}; start one: lineside run FILE") from e
