"""What the ready projects for HMIs ask of the gateway; runs without any of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from asyncua import Client

from tests.interop import test_fuxa, test_node_red
from tests.interop.line import LINE, MACHINE, line

DOCKER = Path(__file__).parents[2] / "docker"


def fuxa_addresses() -> set[str]:
    project = json.loads((DOCKER / "fuxa" / "project.json").read_text())
    return {tag["address"] for device in project["devices"].values() for tag in device["tags"].values()}


def node_red_addresses() -> set[str]:
    flow = json.loads((DOCKER / "node-red" / "flows.json").read_text())
    wanted = next(node["func"] for node in flow if node.get("name") == "NodeIds wanted")
    named = re.findall(r"`(\$\{\w+\}\.[\w.]+)`|\"(gateway\.\w+)\"", wanted)
    names = [(flat or own).replace("${machine}", MACHINE).replace("${line}", LINE) for flat, own in named]
    return {f"ns=2;s={name}" for name in names}


async def test_the_projects_show_nodes_that_are_hosted() -> None:
    """Each NodeId that FUXA's project and Node-RED's flow ask for is one of the gateway's flat nodes."""
    asked = {"fuxa": fuxa_addresses(), "node-red": node_red_addresses()}
    assert {program: len(addresses) for program, addresses in asked.items()} == {"fuxa": 29, "node-red": 8}
    async with line() as server, Client(server.endpoint) as client:
        for address in set.union(*asked.values()):
            await client.get_node(address).read_data_type_as_variant_type()


@pytest.mark.parametrize(("program", "tested"), [("fuxa", test_fuxa), ("node-red", test_node_red)])
def test_the_images_hold_what_was_tested(program: str, tested: object) -> None:
    """The overlay's Dockerfile exists, installs the versions of the interop test and copies files that are there."""
    overlay = yaml.safe_load((DOCKER / "compose.hmi.yaml").read_text())["services"]
    text = (DOCKER.parent / overlay[program]["build"]["dockerfile"]).read_text()
    marks = tested.pytestmark  # type: ignore[attr-defined]
    wanted = next(m for m in (marks if isinstance(marks, list) else [marks]) if m.name == "interop").args
    assert [w for w in wanted if not w.startswith("puppeteer") and w not in text] == []
    for sources in re.findall(r"^COPY (.+) \./$", text, re.MULTILINE):
        assert [s for s in sources.split() if not (DOCKER.parent / s).is_file()] == []
    assert all(port.startswith("127.0.0.1:") for port in overlay[program]["ports"])
