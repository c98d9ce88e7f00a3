"""lineside init against a running server: what it writes passes lineside check --connect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asyncua import Server, ua
from typer.testing import CliRunner

from lineside_gateway.cli import app
from lineside_gateway.errors import LinesideError
from lineside_gateway.settings import load_settings
from tests.gateway.opcua.conftest import Bench

MILL = {
    "Monitoring": {"Vibration": {"RMS": (1.0, "mm/s"), "Kurtosis": (3.0, "")}, "OilTemp": (60.0, "°F")},
    "Spindle": {"Temp_degC": (40.0, "°C"), "Power": (5.0, "kW"), "Load": (0.5, "%")},
    "Production": {"Status": (1, ""), "Active_Family": (0, ""), "Tool_Counter": (3, "")},
}


async def fill(server: Server, ns: int, parent, tree) -> None:
    for name, below in tree.items():
        if isinstance(below, dict):
            await fill(server, ns, await parent.add_object(ns, name), below)
            continue
        value, unit = below
        kind = ua.VariantType.Double if isinstance(value, float) else ua.VariantType.Int16
        node = await parent.add_variable(ns, name, ua.Variant(value, kind))
        if unit:
            information = ua.EUInformation(DisplayName=ua.LocalizedText(unit))
            await node.add_property(0, "EngineeringUnits", ua.Variant(information, ua.VariantType.ExtensionObject))


@pytest.fixture
async def foreign(bench: Bench) -> AsyncIterator[str]:
    """Three mills as another vendor names and nests them; the third has no kurtosis, and there is a tank beside."""
    server = Server()
    await server.init()
    url = f"opc.tcp://127.0.0.1:{bench.free_port()}/vendor"
    server.set_endpoint(url)
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    ns = await server.register_namespace("urn:vendor:cell")
    cell = await (await server.nodes.objects.add_folder(ns, "Works")).add_folder(ns, "Cell 4")
    poor = {**MILL, "Monitoring": {"Vibration": {"RMS": (1.0, "mm/s")}}}
    mills = {"CNC_01": MILL, "CNC_02": MILL, "CNC_03": poor}
    await fill(server, ns, cell, mills | {"Tank": {"Level": (1.0, "m")}})
    async with server:
        yield url


async def lineside(*arguments: str):
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))


async def test_what_init_writes_passes_check_connect(foreign: str, tmp_path: Path) -> None:
    """Foreign names, nesting and spellings of units: the settings run, and a second init leaves them alone."""
    out = tmp_path / "lineside.yaml"
    done = await lineside("init", foreign, "--out", str(out), "--name", "cell4")
    assert done.exit_code == 0, done.output
    assert "maintenance, advisory; checked at the server: 0 errors" in done.output
    settings = load_settings(out)
    assert [e.browse for e in settings.equipment] == ["Objects/Works/Cell 4/CNC_0*"]
    assert settings.tags["SpindleTemp"] == "Spindle/Temp_degC"
    assert [(t.task, t.equipment) for t in settings.tasks] == [("maintenance", ("CNC_01", "CNC_02"))]
    assert (await lineside("check", str(out), "--connect")).exit_code == 0
    before = out.read_text()
    with pytest.raises(LinesideError, match=r"is there already; write over it with --force, or name another --out"):
        raise (await lineside("init", foreign, "--out", str(out))).exception
    assert out.read_text() == before
    asked = await lineside("init", foreign, "--out", str(out), "--force", "--task", "reject")
    assert asked.exit_code == 2
    assert "missing: task reject needs SerialNo, which is not found on CNC_01, CNC_02, CNC_03" in asked.output
    assert load_settings(out).tasks[0].task == "reject"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["opc.tcp://127.0.0.1:9"], "'PLC' at opc.tcp://127.0.0.1:9 refuses the connection; start it or correct url"),
        (["192.168.0.5"], "URL is '192.168.0.5': expected opc.tcp://host:port/path"),
        (["opc.tcp://127.0.0.1:9", "--security", "Basic128"], "--security is 'Basic128': Input should be 'None', 'Bas"),
        (["opc.tcp://127.0.0.1:9", "--task", "maintain"], "'maintain' is not installed"),
    ],
)
async def test_what_stands_in_the_way_is_one_sentence(arguments: list[str], said: str, tmp_path: Path) -> None:
    """What, where, what to do; no file is left behind."""
    out = tmp_path / "lineside.yaml"
    failed = await lineside("init", *arguments, "--out", str(out))
    assert said in str(failed.exception)
    assert "\n" not in str(failed.exception)
    assert not out.exists()


def test_certificates_are_accepted_before_there_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """lineside trust, without a settings file, looks where init puts the certificates that it refused."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "var" / "pki" / "rejected").mkdir(parents=True)
    assert "no certificates yet" in CliRunner().invoke(app, ["trust", "list"]).output
    other = CliRunner().invoke(app, ["trust", "list", "--config", "other.yaml"])
    assert "other.yaml does not exist" in str(other.exception)
