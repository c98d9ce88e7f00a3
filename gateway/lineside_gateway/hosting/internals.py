"""Puts the hosted rooms in the place of asyncua's own, where its names are those this was written against."""

from __future__ import annotations

import logging
from importlib.metadata import version

from asyncua.common.node import Node
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server import address_space, internal_subscription, monitored_item_service, subscription_service
from asyncua.server.history import HistoryManager
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from asyncua.ua.object_ids import ObjectIds

from lineside_gateway.hosting.address_space import HostedAddressSpace
from lineside_gateway.hosting.subscriptions import HostedSubscriptions, SubscriptionLimits
from lineside_gateway.opcua.standard import standard

logger = logging.getLogger(__name__)

ASYNCUA = "2.1."
"""Version this room was written against: it overrides names that asyncua does not promise to keep."""


class HostedInternals(InternalServer):
    """asyncua's internal server on the hosted address space and subscriptions."""

    def __init__(self, user_manager: UserManager, limits: SubscriptionLimits | None = None) -> None:
        super().__init__(user_manager)
        self.method_service.stop()
        self.aspace = HostedAddressSpace()
        self.attribute_service = address_space.AttributeService(self.aspace)
        self.view_service = address_space.ViewService(self.aspace)
        self.method_service = address_space.MethodService(self.aspace)
        self.node_mgt_service = address_space.NodeManagementService(self.aspace)
        self.subscription_service = HostedSubscriptions(self.aspace, self, limits or SubscriptionLimits())
        self.history_manager = HistoryManager(self)
        self.isession = InternalSession(
            self, self.aspace, self.subscription_service, "Internal", user=User(role=UserRole.Admin)
        )
        self.current_time_node = Node(self.isession, standard(ObjectIds.Server_ServerStatus_CurrentTime))
        self.server_status_node = Node(self.isession, standard(ObjectIds.Server_ServerStatus))


def hosting_server(user_manager: UserManager, limits: SubscriptionLimits | None = None) -> Server:
    """A server on the hosted internals, or asyncua's plain one where its names differ; the log says so once."""
    found = differences()
    if found:
        logger.error("hosted_server_plain %s; install asyncua %s*", "; ".join(found), ASYNCUA)
        return Server(user_manager=user_manager)
    return Server(iserver=HostedInternals(user_manager, limits))


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
}
