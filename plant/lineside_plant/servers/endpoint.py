"""One OPC UA server of the plant: quick to start, quiet, and without rights that a plant would not give away."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlparse

from asyncua import ua
from asyncua.common.node import Node
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.address_space import AddressSpace
from asyncua.server.internal_server import InternalServer
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from asyncua.ua.attribute_ids import AttributeIds

from lineside_plant.servers.errors import PortBusyError
from lineside_plant.servers.history_service import MAX_NODES, HistoryService
from lineside_plant.servers.nodeids import ObjectIds, standard
from lineside_plant.servers.standard_nodes import fill


class _InternalServer(InternalServer):
    async def load_standard_address_space(self, shelf_file: Path | None = None) -> None:  # noqa: ARG002  base signature
        fill(self.aspace)


class _Operators(UserManager):
    """Everybody is an operator: reads, subscribes, calls, writes writable nodes; nobody changes the address space."""

    def get_user(
        self,
        iserver: InternalServer,  # noqa: ARG002  asyncua's signature
        username: str | None = None,
        password: str | None = None,  # noqa: ARG002
        certificate: object = None,  # noqa: ARG002
    ) -> User:
        return User(role=UserRole.User, name=username)


class Endpoint:
    """An asyncua server at ``url`` with ``namespaces`` registered in the given order."""

    def __init__(self, name: str, url: str, application_uri: str, namespaces: tuple[str, ...]) -> None:
        self.name = name
        self.url = url
        self.application_uri = application_uri
        self.namespaces = namespaces
        self.server = Server(iserver=_InternalServer(user_manager=_Operators()))
        self.index: dict[str, int] = {}
        self.history = HistoryService(self.server.iserver)
        self.server.iserver.history_manager = self.history

    async def build(self) -> None:
        """Create the address space; nothing listens yet."""
        self.server.set_endpoint(self.url)
        self.server.set_server_name(f"RefPlant {self.name}")
        self.server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        self.server.set_identity_tokens([ua.AnonymousIdentityToken])
        self.server.set_match_discovery_client_ip(False)
        # asyncua's own clock task sleeps a second when it is told to stop; ``write_clock`` keeps CurrentTime instead.
        self.server.disable_clock()
        await self.server.init()
        await self.server.set_application_uri(self.application_uri)
        for uri in self.namespaces:
            self.index[uri] = await self.server.register_namespace(uri)
        data = ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadData
        events = ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadEvents
        for limit in (data, events):
            value = ua.DataValue(ua.Variant(MAX_NODES, ua.VariantType.UInt32))
            await self.space.write_attribute_value(standard(limit), AttributeIds.Value, value)

    async def open(self) -> None:
        """Listen.

        Raises:
            PortBusyError: Another process has the port; choose another one.
        """
        try:
            await self.server.start()
        except OSError as error:
            raise port_busy(self.url, error) from error

    async def close(self) -> None:
        """Close every session and stop listening."""
        await self.server.stop()

    async def write_clock(self) -> None:
        """Write the server's CurrentTime, which clients watch to see that a server is alive."""
        now = datetime.now(UTC)
        status_id, time_id = (
            standard(ObjectIds.Server_ServerStatus),
            standard(ObjectIds.Server_ServerStatus_CurrentTime),
        )
        value = self.space.read_attribute_value(status_id, AttributeIds.Value).Value
        status = replace(value.Value if value is not None else ua.ServerStatusDataType(), CurrentTime=now)
        for nodeid, variant in ((status_id, ua.Variant(status)), (time_id, ua.Variant(now, ua.VariantType.DateTime))):
            stamped = ua.DataValue(variant, SourceTimestamp=now, ServerTimestamp=now)  # type: ignore[arg-type]
            await self.space.write_attribute_value(nodeid, AttributeIds.Value, stamped)

    @property
    def space(self) -> AddressSpace:
        """The server's nodes."""
        return self.server.iserver.aspace

    async def add_variable(
        self,
        parent: Node,
        nodeid: ua.NodeId,
        value: ua.Variant,
        *,
        data_type: ua.NodeId,
        type_definition: int = ObjectIds.BaseDataVariableType,
        writable: bool = False,
        historized: bool = False,
        name_index: int | None = None,
        description: str = "",
    ) -> Node:
        """Add a Variable whose BrowseName is the last part of its string NodeId, and return it."""
        name = str(nodeid.Identifier).rsplit(".", 1)[-1]
        access = ua.AccessLevel.CurrentRead.mask | (ua.AccessLevel.CurrentWrite.mask if writable else 0)
        access |= ua.AccessLevel.HistoryRead.mask if historized else 0
        attributes = ua.VariableAttributes()
        attributes.DisplayName = ua.LocalizedText(name)
        attributes.Description = ua.LocalizedText(description or name)
        attributes.DataType = data_type
        attributes.Value = value
        attributes.ValueRank = ua.ValueRank.OneDimension if value.is_array else ua.ValueRank.Scalar
        attributes.AccessLevel = attributes.UserAccessLevel = access
        attributes.Historizing = historized
        item = ua.AddNodesItem()
        item.RequestedNewNodeId = nodeid
        item.BrowseName = ua.QualifiedName(name, ua.UInt16(nodeid.NamespaceIndex if name_index is None else name_index))
        item.NodeClass = ua.NodeClass.Variable
        item.ParentNodeId = parent.nodeid
        item.ReferenceTypeId = standard(ObjectIds.HasComponent)
        item.TypeDefinition = standard(type_definition)
        item.NodeAttributes = attributes
        (result,) = await self.server.iserver.isession.add_nodes([item])
        result.StatusCode.check()
        return self.server.get_node(nodeid)


def port_busy(url: str, error: OSError) -> PortBusyError:
    """The one sentence for a port that cannot be had."""
    parsed = urlparse(url)
    return PortBusyError(
        f"port {parsed.port} on {parsed.hostname} cannot be opened ({error.strerror or error}); "
        "stop the other process or choose another --port"
    )


def check_ports(host: str, ports: list[int]) -> None:
    """Raise PortBusyError if one of ``ports`` is taken, before any server is built."""
    for port in ports:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise port_busy(f"opc.tcp://{host}:{port}", error) from error


def free_ports(host: str, count: int) -> list[int]:
    """Ports that were free a moment ago, for ``--port 0``."""
    probes = [socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((host, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
