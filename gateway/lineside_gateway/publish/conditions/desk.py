"""Hosts the conditions: recommendations and drift alarms, their nodes, their events at equipment and Server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from asyncua import ua

from lineside_gateway.hosting import Sample
from lineside_gateway.publish.conditions.answers import Answers
from lineside_gateway.publish.conditions.condition import Condition
from lineside_gateway.publish.conditions.event import HostedEvent, Path, path
from lineside_gateway.publish.conditions.view import ALARM_PARTS, Place, identifiers, values
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
DRIFT = "Drift"
About = tuple[str, str, str]
"""Task, equipment_id and tag that an alarm is about; tag "" is what the task says."""
_ALARM_TYPES = frozenset(
    standard(i)
    for i in (
        ObjectIds.SystemOffNormalAlarmType, ObjectIds.OffNormalAlarmType, ObjectIds.DiscreteAlarmType,
        ObjectIds.AlarmConditionType, ObjectIds.AcknowledgeableConditionType, ObjectIds.ConditionType,
        ObjectIds.BaseEventType,
    )
)  # fmt: skip


@dataclass(slots=True)
class HostedCondition:
    """One condition with its nodes. ``emitters`` are the notifiers at which its events are seen.

    ``nodes`` are those of the recommendation it is, None for an alarm ``about`` something, worth ``status``.
    """

    condition: Condition
    place: Place
    nodes: RecommendationNodes | None
    emitters: tuple[ua.NodeId, ...]
    own_nodes: Mapping[Path, ua.NodeId]
    key: str = ""
    about: About | None = None
    status: int = StatusCodes.Good


@dataclass(slots=True)
class ConditionDesk:
    """All conditions of one server, by the NodeId that is their ConditionId. ``keep`` files each event."""

    builder: Builder
    types: TypeModel
    answers: Answers
    keep: Callable[[HostedCondition, HostedEvent], None] = lambda _condition, _event: None
    conditions: dict[ua.NodeId, HostedCondition] = field(default_factory=dict)
    _by_task: dict[tuple[str, str], HostedCondition] = field(default_factory=dict)
    _alarms: dict[About, HostedCondition] = field(default_factory=dict)

    async def host(self, nodes: RecommendationNodes, node: ua.NodeId, source: ua.NodeId, root: ua.NodeId) -> None:
        """Make the recommendation object ``node`` below equipment ``source`` a condition of that equipment."""
        hosted = nodes.hosted
        place = Place(node, await self.types.of(hosted), self.types.supertypes(hosted), source, hosted.equipment_id)
        methods = (*(standard(i) for i in SHARED_METHODS), *self.types.methods.values())
        own_nodes = await self._build(place, methods)
        emitters = (source, root, standard(ObjectIds.Server))
        made = HostedCondition(Condition(hosted.task), place, nodes, emitters, own_nodes)
        self.conditions[node] = self._by_task[hosted.task, hosted.equipment_id] = made
        await self._write(made, self._fields(made))

    async def alarm(self, about: About, *, active: bool, message: str, severity: int) -> None:
        """Raise or end the alarm about a tag that a hosted task reads; its object is made when it is first raised."""
        beside = self._by_task.get(about[:2])
        if beside is None:
            return  # a task that is not shown
        if about not in self._alarms:
            if not active:
                return
            self._alarms[about] = await self._host_alarm(beside, about)
        found = self._alarms[about]
        doubted, found.status = found.status != StatusCodes.Good, StatusCodes.Good
        due = found.condition.alarm(active=active, message=message, severity=severity, now=datetime.now(UTC))
        if due or (doubted and active):
            await self.announce(found)

    async def doubt(self, task: str | None, equipment_id: str | None) -> None:
        """Show alarms as last known that nobody looks after any more; None means all."""
        for (its_task, its_equipment, _), found in self._alarms.items():
            hit = task in {None, its_task} and equipment_id in {None, its_equipment}
            if hit and found.condition.raised and found.status == StatusCodes.Good:
                found.status = StatusCodes.UncertainLastUsableValue
                await self.announce(found)

    async def _host_alarm(self, beside: HostedCondition, about: About) -> HostedCondition:
        task, equipment_id, tag = about
        parent, name = beside.place.node, f"{DRIFT}.{tag}" if tag else DRIFT
        node = await self.builder.add_object(
            parent, f"{parent.Identifier!s}/{name}", name, type_definition=standard(ObjectIds.SystemOffNormalAlarmType)
        )
        place = Place(
            node, standard(ObjectIds.SystemOffNormalAlarmType), _ALARM_TYPES, beside.place.source, equipment_id,
            (ObjectIds.SystemConditionClassType, "SystemConditionClassType"), ALARM_PARTS,
        )  # fmt: skip
        own_nodes = await self._build(place, [standard(i) for i in SHARED_METHODS])
        condition = Condition(f"{task} {name}")
        made = HostedCondition(condition, place, None, beside.emitters, own_nodes, about=about)
        self.conditions[node] = made
        return made

    async def _build(self, place: Place, methods: Iterable[ua.NodeId]) -> dict[Path, ua.NodeId]:
        """The nodes of a condition's fields, by path; its methods and its source are referred to."""
        own_nodes = {}
        for part, identifier, parent in identifiers(str(place.node.Identifier), place.parts):
            own_nodes[part.path] = await self.builder.add_condition_part(identifier, parent, part)
        for method in methods:
            await self.builder.refer(place.node, ObjectIds.HasComponent, method)
        await self.builder.refer(place.source, ObjectIds.HasCondition, place.node)
        return own_nodes

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
        if found.nodes is None:
            return values(found.condition, found.place, found.status)
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
