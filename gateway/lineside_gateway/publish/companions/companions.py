"""Instantiates companion types beside the recommendations that have something to say in their terms."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asyncua import ua

from lineside_gateway.publish.companions.mirrors import Health, JobOrders, Prognosis, Result
from lineside_gateway.publish.companions.nodesets import (
    DI,
    JOB_CONTROL,
    MACHINE_TOOL,
    RESULT,
    find_nodesets,
    import_nodesets,
)
from lineside_gateway.publish.companions.parts import Part, add_object, add_variable
from lineside_gateway.publish.companions.structures import LocalStructures
from lineside_gateway.publish.names import structured_id
from lineside_gateway.publish.nodeids import ObjectIds, StatusCodes, standard, status_code
from lineside_gateway.publish.recommendation_nodes import RecommendationNodes
from lineside_gateway.publish.variables import Builder
from lineside_plugins.types import Kind

logger = logging.getLogger(__name__)

# NodeIds of the specifications, each in its own namespace; they do not change between versions (Part 3, 5.2.2).
_DEVICE_HEALTH_INTERFACE, _DEVICE_HEALTH_ENUMERATION = 15051, 6244
_PROGNOSIS_LIST, _MAINTENANCE_PROGNOSIS = 2, 9
_RESULT_MANAGEMENT, _RESULT_TYPE, _RESULT_DATA, _RESULT_META_DATA = 1004, 2001, 3008, 3007
_JOB_ORDER_RECEIVER, _JOB_ORDER_AND_STATE, _WORK_MASTER = 1002, 3015, 3007
_HAS_INTERFACE = 17603
_V = ua.VariantType
_STRING = standard(ObjectIds.String)


@dataclass(slots=True)
class Companions:
    """Built once, before the first recommendation is hosted. Without ``folder`` it does nothing."""

    builder: Builder
    folder: Path | None = None
    _index: dict[str, int] = field(default_factory=dict)
    _structures: LocalStructures | None = None

    async def load(self) -> None:
        """Import the nodesets of the folder.

        Raises:
            HostingError: They cannot be read; see ``find_nodesets``.
        """
        if self.folder is None:
            return
        server = self.builder.server
        nodesets = await asyncio.to_thread(find_nodesets, self.folder)
        await import_nodesets(server, nodesets)
        for nodeset in nodesets:
            self._index[nodeset.uri] = await server.get_namespace_index(nodeset.uri)
        self._structures = LocalStructures(server.iserver.aspace)
        logger.info("nodesets_loaded %s", " ".join(self._index))

    async def host(self, nodes: RecommendationNodes, parent: ua.NodeId, path: Sequence[str]) -> None:
        """Add to equipment ``parent``, at ``path``, what ``nodes`` can be told as, and let it follow them."""
        fields, kind = nodes.cells.keys(), nodes.hosted.outputs.kind
        if DI in self._index and "device_health" in fields:
            await self._health(nodes, parent, path)
        if MACHINE_TOOL in self._index and "predicted_time" in fields:
            await self._prognosis(nodes, parent, path)
        if RESULT in self._index and kind is Kind.REJECT:
            await self._result(nodes, parent, path)
        if JOB_CONTROL in self._index and kind is Kind.SCHEDULE and "sequence" in fields:
            await self._job_orders(nodes, parent, path)

    async def _health(self, nodes: RecommendationNodes, parent: ua.NodeId, path: Sequence[str]) -> None:
        identifier = structured_id(*path, "DeviceHealth")
        if self._stands(identifier):  # a second task on the same machine: the first one's word stands
            logger.warning("device_health_is_taken task=%s equipment=%s", nodes.hosted.task, nodes.hosted.equipment_id)
            return
        await self.builder.refer(parent, _HAS_INTERFACE, self._id(DI, _DEVICE_HEALTH_INTERFACE))
        enumeration = self._id(DI, _DEVICE_HEALTH_ENUMERATION)
        node = await self._variable(parent, identifier, Part("DeviceHealth", self._index[DI], enumeration, _V.Int32))
        nodes.mirrors.append(Health(self.builder, node))

    async def _prognosis(self, nodes: RecommendationNodes, parent: ua.NodeId, path: Sequence[str]) -> None:
        index, above = self._index[MACHINE_TOOL], structured_id(*path, "Prognoses")
        of_list, of_one = self._id(MACHINE_TOOL, _PROGNOSIS_LIST), self._id(MACHINE_TOOL, _MAINTENANCE_PROGNOSIS)
        prognoses = await add_object(self.builder, parent, above, "Prognoses", index, of_list)
        own, place = self.builder.namespace, f"{above}/{nodes.hosted.task}"
        one = await add_object(self.builder, prognoses, place, nodes.hosted.task, own, of_one)
        time = Part("PredictedTime", index, standard(ObjectIds.UtcTime), _V.DateTime, type_definition=_PROPERTY)
        activity = Part("Activity", index, standard(ObjectIds.LocalizedText), _V.LocalizedText)
        nodes.mirrors.append(
            Prognosis(
                self.builder,
                await self._variable(one, f"{place}/PredictedTime", time),
                await self._variable(one, f"{place}/Activity", activity),
            )
        )

    async def _result(self, nodes: RecommendationNodes, parent: ua.NodeId, path: Sequence[str]) -> None:
        index, above = self._index[RESULT], structured_id(*path, "ResultManagement")
        management = self._id(RESULT, _RESULT_MANAGEMENT)
        manager = await add_object(self.builder, parent, above, "ResultManagement", index, management)
        results = await add_object(
            self.builder, manager, f"{above}/Results", "Results", index, standard(ObjectIds.FolderType)
        )
        of_result = self._id(RESULT, _RESULT_DATA)
        part = Part(
            nodes.hosted.task, self.builder.namespace, of_result, _V.ExtensionObject,
            type_definition=self._id(RESULT, _RESULT_TYPE),
        )  # fmt: skip
        node = await self._variable(results, f"{above}/Results/{nodes.hosted.task}", part)
        meta_data = self._known.load(self._id(RESULT, _RESULT_META_DATA))
        nodes.mirrors.append(Result(self.builder, node, self._known.load(of_result), meta_data))

    async def _job_orders(self, nodes: RecommendationNodes, parent: ua.NodeId, path: Sequence[str]) -> None:
        index, above = self._index[JOB_CONTROL], structured_id(*path, "ProposedJobOrders")
        receiver = self._id(JOB_CONTROL, _JOB_ORDER_RECEIVER)
        if self._stands(above):
            logger.warning("job_orders_are_taken task=%s equipment=%s", nodes.hosted.task, nodes.hosted.equipment_id)
            return
        own = self.builder.namespace
        proposed = await add_object(self.builder, parent, above, "ProposedJobOrders", own, receiver)
        entry = self._id(JOB_CONTROL, _JOB_ORDER_AND_STATE)
        orders = Part("JobOrderList", index, entry, _V.ExtensionObject, 1)
        equipment = Part("EquipmentID", index, _STRING, _V.String, 1)
        mirror = JobOrders(
            self.builder,
            await self._variable(proposed, f"{above}/JobOrderList", orders),
            await self._variable(proposed, f"{above}/EquipmentID", equipment),
            self._known.load(entry),
        )
        await self._say_nothing_is_taken(proposed, above, index)
        nodes.mirrors.append(mirror)

    async def _say_nothing_is_taken(self, proposed: ua.NodeId, above: str, index: int) -> None:
        """The receiver's other mandatory Variables: it names no master data, takes no order, and has no state."""
        nothing = [
            Part(name, index, _STRING, _V.String, 1)
            for name in ("MaterialClassID", "MaterialDefinitionID", "PhysicalAssetID", "PersonnelID")
        ]
        nothing.append(Part("WorkMaster", index, self._id(JOB_CONTROL, _WORK_MASTER), _V.ExtensionObject, 1))
        for part in nothing:
            node = await self._variable(proposed, f"{above}/{part.name}", part)
            await self.builder.write(node, ua.DataValue(ua.Variant([], part.variant, is_array=True)))
        most = Part("MaxDownloadableJobOrders", index, standard(_V.UInt16), _V.UInt16, type_definition=_PROPERTY)
        node = await self._variable(proposed, f"{above}/{most.name}", most)
        await self.builder.write(node, ua.DataValue(ua.Variant(0, _V.UInt16)))
        state = Part(
            "CurrentState", 0, standard(ObjectIds.LocalizedText), _V.LocalizedText,
            type_definition=standard(ObjectIds.FiniteStateVariableType),
        )  # fmt: skip
        current = await self._variable(proposed, f"{above}/CurrentState", state)
        number = Part("Id", 0, standard(ObjectIds.NodeId), _V.NodeId, type_definition=_PROPERTY)
        identity = await self._variable(current, f"{above}/CurrentState/Id", number)
        for node in (current, identity):  # each order of the list has its own
            await self.builder.write(node, ua.DataValue(StatusCode=status_code(StatusCodes.BadNoData)))

    @property
    def _known(self) -> LocalStructures:
        assert self._structures is not None  # noqa: S101 - load() has imported the types that are asked for
        return self._structures

    def _id(self, uri: str, identifier: int) -> ua.NodeId:
        return ua.NodeId(ua.Int32(identifier), ua.Int16(self._index[uri]))

    def _stands(self, identifier: str) -> bool:
        return self.builder.server.iserver.aspace.get(self.builder.node_id(identifier)) is not None

    async def _variable(self, parent: ua.NodeId, identifier: str, part: Part) -> ua.NodeId:
        return await add_variable(self.builder, parent, identifier, part)


_PROPERTY = standard(ObjectIds.PropertyType)
