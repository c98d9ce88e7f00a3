"""What one client, one address and all clients together may take of the hosted server."""

from __future__ import annotations

from dataclasses import dataclass, field

from lineside_gateway.hosting.subscriptions import SubscriptionLimits

LARGEST_FRAME = 65_535
"""Receive buffer of the hosted server, the largest chunk it takes (OPC UA Part 6, 7.1.2.3: at least 8,192)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the hosted server; what exceeds one is refused or closed, the others are served."""

    connections: int = 200
    connections_per_address: int = 100
    pending: int = 64
    """Connections at a time that have not yet activated a session."""
    pending_per_address: int = 32
    activation_timeout_s: float = 5.0
    """Seconds a connection may go without an active session."""
    message_bytes: int = 512 * 1024
    """Largest request of an active session; before activation a request is one chunk."""
    unsent_bytes: int = 8 * 1024 * 1024
    """Bytes a client may leave unread before its connection is cut."""
    sessions: int = 100
    nodes_per_request: int = 1_000
    browsed_per_request: int = 100
    subscriptions: SubscriptionLimits = field(default_factory=SubscriptionLimits)
