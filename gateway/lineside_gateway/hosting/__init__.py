"""The machinery of the hosted OPC UA server below its nodes: writes, subscriptions, sessions, users, limits."""

from lineside_gateway.hosting.internals import differences
from lineside_gateway.hosting.limits import Limits
from lineside_gateway.hosting.roles import HostedUser, Rights, Role, current_user
from lineside_gateway.hosting.samples import Sample
from lineside_gateway.hosting.server import Access, hosting_server
from lineside_gateway.hosting.subscriptions import SubscriptionLimits

__all__ = [
    "Access",
    "HostedUser",
    "Limits",
    "Rights",
    "Role",
    "Sample",
    "SubscriptionLimits",
    "current_user",
    "differences",
    "hosting_server",
]
