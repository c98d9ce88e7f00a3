"""Who may write which node and call which method; reading is for everyone let in."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum

from asyncua import ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.ua.object_ids import ObjectIds

from lineside_gateway.opcua.standard import standard


class Role(StrEnum):
    """What a user of the hosted server may do; each role includes those before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ENGINEER = "engineer"

    def includes(self, other: Role) -> bool:
        """True where this role may do all that ``other`` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


MAY = {
    Role.VIEWER: "browse, read, subscribe, read history, refresh conditions",
    Role.OPERATOR: "besides: acknowledge, confirm and comment conditions, accept and reject recommendations",
    Role.ENGINEER: "besides: the plant-wide switch and every other writable node",
}
"""Each role in words, for people."""


@dataclass
class HostedUser(User):
    """A user let in. ``name`` is None for an anonymous client, who is a viewer."""

    role: UserRole = UserRole.User  # asyncua's own roles decide nothing here, and none of ours is its Admin
    granted: Role = Role.VIEWER
    shown: str = ""
    """What others read in place of the name; "" for the name itself."""
    proof: str = ""
    """What he came in with, as the users file keeps it; when that is gone he is out."""


_current: ContextVar[HostedUser | None] = ContextVar("hosted_user", default=None)


def current_user() -> HostedUser | None:
    """Whose service call is being carried out; None outside one. Methods and write callbacks ask this."""
    return _current.get()


def acting_as(user: HostedUser | None) -> None:
    """Note whose call the running task carries out from now on."""
    _current.set(user)


_FOR_ALL = {
    ObjectIds.ConditionType_ConditionRefresh,
    ObjectIds.ConditionType_ConditionRefresh2,
}
_FOR_OPERATORS = {
    ObjectIds.AcknowledgeableConditionType_Acknowledge,
    ObjectIds.AcknowledgeableConditionType_Confirm,
    ObjectIds.ConditionType_AddComment,
}


@dataclass(slots=True)
class Rights:
    """Least role per writable node and callable method; what is not listed nobody may write or call."""

    writes: dict[ua.NodeId, Role] = field(default_factory=dict)
    calls: dict[ua.NodeId, Role] = field(
        default_factory=lambda: {
            **{standard(i): Role.VIEWER for i in _FOR_ALL},
            **{standard(i): Role.OPERATOR for i in _FOR_OPERATORS},
        }
    )

    def allow_write(self, node_id: ua.NodeId, least: Role) -> None:
        """Let users of ``least`` and above write the node's Value."""
        self.writes[node_id] = least

    def allow_call(self, method_id: ua.NodeId, least: Role) -> None:
        """Let users of ``least`` and above call the method."""
        self.calls[method_id] = least

    def may_write(self, user: User, node_id: ua.NodeId) -> bool:
        """Whether ``user`` may write the node's Value."""
        return _granted(user, self.writes.get(node_id))

    def may_call(self, user: User, method_id: ua.NodeId) -> bool:
        """Whether ``user`` may call the method."""
        return _granted(user, self.calls.get(method_id))


def _granted(user: User, least: Role | None) -> bool:
    return least is not None and isinstance(user, HostedUser) and user.granted.includes(least)
