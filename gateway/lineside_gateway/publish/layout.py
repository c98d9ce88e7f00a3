"""Where everything stands below ``Objects/Lineside``, and the types it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from asyncua import ua

from lineside_gateway.guard.modes import HOSTED
from lineside_gateway.publish.fields import COMMON, STATUS_TEXT, Field, output_fields
from lineside_gateway.publish.names import FLAT, ROOT, browse_name, flat_id, structured_id
from lineside_gateway.publish.nodeids import ObjectIds, standard
from lineside_gateway.publish.recommendation_nodes import Cell, HostedTask, RecommendationNodes
from lineside_gateway.publish.variables import Builder

BASE_TYPE = "RecommendationType"


@dataclass(slots=True)
class Layout:
    """Builds the address space once, before the server listens."""

    builder: Builder
    good_share: float
    root: ua.NodeId = field(default_factory=ua.NodeId)
    flat: ua.NodeId = field(default_factory=ua.NodeId)
    _folders: dict[tuple[str, ...], ua.NodeId] = field(default_factory=dict)
    _types: dict[str, ua.NodeId] = field(default_factory=dict)

    async def build(self, tasks: Sequence[HostedTask]) -> dict[tuple[str, str], RecommendationNodes]:
        """Nodes by (task, equipment_id) for every task whose mode is shown at all."""
        objects = standard(ObjectIds.ObjectsFolder)
        self.root = await self.builder.add_object(objects, ROOT, ROOT, organizes=True)
        self.flat = await self.builder.add_object(self.root, FLAT, FLAT, organizes=True)
        base = await self.builder.add_object_type(
            standard(ObjectIds.BaseObjectType), BASE_TYPE, "A model's advice, its reasons, its origin and its worth"
        )
        for shown in (*COMMON, STATUS_TEXT):
            await self._declare(base, BASE_TYPE, shown)
        self._types[BASE_TYPE] = base
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
        type_definition = await self._type(hosted)
        above = structured_id(*path, hosted.task)
        node = await self.builder.add_object(parent, above, hosted.task, type_definition=type_definition)
        nodes = RecommendationNodes(hosted, self.builder, self.good_share)
        for shown in (*output_fields(hosted.outputs), *COMMON, STATUS_TEXT):
            nodes.cells[shown.name] = await self._cell(node, above, twins, shown, hosted)
        await nodes.announce()
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
            parent = await self._folder(path[:-1])
            self._folders[path] = await self.builder.add_object(parent, structured_id(*path), path[-1], organizes=True)
        return self._folders[path]

    async def _type(self, hosted: HostedTask) -> ua.NodeId:
        """The task's own ObjectType below RecommendationType: its declared outputs."""
        name = f"{browse_name(hosted.task.replace('-', '_'))}{BASE_TYPE}"
        if name not in self._types:
            words = f"{hosted.outputs.kind.value} advice of task {hosted.task}"
            node = await self.builder.add_object_type(self._types[BASE_TYPE], name, words)
            for shown in output_fields(hosted.outputs):
                await self._declare(node, name, shown)
            self._types[name] = node
        return self._types[name]

    async def _declare(self, parent: ua.NodeId, type_name: str, shown: Field) -> None:
        await self.builder.add_variable(parent, f"{type_name}/{shown.browse_name}", shown, declaration=True)
