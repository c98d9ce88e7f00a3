"""ObjectTypes of recommendations.

::

    AcknowledgeableConditionType (OPC UA Part 9, 5.7)
    └── RecommendationType                      what every recommendation has; methods Accept and Reject
        ├── MaintenanceRecommendationType ...   one per kind, with what an HMI may count on
        │   └── MaintenanceAdviceType ...       one per task: its declared outputs
"""

from __future__ import annotations

from dataclasses import dataclass, field

from asyncua import ua

from lineside_gateway.publish.fields import COMMON, STANDING, Field, FieldType, output_fields
from lineside_gateway.publish.model.enumerations import add_enumerations
from lineside_gateway.publish.names import browse_name
from lineside_gateway.publish.nodeids import ObjectIds, standard
from lineside_gateway.publish.reasons import add_reason_type
from lineside_gateway.publish.recommendation_nodes import HostedTask
from lineside_gateway.publish.variables import Builder, argument
from lineside_plugins.types import Kind

BASE_TYPE = "RecommendationType"
METHODS = {
    "Accept": "Accept the recommendation on display; in mode confirm it is then written, through the guard",
    "Reject": "Reject the recommendation on display; it is not written",
}
_ARGUMENTS = (
    argument("Key", ua.VariantType.String, "Key of the recommendation as shown; empty: the one on display"),
    argument("Comment", ua.VariantType.LocalizedText, "Why, for the audit log and for training"),
)
_KINDS = {
    Kind.MAINTENANCE: "Advice to maintain a machine",
    Kind.REJECT: "Advice to reject a part",
    Kind.SCHEDULE: "Advice to change the sequence of job orders",
    Kind.SET_POINT: "Advice to change a set-point",
}


@dataclass(slots=True)
class TypeModel:
    """Builds the types of one server; the types of tasks as they are asked for."""

    builder: Builder
    methods: dict[str, ua.NodeId] = field(default_factory=dict)
    _types: dict[str, ua.NodeId] = field(default_factory=dict)

    async def build(self) -> None:
        """Data types, RecommendationType and the type of every kind."""
        server, namespace = self.builder.server, self.builder.namespace
        self.builder.data_types[FieldType.REASONS] = await add_reason_type(server, namespace)
        self.builder.data_types |= await add_enumerations(server, namespace)
        parent = standard(ObjectIds.AcknowledgeableConditionType)
        text = "A model's advice, its reasons, its origin, its worth, and what became of it"
        base = self._types[BASE_TYPE] = await self.builder.add_object_type(parent, BASE_TYPE, text)
        for shown in (*COMMON, *STANDING):
            await self._declare(base, BASE_TYPE, shown)
        for name, words in METHODS.items():
            identifier = f"{BASE_TYPE}/{name}"
            self.methods[name] = await self.builder.add_method(
                base, identifier, name, words, _ARGUMENTS, mandatory=True
            )
        for kind, words in _KINDS.items():
            name = kind_type(kind)
            self._types[name] = await self.builder.add_object_type(base, name, words)

    async def of(self, hosted: HostedTask) -> ua.NodeId:
        """The ObjectType of a task's recommendations, below the type of its kind: its declared outputs."""
        name = f"{browse_name(hosted.task.replace('-', '_'))}AdviceType"
        if name not in self._types:
            words = f"{hosted.outputs.kind.value} advice of task {hosted.task}"
            parent = self._types[kind_type(hosted.outputs.kind)]
            node = await self.builder.add_object_type(parent, name, words)
            for shown in output_fields(hosted.outputs):
                await self._declare(node, name, shown)
            self._types[name] = node
        return self._types[name]

    def supertypes(self, hosted: HostedTask) -> frozenset[ua.NodeId]:
        """The type of a task's recommendations and all above it, as an event filter's OfType sees them."""
        name = f"{browse_name(hosted.task.replace('-', '_'))}AdviceType"
        own_types = {self._types[name], self._types[kind_type(hosted.outputs.kind)], self._types[BASE_TYPE]}
        above = (ObjectIds.AcknowledgeableConditionType, ObjectIds.ConditionType, ObjectIds.BaseEventType)
        return frozenset(own_types | {standard(i) for i in above})

    async def _declare(self, parent: ua.NodeId, type_name: str, shown: Field) -> None:
        await self.builder.add_variable(parent, f"{type_name}/{shown.browse_name}", shown, declaration=True)


def kind_type(kind: Kind) -> str:
    """Name of the ObjectType of a kind."""
    return f"{browse_name(kind.value)}{BASE_TYPE}"
