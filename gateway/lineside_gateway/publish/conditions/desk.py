"""Hosts the conditions: their nodes, their events at equipment and Server, and what clients do to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from asyncua import ua

from lineside_gateway.hosting import Sample
from lineside_gateway.publish.conditions.answers import Answers
from lineside_gateway.publish.conditions.condition import Condition
from lineside_gateway.publish.conditions.event import HostedEvent, Path, path
from lineside_gateway.publish.conditions.view import Place, identifiers, values
from lineside_gateway.publish.fields import VARIANT, State
from lineside_gateway.publish.model import TypeModel
from lineside_gateway.publish.nodeids import ObjectIds, StatusCodes, standard, status_code
from lineside_gateway.publish.recommendation_nodes import RecommendationNodes, wire_value
from lineside_gateway.publish.variables import Builder

SHARED_METHODS = (
    ObjectIds.ConditionType_AddComment,
    ObjectIds.AcknowledgeableConditionType_Acknowledge,
    ObjectIds.AcknowledgeableConditionType_Confirm,
)
_GOOD = status_code(StatusCodes.Good)


@dataclass(slots=True)
class HostedCondition:
    """One condition with its nodes. ``emitters`` are the notifiers at which its events are seen."""

    condition: Condition
    place: Place
    nodes: RecommendationNodes
    emitters: tuple[ua.NodeId, ...]
    own_nodes: Mapping[Path, ua.NodeId]
    key: str = ""


@dataclass(slots=True)
class ConditionDesk:
    """All conditions of one server, by the NodeId that is their ConditionId. ``keep`` files each event."""

    builder: Builder
    types: TypeModel
    answers: Answers
    keep: Callable[[HostedCondition, HostedEvent], None] = lambda _condition, _event: None
    conditions: dict[ua.NodeId, HostedCondition] = field(default_factory=dict)
    _by_task: dict[tuple[str, str], HostedCondition] = field(default_factory=dict)

    async def host(self, nodes: RecommendationNodes, node: ua.NodeId, source: ua.NodeId, root: ua.NodeId) -> None:
        """Make the recommendation object ``node`` below equipment ``source`` a condition of that equipment."""
        hosted = nodes.hosted
        place = Place(node, await self.types.of(hosted), self.types.supertypes(hosted), source, hosted.equipment_id)
        own_nodes = {}
        for part, identifier, parent in identifiers(str(node.Identifier)):
            own_nodes[part.path] = await self.builder.add_condition_part(identifier, parent, part)
        shared = [standard(i) for i in SHARED_METHODS] + list(self.types.methods.values())
        for method in shared:
            await self.builder.refer(node, ObjectIds.HasComponent, method)
        await self.builder.refer(source, ObjectIds.HasCondition, node)
        emitters = (source, root, standard(ObjectIds.Server))
        made = HostedCondition(Condition(hosted.task), place, nodes, emitters, own_nodes)
        self.conditions[node] = self._by_task[hosted.task, hosted.equipment_id] = made
        await self._write(made, self._fields(made))

    async def follow(self, nodes: RecommendationNodes) -> None:
        """Raise an event where what ``nodes`` show has changed in a way that people are told."""
        found = self._by_task.get((nodes.hosted.task, nodes.hosted.equipment_id))
        rec = nodes.shown
        if found is None or rec is None:
            return
        state, now = State(str(nodes.cells["state"].value)), datetime.now(UTC)
        if rec.key != found.key:
            found.key = rec.key
            flagged = rec.value.get(nodes.hosted.outputs.flag) is True
            due = found.condition.show(rec, flagged=flagged, state=state, now=now)
        else:
            due = found.condition.move(state, now)
        if due:
            await self.announce(found)

    async def announce(self, found: HostedCondition) -> None:
        """Write the condition's nodes and send its event to all its notifiers."""
        fields = self._fields(found)
        await self._write(found, fields)
        events = [self._event(found, emitter, fields) for emitter in found.emitters]
        self.keep(found, events[0])
        for event in events:
            await self.builder.server.iserver.subscription_service.trigger_event(event)

    def events(self) -> list[HostedEvent]:
        """An event for each notifier of each condition that is retained, as it stands."""
        retained = [c for c in self.conditions.values() if c.condition.retain]
        return [self._event(c, emitter, self._fields(c)) for c in retained for emitter in c.emitters]

    def _event(self, found: HostedCondition, emitter: ua.NodeId, fields: Mapping[Path, ua.Variant]) -> HostedEvent:
        return HostedEvent(emitter, found.place.types, fields, found.place.node)

    def _fields(self, found: HostedCondition) -> dict[Path, ua.Variant]:
        fields = values(found.condition, found.place, found.nodes.status)
        for cell in found.nodes.cells.values():
            value = wire_value(cell.shown, cell.value)
            kind = VARIANT[cell.shown.field_type]
            is_array = isinstance(value, list)
            variant = ua.Variant(value, kind, is_array=is_array) if value is not None else ua.Variant()
            fields[path(cell.shown.browse_name, namespace=self.builder.namespace)] = variant
        return fields

    async def _write(self, found: HostedCondition, fields: Mapping[Path, ua.Variant]) -> None:
        now = datetime.now(UTC)
        for part, node in found.own_nodes.items():
            if fields[part].Value is not None:
                await self.builder.write(node, Sample.new(fields[part], _GOOD, now, now))
