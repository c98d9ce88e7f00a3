"""Nodes by address: NodeIds with their URI, browse paths with globs, tags by BrowseName; typed writes; the tree."""

from __future__ import annotations

import pytest
from asyncua import ua

from lineside_gateway.errors import NodeError, WriteError
from lineside_gateway.opcua.addresses import BrowseAddress, Namespaces, NodeIdAddress, matches, parse_address
from lineside_gateway.opcua.browse import browse_server, shown
from lineside_gateway.opcua.nodes import WantedEquipment, find, resolve
from lineside_gateway.opcua.session import Session
from lineside_gateway.opcua.structures import Structure, StructureField
from lineside_gateway.opcua.writer import variant, write
from lineside_gateway.settings import EquipmentSettings

NAMESPACES = Namespaces(("http://opcfoundation.org/UA/", "urn:app", "urn:plc"))


@pytest.mark.parametrize(
    ("text", "index", "identifier"),
    [
        ("nsu=urn:plc;s=A1.Vib", 2, "A1.Vib"),
        ("nsu=urn:plc;i=7", 2, 7),
        ("ns=2;s=A;B=1", 2, "A;B=1"),
        ("i=2253", 0, 2253),
    ],
)
def test_a_node_id_resolves_by_its_uri(text, index, identifier):
    """A configured NodeId finds its namespace by URI, whatever its index on this connection."""
    node_id = parse_address(text).resolve(NAMESPACES)
    assert (node_id.NamespaceIndex, node_id.Identifier) == (index, identifier)


def test_an_index_is_known_as_such():
    """ns= is accepted, and told apart so that the check can warn."""
    assert parse_address("ns=2;s=x").by_index
    assert not parse_address("nsu=urn:plc;s=x").by_index
    assert not parse_address("i=85").by_index
    assert NAMESPACES.text(ua.NodeId("A1.Vib", 2)) == "nsu=urn:plc;s=A1.Vib"


def test_a_namespace_that_is_not_there():
    """The URI is named, and those that are there."""
    with pytest.raises(NodeError, match=r"namespace 'urn:x' is not on the server; it has .*urn:plc"):
        NodeIdAddress("s=A", "urn:x", 0).resolve(NAMESPACES)


def test_browse_paths_have_escapes_and_globs():
    """A slash inside a BrowseName is written &/, and any part may be a glob."""
    assert parse_address("Objects/Line&/1/A*") == BrowseAddress(("Objects", "Line/1", "A*"))
    assert parse_address("Objects/Line 1/A?").has_glob
    assert matches("A1", "A[12]")
    assert not matches("a1", "A1")
    for wrong in ("", "Objects//A", "ns=x;s=A", "i=abc"):
        with pytest.raises(NodeError, match="write"):
            parse_address(wrong)


async def test_a_glob_makes_each_match_one_piece_of_equipment(bench):
    """Objects/A* is every machine whose BrowseName begins with A, named by BrowseName, each with its own tags."""
    plc = await bench.plc("A1", {"Vib": 1.0})
    other = await plc.endpoint.server.nodes.objects.add_object(plc.ns, "A2")
    folder = await other.add_folder(plc.ns, "Vibration")
    await folder.add_variable(plc.ns, "Vib", 2.5)
    want = WantedEquipment(EquipmentSettings(browse="Objects/A?", area="North"), {"Vib": "Vib"})
    async with Session(bench.server(plc.url), bench.pki).connect() as connection:
        found = await resolve(connection, [want])
    assert [e.id for e in found] == ["A1", "A2"]
    assert [e.tags["Vib"].equipment_id for e in found] == ["A1", "A2"]
    assert found[0].area == "North"


async def test_a_tag_is_described_as_the_server_has_it(bench):
    """Data type, rank, unit, range and access come from the node; a path may lead below the equipment or to {id}."""
    plc = await bench.plc("A1", {"Vib": 1.0, "Curve": [1.0], "SetSpeed": 1.0, "Text": "x"})
    tags = {"V": "A1/Vib", "C": f"nsu={plc.uri};s={{id}}.Curve", "S": "SetSpeed", "T": "Text"}
    async with Session(bench.server(plc.url), bench.pki).connect() as connection:
        (equipment,) = await resolve(
            connection, [WantedEquipment(EquipmentSettings(id="A1", browse="Objects/A1"), tags)]
        )
    v, c, s, t = (equipment.tags.get(x) for x in "VCST")
    assert v is None, "the equipment's own name is not below it"
    assert "no node 'A1/Vib' below 'A1'" in equipment.missing["V"]
    assert (c.is_array, c.numeric, c.data_type) == (True, False, ua.VariantType.Float)
    assert (s.unit, s.eu_range, s.writable, s.numeric) == ("mm/s", (0.0, 50.0), True, True)
    assert (t.writable, t.numeric, t.data_type_name) == (False, False, "String")


