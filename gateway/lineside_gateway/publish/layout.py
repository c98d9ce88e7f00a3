"""Where everything stands below ``Objects/Lineside``, and the types it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from asyncua import ua

from lineside_gateway.guard.modes import HOSTED
from lineside_gateway.publish.companions import Companions
from lineside_gateway.publish.conditions import ConditionDesk
from lineside_gateway.publish.fields import COMMON, STANDING, Field, output_fields
from lineside_gateway.publish.model import TypeModel
from lineside_gateway.publish.names import FLAT, ROOT, flat_id, structured_id
from lineside_gateway.publish.nodeids import ObjectIds, standard
from lineside_gateway.publish.recommendation_nodes import Cell, HostedTask, RecommendationNodes
from lineside_gateway.publish.variables import Builder


@dataclass(slots=True)
class Layout:
    """Builds the address space once, before the server listens; equipment that comes up later is added to it."""

    builder: Builder
    good_share: float
    types: TypeModel
    desk: ConditionDesk
    companions: Companions
    root: ua.NodeId = field(default_factory=ua.NodeId)
    flat: ua.NodeId = field(default_factory=ua.NodeId)
    _folders: dict[tuple[str, ...], ua.NodeId] = field(default_factory=dict)

    async def build(self, tasks: Sequence[HostedTask]) -> dict[tuple[str, str], RecommendationNodes]:
        """Nodes by (task, equipment_id) for every task whose mode is shown at all."""
        objects = standard(ObjectIds.ObjectsFolder)
        self.root = await self.builder.add_object(objects, ROOT, ROOT, organizes=True, notifies=True)
        self.flat = await self.builder.add_object(self.root, FLAT, FLAT, organizes=True)
        await self.builder.notify_at(standard(ObjectIds.Server))
        await self.builder.refer(standard(ObjectIds.Server), ObjectIds.HasNotifier, self.root)
        await self.types.build()
        await self.companions.load()
        return await self.build_tasks(tasks)

    async def build_tasks(self, tasks: Sequence[HostedTask]) -> dict[tuple[str, str], RecommendationNodes]:
        """Nodes of further tasks below a root that stands."""
        built = {}
        for hosted in tasks:
            if hosted.mode in HOSTED:
                built[hosted.task, hosted.equipment_id] = await self._task(hosted)
                await asyncio.sleep(0)  # some 20 ms of CPU each: the sessions of the running gateway go on in between
        return built

    async def _task(self, hosted: HostedTask) -> RecommendationNodes:
        path = (*(p for p in hosted.location if p), hosted.equipment_id)
        parent = await self._folder(path)
        twins = await self._folder((FLAT, hosted.equipment_id))
        type_definition = await self.types.of(hosted)
        above = structured_id(*path, hosted.task)
        node = await self.builder.add_object(parent, above, hosted.task, type_definition=type_definition)
        nodes = RecommendationNodes(hosted, self.builder, self.good_share)
        for shown in (*output_fields(hosted.outputs), *COMMON, *STANDING):
            nodes.cells[shown.name] = await self._cell(node, above, twins, shown, hosted)
        await nodes.announce()
        await self.desk.host(nodes, node, parent, self.root)
        await self.companions.host(nodes, parent, path)
        return nodes

    async def _cell(self, parent: ua.NodeId, above: str, twins: ua.NodeId, shown: Field, hosted: HostedTask) -> Cell:
        cell = Cell(shown, await self.builder.add_variable(parent, f"{above}/{shown.browse_name}", shown))
        if shown.flat_type is not None:
            name = flat_id(hosted.equipment_id, hosted.task, shown.name)
            cell.twin = await self.builder.add_variable(twins, name, shown.as_flat(), name=name)
        return cell

    async def _folder(self, path: tuple[str, ...]) -> ua.NodeId:
        """The folder at ``path`` below the root, made with all above it where missing."""
        if not path:
            return self.root
        if path == (FLAT,):
            return self.flat
        if path not in self._folders:
            parent, notifies = await self._folder(path[:-1]), path[0] != FLAT
            made = await self.builder.add_object(
                parent, structured_id(*path), path[-1], organizes=True, notifies=notifies
            )
            if notifies:
                await self.builder.refer(parent, ObjectIds.HasNotifier, made)
            self._folders[path] = made
        return self._folders[path]
