"""Events as asyncua's subscriptions take them: fields by browse path, and a type that knows what it derives from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from asyncua import ua

from lineside_gateway.publish.nodeids import AttributeIds, ObjectIds, standard

Path = tuple[tuple[int, str], ...]
"""Browse path of an event field: namespace index and name of each step."""
_NOTHING = ua.Variant(None, ua.VariantType.Null)


def path(*names: str, namespace: int = 0) -> Path:
    """The path of names of one namespace."""
    return tuple((namespace, name) for name in names)


class EventType:
    """The type of an event as a where clause sees it: equal to itself and to every type it derives from.

    asyncua evaluates OfType as equality, which would hide a subtype from a client that asks for its base.
    """

    def __init__(self, types: frozenset[ua.NodeId]) -> None:
        self._types = types

    def __eq__(self, other: object) -> bool:
        return other in self._types

    def __hash__(self) -> int:
        return hash(self._types)


@dataclass(frozen=True, slots=True)
class HostedEvent:
    """One event at one emitting node. ``condition_id`` is None for events that are not of a condition.

    ``unfiltered``: clients hear it whatever the where clause of their filter says.
    """

    emitting_node: ua.NodeId
    types: frozenset[ua.NodeId]
    fields: Mapping[Path, ua.Variant]
    condition_id: ua.NodeId | None = None
    unfiltered: bool = False

    @property
    def EventType(self) -> EventType:  # noqa: N802 - asyncua's where clauses ask for it by this name
        """The type, for where clauses; a client that selects the field gets the NodeId."""
        return EventType(self.types)

    def __getattr__(self, name: str) -> Any:
        """A field of the base namespace by name, as asyncua's where clauses ask."""
        found = self.fields.get(path(name))
        if found is None:
            raise AttributeError(name)
        return found.Value

    def to_event_fields(self, clauses: Sequence[ua.SimpleAttributeOperand]) -> list[ua.Variant]:
        """The value of each select clause, Null where the event has no such field."""
        return [self._select(clause) for clause in clauses]

    def _select(self, clause: ua.SimpleAttributeOperand) -> ua.Variant:
        if not clause.BrowsePath:
            if clause.AttributeId == AttributeIds.NodeId and self.condition_id is not None:
                return ua.Variant(self.condition_id, ua.VariantType.NodeId)  # ConditionId, Part 9, 5.5.2.13
            return _NOTHING
        if clause.AttributeId != AttributeIds.Value:
            return _NOTHING
        wanted = tuple((int(step.NamespaceIndex), str(step.Name)) for step in clause.BrowsePath)
        return self.fields.get(wanted, _NOTHING)


def refresh_event(notifier: ua.NodeId, kind: int, words: str) -> HostedEvent:
    """RefreshStart or RefreshEnd of the Server object, as seen at ``notifier`` (Part 9, 5.5.7)."""
    server, now = standard(ObjectIds.Server), datetime.now(UTC)
    event_type = standard(kind)
    fields = {
        path("EventId"): ua.Variant(uuid4().bytes, ua.VariantType.ByteString),
        path("EventType"): ua.Variant(event_type, ua.VariantType.NodeId),
        path("SourceNode"): ua.Variant(server, ua.VariantType.NodeId),
        path("SourceName"): ua.Variant("Server", ua.VariantType.String),
        path("Time"): ua.Variant(now, ua.VariantType.DateTime),
        path("ReceiveTime"): ua.Variant(now, ua.VariantType.DateTime),
        path("Message"): ua.Variant(ua.LocalizedText(words), ua.VariantType.LocalizedText),
        path("Severity"): ua.Variant(100, ua.VariantType.UInt16),
    }
    above = frozenset({event_type, standard(ObjectIds.SystemEventType), standard(ObjectIds.BaseEventType)})
    return HostedEvent(notifier, above, fields, unfiltered=True)
