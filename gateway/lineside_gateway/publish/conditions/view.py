"""A condition as OPC UA shows it: the fields of its event, and the same as nodes below its object.

Source: OPC UA Part 9, 5.7 (AcknowledgeableConditionType), 5.8.2 (AlarmConditionType), 5.8.17 (OffNormalAlarmType).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asyncua import ua

from lineside_gateway.publish.conditions.condition import Condition
from lineside_gateway.publish.conditions.event import Path, path
from lineside_gateway.publish.nodeids import ObjectIds, standard, status_code


@dataclass(frozen=True, slots=True)
class Part:
    """One field of AcknowledgeableConditionType that is also a node; ``variable`` tells a component from a property."""

    names: tuple[str, ...]
    data_type: int
    variant: ua.VariantType
    variable: int = 0

    @property
    def path(self) -> Path:
        """Its browse path in the base namespace."""
        return path(*self.names)


_TWO_STATE, _CONDITION_VARIABLE = ObjectIds.TwoStateVariableType, ObjectIds.ConditionVariableType
_V = ua.VariantType
PARTS = (
    Part(("EventId",), ObjectIds.ByteString, _V.ByteString),
    Part(("EventType",), ObjectIds.NodeId, _V.NodeId),
    Part(("SourceNode",), ObjectIds.NodeId, _V.NodeId),
    Part(("SourceName",), ObjectIds.String, _V.String),
    Part(("Time",), ObjectIds.UtcTime, _V.DateTime),
    Part(("ReceiveTime",), ObjectIds.UtcTime, _V.DateTime),
    Part(("Message",), ObjectIds.LocalizedText, _V.LocalizedText),
    Part(("Severity",), ObjectIds.UInt16, _V.UInt16),
    Part(("ConditionClassId",), ObjectIds.NodeId, _V.NodeId),
    Part(("ConditionClassName",), ObjectIds.LocalizedText, _V.LocalizedText),
    Part(("ConditionName",), ObjectIds.String, _V.String),
    Part(("BranchId",), ObjectIds.NodeId, _V.NodeId),
    Part(("Retain",), ObjectIds.Boolean, _V.Boolean),
    Part(("EnabledState",), ObjectIds.LocalizedText, _V.LocalizedText, _TWO_STATE),
    Part(("EnabledState", "Id"), ObjectIds.Boolean, _V.Boolean),
    Part(("Quality",), ObjectIds.StatusCode, _V.StatusCode, _CONDITION_VARIABLE),
    Part(("Quality", "SourceTimestamp"), ObjectIds.UtcTime, _V.DateTime),
    Part(("LastSeverity",), ObjectIds.UInt16, _V.UInt16, _CONDITION_VARIABLE),
    Part(("LastSeverity", "SourceTimestamp"), ObjectIds.UtcTime, _V.DateTime),
    Part(("Comment",), ObjectIds.LocalizedText, _V.LocalizedText, _CONDITION_VARIABLE),
    Part(("Comment", "SourceTimestamp"), ObjectIds.UtcTime, _V.DateTime),
    Part(("ClientUserId",), ObjectIds.String, _V.String),
    Part(("AckedState",), ObjectIds.LocalizedText, _V.LocalizedText, _TWO_STATE),
    Part(("AckedState", "Id"), ObjectIds.Boolean, _V.Boolean),
    Part(("ConfirmedState",), ObjectIds.LocalizedText, _V.LocalizedText, _TWO_STATE),
    Part(("ConfirmedState", "Id"), ObjectIds.Boolean, _V.Boolean),
)
ALARM_PARTS = (
    *PARTS,
    Part(("ActiveState",), ObjectIds.LocalizedText, _V.LocalizedText, _TWO_STATE),
    Part(("ActiveState", "Id"), ObjectIds.Boolean, _V.Boolean),
    Part(("InputNode",), ObjectIds.NodeId, _V.NodeId),
    Part(("NormalState",), ObjectIds.NodeId, _V.NodeId),
    Part(("SuppressedOrShelved",), ObjectIds.Boolean, _V.Boolean),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a condition lives: its own object, its type with all above it, and the equipment it is about.

    ``condition_class`` is a type of the base namespace by its constant and name; ``parts`` are its fields.
    """

    node: ua.NodeId
    event_type: ua.NodeId
    types: frozenset[ua.NodeId]
    source: ua.NodeId
    source_name: str
    condition_class: tuple[int, str] = (ObjectIds.ProcessConditionClassType, "ProcessConditionClassType")
    parts: Sequence[Part] = PARTS


def values(condition: Condition, place: Place, status: int) -> dict[Path, ua.Variant]:
    """The fields of the condition's type as they stand; ``status`` is what the values are worth."""
    time = condition.time
    class_id, class_name = place.condition_class
    said: dict[tuple[str, ...], object] = {
        ("EventId",): condition.event_id,
        ("EventType",): place.event_type,
        ("SourceNode",): place.source,
        ("SourceName",): place.source_name,
        ("Time",): time,
        ("ReceiveTime",): time,
        ("Message",): ua.LocalizedText(condition.message),
        ("Severity",): condition.severity,
        ("ConditionClassId",): standard(class_id),
        ("ConditionClassName",): ua.LocalizedText(class_name),
        ("ConditionName",): condition.name,
        ("BranchId",): ua.NodeId(),
        ("Retain",): condition.retain,
        ("EnabledState",): ua.LocalizedText("Enabled"),
        ("EnabledState", "Id"): True,
        ("Quality",): status_code(status),
        ("Quality", "SourceTimestamp"): time,
        ("LastSeverity",): condition.last_severity,
        ("LastSeverity", "SourceTimestamp"): time,
        ("Comment",): ua.LocalizedText(condition.comment),
        ("Comment", "SourceTimestamp"): condition.commented_at or time,
        ("ClientUserId",): condition.user,
        ("AckedState",): ua.LocalizedText("Acknowledged" if condition.acked else "Unacknowledged"),
        ("AckedState", "Id"): condition.acked,
        ("ConfirmedState",): ua.LocalizedText("Confirmed" if condition.confirmed else "Unconfirmed"),
        ("ConfirmedState", "Id"): condition.confirmed,
        ("ActiveState",): ua.LocalizedText("Active" if condition.raised else "Inactive"),
        ("ActiveState", "Id"): condition.raised,
        ("InputNode",): ua.NodeId(),  # the tag is a node of another server
        ("NormalState",): ua.NodeId(),
        ("SuppressedOrShelved",): False,
    }
    return {part.path: _variant(said[part.names], part.variant) for part in place.parts}


def identifiers(above: str, parts: Sequence[Part] = PARTS) -> Iterable[tuple[Part, str, str]]:
    """Each part with the identifier of its node below ``above``, and that of the node it stands under."""
    for part in parts:
        parent = above if len(part.names) == 1 else f"{above}/Condition.{part.names[0]}"
        yield part, f"{above}/Condition.{'.'.join(part.names)}", parent


def _variant(value: object, kind: ua.VariantType) -> ua.Variant:
    return ua.Variant(None, _V.Null) if value is None else ua.Variant(value, kind)
