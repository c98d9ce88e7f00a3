"""The nodes of the OPC UA base namespace, made once per process and copied for each server.

asyncua fills the standard address space of each server anew, about 1 s of CPU; a copy takes 45 ms, so that six servers
(and a restart by fault injection) are up in about a second.
"""

from __future__ import annotations

from asyncua import ua
from asyncua.server.address_space import AddressSpace, AttributeValue, NodeData, NodeManagementService
from asyncua.server.standard_address_space import standard_address_space

_nodes: dict[ua.NodeId, NodeData] = {}


def fill(space: AddressSpace) -> None:
    """Put the standard nodes into ``space``: own attribute and reference lists, shared initial values."""
    if not _nodes:
        first = AddressSpace()
        standard_address_space.fill_address_space(NodeManagementService(first))  # type: ignore[no-untyped-call]
        _nodes.update({nodeid: first[nodeid] for nodeid in first.keys()})  # noqa: SIM118  AddressSpace has no iterator
    for original in _nodes.values():
        copy = NodeData(original.nodeid)
        copy.attributes = {
            key: AttributeValue(attribute.value)
            for key, attribute in original.attributes.items()
            if attribute.value is not None
        }
        copy.references = list(original.references)
        space[copy.nodeid] = copy