async def test_the_search_has_bounds(bench):
    """Below max_depth nothing is found, and the cause says so; the nearest of two nodes of one name wins."""
    plc = await bench.plc("A1", {"Near": 1.0})
    level = plc.root
    for name in ("One", "Two", "Three"):
        level = await level.add_folder(plc.ns, name)
        await level.add_variable(plc.ns, "Near", 9.0)
    await level.add_variable(plc.ns, "Far", 3.0)
    want = [WantedEquipment(EquipmentSettings(id="A1", browse="Objects/A1"), {"Near": "Near", "Far": "Far"})]
    async with Session(bench.server(plc.url, max_depth=2), bench.pki).connect() as connection:
        (shallow,) = await resolve(connection, want)
    async with Session(bench.server(plc.url), bench.pki).connect() as connection:
        (deep,) = await resolve(connection, want)
    assert "max_depth=2" in shallow.missing["Far"]
    assert "Far" in deep.tags
    assert deep.tags["Near"].address.endswith("s=A1.Near")


async def test_a_browse_path_that_ends_early(bench):
    """The sentence names the part that is not there and what stands beside it."""
    plc = await bench.plc("A1", {"Vib": 1.0})
    async with Session(bench.server(plc.url), bench.pki).connect() as connection:
        with pytest.raises(NodeError, match=r"'A2' of browse path 'Objects/A2/Vib' is not below 'Objects'.*there: A1"):
            await find(connection, "Objects/A2/Vib")
        with pytest.raises(NodeError, match="node 'i=999999' is not on server 'S'"):
            await find(connection, "i=999999")


async def test_a_tag_of_the_wrong_type_is_missing_with_its_cause(bench):
    """A task that needs a number gets none from text: the tag is listed, the others deliver."""
    plc = await bench.plc("A1", {"Vib": "high", "Temp": 40.0})
    entry = EquipmentSettings(id="A1", browse="Objects/A1")
    want = WantedEquipment(entry, {"Vib": "Vib", "Temp": "Temp"}, numeric=frozenset({"Vib", "Temp"}))
    async with Session(bench.server(plc.url), bench.pki).connect() as connection:
        (equipment,) = await resolve(connection, [want])
    assert set(equipment.tags) == {"Temp"}
    assert equipment.unfit == {"Vib"}
    assert "is String and the task needs a number; point tags.Vib at" in equipment.missing["Vib"]


async def test_a_structure_is_missing_with_its_cause(bench):
    """A structure is no value for a task, window or not: the tag is listed with the next step, the others deliver."""
    plc = await bench.plc("A1", {"Vib": 1.0})
    for tag, value, is_array in (("Limits", ua.Range(0.0, 1.0), False), ("Steps", [ua.Range(0.0, 1.0)], True)):
        await plc.endpoint.add_variable(
            plc.root,
            ua.NodeId(f"A1.{tag}", plc.ns),
            ua.Variant(value, ua.VariantType.ExtensionObject, is_array=is_array),
            data_type=ua.NodeId(ua.ObjectIds.Range),
        )
    plan = bench.plan(plc.url, {t: t for t in ("Vib", "Limits", "Steps")})
    async with Session(plan.server, bench.pki).connect() as connection:
        (equipment,) = await resolve(connection, plan.equipment)
    assert set(equipment.tags) == {"Vib"}
    assert equipment.unfit == {"Limits", "Steps"}
    assert "is Range, a structure, and tasks take plain values; point tags.Limits at" in equipment.missing["Limits"]
    assert "is an array of Range, a structure" in equipment.missing["Steps"]


