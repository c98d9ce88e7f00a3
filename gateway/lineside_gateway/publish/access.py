"""From the settings to who may come to the hosted server."""

from __future__ import annotations

from collections.abc import Callable

from asyncua import ua

from lineside_gateway.hosting import Access, Limits, SubscriptionLimits
from lineside_gateway.hosting.users import UsersFile
from lineside_gateway.opcua.security import Pki
from lineside_gateway.settings import GatewaySettings, SecurityMode, SecurityPolicy

_TYPES: dict[tuple[SecurityPolicy, SecurityMode], ua.SecurityPolicyType] = {
    (policy, mode): getattr(ua.SecurityPolicyType, f"{policy.value}_{mode.value}")
    for policy in SecurityPolicy
    if policy is not SecurityPolicy.NONE
    for mode in (SecurityMode.SIGN, SecurityMode.SIGN_AND_ENCRYPT)
}


def access_of(settings: GatewaySettings, pki: Pki, alias: Callable[[str], str] = str) -> Access:
    """What the settings grant; ``alias`` makes the name that others read from a user's."""
    security, limits = settings.security, settings.limits
    return Access(
        anonymous=security.anonymous,
        alias=alias,
        pki=pki,
        policies=tuple(_TYPES[policy, mode] for policy in security.policies for mode in security.modes),
        users=settings.users_file,
        trust=security.trust,
        attempts=security.login_attempts,
        lockout_s=security.lockout_s,
        limits=Limits(
            connections=limits.connections,
            connections_per_address=limits.connections_per_address,
            pending=limits.pending,
            pending_per_address=limits.pending_per_address,
            activation_timeout_s=limits.activation_timeout_s,
            message_bytes=limits.message_bytes,
            unsent_bytes=limits.unsent_bytes,
            sessions=limits.sessions,
            nodes_per_request=limits.nodes_per_request,
            subscriptions=SubscriptionLimits(
                shortest_publishing_ms=limits.publishing_interval_ms,
                subscriptions=limits.subscriptions,
                subscriptions_per_session=limits.subscriptions_per_session,
                items_per_subscription=limits.items_per_subscription,
            ),
        ),
    )


def nobody_may_come(settings: GatewaySettings) -> str:
    """One sentence with the next step where nobody at all could come in; "" where somebody can.

    Raises:
        UsersError: The users file cannot be read.
    """
    if settings.security.anonymous or UsersFile(settings.users_file).users():
        return ""
    return (
        f"nobody may read {settings.endpoint} yet: {settings.users_file} holds no user; "
        "add one with 'lineside users add NAME --role operator', or set gateway.security.anonymous: true on loopback"
    )
