"""The information model as a NodeSet2 file (OPC UA Part 6, Annex F), for HMI engineers at design time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from asyncua.common.xmlexporter import XmlExporter
from asyncua.server.server import Server

from lineside_gateway.publish.advisory import add_advisory_methods
from lineside_gateway.publish.companions import Companions
from lineside_gateway.publish.conditions import ConditionDesk, NoAnswers
from lineside_gateway.publish.diagnostics import DiagnosticNodes
from lineside_gateway.publish.layout import Layout
from lineside_gateway.publish.model import TypeModel
from lineside_gateway.publish.names import NAMESPACE_URI
from lineside_gateway.publish.recommendation_nodes import HostedTask
from lineside_gateway.publish.variables import Builder

BASE_URI = "http://opcfoundation.org/UA/"
BASE = ("1.04", "2019-05-01T00:00:00Z")  # the oldest base model that has all types used here


async def export_nodeset(
    tasks: Sequence[HostedTask], gateway_id: str, out: Path, kinds: Sequence[HostedTask] = ()
) -> int:
    """Write all types, and the instances of ``tasks`` with the NodeIds a running gateway gives them; how many nodes.

    ``kinds`` are tasks of which the type alone is written.
    """
    server = Server()  # never listens
    await server.init()
    builder = Builder(server, await server.register_namespace(NAMESPACE_URI))
    types = TypeModel(builder)
    answers = NoAnswers()
    layout = Layout(builder, 0.5, types, ConditionDesk(builder, types, answers), Companions(builder))
    await layout.build(tasks)
    for hosted in (*tasks, *kinds):
        await types.of(hosted)  # of tasks that are not shown too: their mode may change
    await DiagnosticNodes(builder).build(layout, gateway_id)
    await add_advisory_methods(builder, answers)
    space = server.iserver.aspace
    own = [server.get_node(n) for n in space.keys() if n.NamespaceIndex == builder.namespace]  # noqa: SIM118 - no iterator
    exporter = XmlExporter(server)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        await exporter.build_etree(own)  # type: ignore[no-untyped-call]  # asyncua leaves it without types
    root = exporter.etree.getroot()
    assert root is not None  # noqa: S101 - build_etree has made it
    _name_model(root)
    await exporter.write_xml(out)  # type: ignore[no-untyped-call]
    server.iserver.method_service.stop()
    return len(own)


def _name_model(root: Element) -> None:
    """Say which model this is and what it stands on, which asyncua leaves out (Part 6, F.5)."""
    models = Element("Models")
    model = SubElement(models, "Model", ModelUri=NAMESPACE_URI, Version=version("lineside"))
    model.set("PublicationDate", datetime.now(UTC).strftime("%Y-%m-%dT00:00:00Z"))
    SubElement(model, "RequiredModel", ModelUri=BASE_URI, Version=BASE[0], PublicationDate=BASE[1])
    root.insert(1, models)
