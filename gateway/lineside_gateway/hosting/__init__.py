"""The machinery of the hosted OPC UA server below its nodes: writes, subscriptions, sessions, limits."""

from lineside_gateway.hosting.internals import differences, hosting_server
from lineside_gateway.hosting.samples import Sample
from lineside_gateway.hosting.subscriptions import SubscriptionLimits

__all__ = ["Sample", "SubscriptionLimits", "differences", "hosting_server"]