async def test_writes_take_the_nodes_own_type(bench):
    """A number is written as the node's type and read back; what does not fit is refused before it is sent."""
    plc = await bench.plc("A1", {"SetSpeed": 1.0, "SetCount": 1, "SetName": "", "SetFlag": False, "Vib": 1.0})
    names = ("SetSpeed", "SetCount", "SetName", "SetFlag", "Vib")
    link = bench.link(plc.url, *names)
    await bench.until(lambda: link.connected)
    for tag, value in (("SetSpeed", 2), ("SetCount", 3.0), ("SetName", "x"), ("SetFlag", True)):
        done = await link.write("A1", tag, value)
        assert (done.status, done.confirmed) == ("Good", True)
        assert await plc.value(tag) == value
    for tag, value, said in (
        ("SetCount", 2.5, "whole numbers"),
        ("SetCount", 2**31, "whole numbers -2147483648 to 2147483647"),
        ("SetSpeed", float("nan"), "finite"),
        ("SetFlag", 1, "Boolean"),
        ("SetName", 1, "String"),
        ("Vib", 1.0, "no CurrentWrite"),
    ):
        with pytest.raises(WriteError, match=said) as caught:
            await link.write("A1", tag, value)
        assert caught.value.permanent
    with pytest.raises(WriteError, match="is not on server"):
        await link.write("A1", "Nothing", 1.0)
    await plc.stop()
    await bench.until(lambda: not link.connected)
    with pytest.raises(WriteError, match="not connected") as caught:
        await link.write("A1", "SetSpeed", 1.0)
    assert not caught.value.permanent


async def test_a_written_value_has_no_timestamp(bench):
    """Many PLCs refuse a write that brings its own timestamp, so none is sent."""
    plc = await bench.plc("A1", {"SetSpeed": 1.0})
    sent = []
    async with Session(bench.server(plc.url), bench.pki).connect() as connection:
        want = WantedEquipment(EquipmentSettings(id="A1", browse="Objects/A1"), {"SetSpeed": "SetSpeed"})
        (equipment,) = await resolve(connection, [want])

        async def spy(params, user):
            sent.extend(params.NodesToWrite)
            return await original(params, user)

        service = plc.endpoint.server.iserver.attribute_service
        original, service.write = service.write, spy
        await write(connection, equipment.tags["SetSpeed"], 3.0)
    (item,) = sent
    assert item.Value.SourceTimestamp is None
    assert item.Value.ServerTimestamp is None
    assert item.Value.Value.VariantType is ua.VariantType.Double
    assert variant(equipment.tags["SetSpeed"], 3).Value == 3.0


async def test_the_tree_shows_addresses_types_units_and_values(bench):
    """Each line of the tree has what belongs into the settings and what an engineer looks for."""
    plc = await bench.plc("A1", {"Vib": 1.25, "SetName": "n", "Image": b"abc"})
    tree = await browse_server(bench.server(plc.url), bench.pki)
    by_path = {n.path: n for n in tree}
    vib = by_path["Objects/A1/Vib"]
    assert (vib.address, vib.data_type, vib.value, vib.unit) == (f"nsu={plc.uri};s=A1.Vib", "Double", "1.25", "mm/s")
    assert by_path["Objects/A1/SetName"].writable
    assert by_path["Objects/A1/Image"].value == "3 bytes"
    assert not any(n.path.startswith("Objects/Server/") for n in tree), "the Server object stays closed"
    assert tree.index(by_path["Objects/A1"]) < tree.index(vib)
    assert shown([1.0, 2.0, 3.0, 4.0]) == "[1, 2, 3, ...] (4)"


def test_structures_are_read_as_they_are_written():
    """Optional fields, nested structures and arrays survive a round trip; what is absent stays absent."""
    inner = Structure("Inner", ua.NodeId(2, 1), [StructureField("ID", ua.VariantType.String, False, False)])
    outer = Structure("Outer", ua.NodeId(3, 1))
    outer.fields += [
        StructureField("Name", ua.VariantType.String, False, False),
        StructureField("Priority", ua.VariantType.Int16, False, True),
        StructureField("Texts", ua.VariantType.LocalizedText, True, True),
        StructureField("Units", ua.EUInformation, False, True),
        StructureField("Parts", inner, True, True),
        StructureField("Self", outer, True, True),
    ]
    value = {
        "Name": "x", "Priority": -3, "Texts": None, "Units": ua.EUInformation(UnitId=5),
        "Parts": [{"ID": "a"}, {"ID": "b"}],
        "Self": [
            {"Name": "y", "Priority": None, "Texts": [ua.LocalizedText("t")], "Units": None, "Parts": [], "Self": None}
        ],
    }  # fmt: skip
    wire = outer.encode(value)
    assert wire.TypeId == ua.NodeId(3, 1)
    assert outer.decode(wire) == value
    assert outer.decode(ua.ExtensionObject()) is None
