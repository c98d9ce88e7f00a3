"""Tasks that apply to nothing say so: a gateway that recommends nothing must not look healthy."""

from __future__ import annotations

import pytest
from asyncua import ua

from lineside_gateway.guard.guard import Guard
from lineside_gateway.ingest import TagTable, Windower
from lineside_gateway.ledger import Ledger
from lineside_gateway.opcua.delivery import Equipment, TagNode
from lineside_gateway.runtime.binder import Binder
from lineside_gateway.runtime.tasks import bind_tasks
from lineside_gateway.settings import read_settings

pytestmark = pytest.mark.usefixtures("overheat_site")

SETTINGS = """
version: 1
servers: [{name: PLC, url: "opc.tcp://127.0.0.1:4840"}]
equipment: [{browse: "Objects/Line1/*"}]
tasks: [{task: overheat, mode: advisory, equipment: ["M*"]}]
"""


def machine(name: str, *tags: str) -> Equipment:
    """One machine with numeric tags."""
    found = {
        tag: TagNode(
            name,
            tag,
            ua.NodeId(tag, 2),
            tag,
            ua.VariantType.Double,
            "Double",
            is_array=False,
            unit="",
            eu_range=None,
            readable=True,
            writable=False,
        )
        for tag in tags
    }
    return Equipment(name, "PLC", ua.NodeId(name, 2), name, tags=found)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([machine("M1", "Load"), machine("X1", "SpindleTemp")], "'M1' has no tag SpindleTemp"),
        ([machine("X1", "SpindleTemp")], "none is named 'M*'"),
        ([machine("M1"), machine("M2", "SpindleTemp")], ""),
    ],
)
def test_a_task_that_applies_to_nothing_says_what_is_missing(found: list[Equipment], said: str) -> None:
    """The machine nearest to the task is named with what it lacks; one machine that has it all is enough."""
    settings = read_settings(SETTINGS)
    table = TagTable()
    binder = Binder(settings, bind_tasks(settings).tasks, Windower(table, (), Ledger()), Guard(()))
    binder.bind({"PLC": found})
    sentences = binder.unbound(found)
    assert [said in sentence for sentence in sentences] == ([True] if said else [])
