"""Puts the hosted rooms in the place of asyncua's own, where its names are those this was written against."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import TypeVar

from asyncua import ua
from asyncua.common.node import Node
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server import (
    address_space,
    binary_server_asyncio,
    internal_subscription,
    monitored_item_service,
    subscription_service,
    uaprocessor,
)
from asyncua.server.history import HistoryManager
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.server import Server
from asyncua.ua.object_ids import ObjectIds

from lineside_gateway.hosting.address_space import HostedAddressSpace
from lineside_gateway.hosting.limits import Limits
from lineside_gateway.hosting.logins import Logins, Security
from lineside_gateway.hosting.methods import HostedMethods
from lineside_gateway.hosting.roles import HostedUser, Rights
from lineside_gateway.hosting.sessions import HostedSession
from lineside_gateway.hosting.subscriptions import HostedSubscriptions
from lineside_gateway.opcua.standard import standard

ASYNCUA = "2.1."
"""Version this room was written against: it overrides names that asyncua does not promise to keep."""


HEAVY = 200
"""References from which a Browse is done aside; some 10 ms of one core."""
A = TypeVar("A")
R = TypeVar("R")
_OPERATIONS = (
    "MaxNodesPerRead",
    "MaxNodesPerWrite",
    "MaxNodesPerHistoryReadData",
    "MaxNodesPerHistoryReadEvents",
    "MaxNodesPerMethodCall",
    "MaxNodesPerTranslateBrowsePathsToNodeIds",
    "MaxMonitoredItemsPerCall",
)


class HostedInternals(InternalServer):
    """asyncua's internal server on the hosted address space, subscriptions, methods and sessions.

    ``offered`` are the (policy URI, mode) pairs over which a session may be created.
    """

    subscription_service: HostedSubscriptions

    def __init__(self, logins: Logins, rights: Rights | None = None, limits: Limits | None = None) -> None:
        super().__init__(logins)
        self.logins = logins
        self.rights = rights or Rights()
        self.limits = limits or Limits()
        self.offered: set[tuple[str, ua.MessageSecurityMode]] = set()
        self.method_service.stop()
        self.aspace = HostedAddressSpace()
        self.attribute_service = address_space.AttributeService(self.aspace)
        self.view_service = address_space.ViewService(self.aspace)
        self.method_service = HostedMethods(self.aspace)
        self.node_mgt_service = address_space.NodeManagementService(self.aspace)
        self.subscription_service = HostedSubscriptions(self.aspace, self, self.limits.subscriptions)
        self.history_manager = HistoryManager(self)
        self.isession = InternalSession(
            self, self.aspace, self.subscription_service, "Internal", user=User(role=UserRole.Admin)
        )
        self.current_time_node = Node(self.isession, standard(ObjectIds.Server_ServerStatus_CurrentTime))
        self.server_status_node = Node(self.isession, standard(ObjectIds.Server_ServerStatus))

        self._aside = ThreadPoolExecutor(1, thread_name_prefix="browse")

    def references(self, nodes: Iterable[ua.NodeId]) -> int:
        """How many references these nodes have: the measure of a Browse."""
        found = (self.aspace.get(node) for node in nodes)
        return sum(len(node.references) for node in found if node is not None)

    async def aside(self, work: Callable[[A], R], argument: A, size: int = HEAVY) -> R:
        """Do what takes long and changes nothing in a thread of its own, one at a time, while others are served.

        What is smaller than ``HEAVY`` is done at once: it is over before a thread has begun.
        """
        if size < HEAVY:
            return work(argument)
        return await asyncio.get_running_loop().run_in_executor(self._aside, work, argument)

    async def publish_limits(self) -> None:
        """Tell clients how much they may ask for at once (Part 5, 6.3.11)."""
        limits = dict.fromkeys(_OPERATIONS, self.limits.nodes_per_request)
        limits["MaxNodesPerBrowse"] = self.limits.browsed_per_request
        for name, most in limits.items():
            node_id = getattr(ObjectIds, f"Server_ServerCapabilities_OperationLimits_{name}")
            value = ua.DataValue(ua.Variant(most, ua.VariantType.UInt32))
            await self.write_attribute_value(standard(node_id), value)

    async def stop(self) -> None:
        """Stop, and end the thread."""
        await super().stop()
        self._aside.shutdown(wait=False, cancel_futures=True)

    async def end_unwelcome(self) -> None:
        """End the sessions, subscriptions and connections of users who were taken out of the users file."""
        for session in tuple(self._external_sessions.values()):
            if not isinstance(session, HostedSession) or not session.is_activated():
                continue
            if self.logins.present(session.user) is None:
                await session.close_session(True)
                if session.owner is not None:
                    session.owner.cut(f"user {session.user.name!r} was taken out")

    @property
    def session_count(self) -> int:
        """Sessions of clients, activated or not."""
        return len(self._external_sessions)

    def create_session(self, name: str, user: User | None = None, external: bool = False) -> HostedSession:
        """A session for one client, without rights until it is activated."""
        return HostedSession(
            self, self.aspace, self.subscription_service, str(name), user=user or User(role=UserRole.Anonymous),
            external=external, rights=self.rights, limits=self.limits,
        )  # fmt: skip

    async def identify(
        self, session: HostedSession, params: ua.ActivateSessionParameters, security: Security, address: str
    ) -> HostedUser:
        """The user who activates ``session``; see ``Logins.identify``."""
        return await self.logins.identify(session, params, security, address)


def differences() -> list[str]:
    """Names of asyncua that are not as this room needs them, one sentence each; empty where all is well."""
    found = []
    if not version("asyncua").startswith(ASYNCUA):
        found.append(f"asyncua is {version('asyncua')}, the hosted server was written against {ASYNCUA}*")
    for owner, names in _NEEDED.items():
        missing = [n for n in names if not hasattr(owner, n)]
        if missing:
            found.append(f"asyncua's {owner.__name__} has no {', '.join(missing)}")
    return found


_NEEDED: dict[type, tuple[str, ...]] = {
    address_space.AddressSpace: ("write_attribute_value", "_is_expected_variant_type", "add_datachange_callback"),
    monitored_item_service.MonitoredItemService: (
        "_make_monitored_item_common",
        "_commit_monitored_item",
        "_create_data_change_monitored_item",
        "_trigger_event",
        "_modify_monitored_item",
        "_set_monitoring_mode",
        "_delete_monitored_items",
        "_revise_queue_size",
    ),
    internal_subscription.InternalSubscription: (
        "publish_results",
        "has_published_results",
        "_pop_publish_result",
        "_pop_triggered_datachanges",
        "_trigger_publish",
    ),
    subscription_service.SubscriptionService: ("create_subscription", "delete_subscriptions"),
    binary_server_asyncio.BinaryServer: ("_make_protocol", "set_policies"),
    uaprocessor.UaProcessor: (
        "process",
        "open_secure_channel",
        "_process_message",
        "send_response",
        "forward_publish_response",
        "get_publish_request",
    ),
    InternalSession: ("_current_connections", "_start_timeout_watchdog", "transfer_subscriptions"),
    address_space.MethodService: ("_call", "_run_method"),
    InternalServer: ("create_session", "register_external_session", "decrypt_user_token", "verify_x509_token"),
    Server: ("_setup_server_nodes", "_get_bind_socket_info"),
}
