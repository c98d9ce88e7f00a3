"""lineside check: what is wrong, where, and what to do, before anything runs."""

from __future__ import annotations

import pytest

from lineside_gateway.opcua.check import check_file, check_settings
from lineside_gateway.opcua.check_connect import check_connect
from lineside_gateway.opcua.finding import Severity
from lineside_gateway.settings import read_settings
from lineside_plugins import registry

BASE = """
version: 1
servers: [{name: A1, url: "opc.tcp://127.0.0.1:4841"}]
equipment: [{id: A1, browse: "Objects/A1"}]
tasks: [{task: maintenance}]
"""


def found(findings, severity=Severity.ERROR):
    return {f.where: f.what for f in findings if f.severity is severity}


def check(text):
    return check_settings(read_settings(text, environment={}))


def test_a_sound_file_has_neither_errors_nor_warnings():
    """What is right is said too: the task is installed."""
    findings = check(BASE + "gateway: {security: {anonymous: true}}\n")
    assert found(findings) == found(findings, Severity.WARNING) == {}
    assert found(findings, Severity.OK) == {"tasks[0] maintenance": "installed, mode advisory"}


def test_a_hosted_server_without_users_is_told_before_it_runs(tmp_path):
    """Neither users nor anonymous readers: nobody could look at what the gateway says, and the next step adds one."""
    findings = check(BASE + f"gateway: {{data_dir: {tmp_path}}}\n")
    told = next(f for f in findings if f.where == "gateway.security")
    assert "nobody may read" in told.what
    assert "lineside users add" in told.next_step


def test_a_task_that_is_not_installed():
    """The name that was probably meant is offered, and every finding of an error has a next step."""
    findings = check(BASE.replace("task: maintenance", "task: maintenence"))
    assert "did you mean 'maintenance'?" in found(findings)["tasks[0] maintenence"]
    assert all(f.next_step for f in findings if f.severity is Severity.ERROR)


@pytest.mark.parametrize(
    ("old", "new", "severity", "where", "said"),
    [
        ("Objects/A1", "Objects//A1", Severity.ERROR, "equipment[0].browse", "empty part"),
        ("Objects/A1", "ns=2;s=A1", Severity.WARNING, "equipment[0].browse", "uses a namespace index"),
        ("127.0.0.1", "plc.example", Severity.WARNING, "servers[0] A1.security", "is not secured"),
        ("4841\"}", "4841\", security: {user: u}}", Severity.WARNING, "servers[0] A1.security", "unencrypted"),
        ("4841\"}", "4841\", security: {user: u, password_file: nofile}}", Severity.ERROR,
         "servers[0] A1.security", "cannot be read"),
        ("4841\"}", "4841\", security: {trust: [nofile]}}", Severity.ERROR,
         "servers[0] A1.security.trust", "does not exist"),
        ("maintenance}", "maintenance, config: {x: 1}}", Severity.ERROR, "tasks[0] maintenance", "config key 'x'"),
        ("maintenance}", "maintenance, mode: closed_loop}", Severity.WARNING, "tasks[0] maintenance", "has no write"),
        ("maintenance}", "maintenance, write: [{set: {M: '{nothing}'}}]}", Severity.ERROR,
         "tasks[0] maintenance.write[0].set.M", "'{nothing}' is not an output"),
        ("127.0.0.1:4841", "127.0.0.1:4850", Severity.ERROR, "gateway.endpoint", "is server 'A1'"),
    ],
)  # fmt: skip
def test_offline_findings(old, new, severity, where, said):
    """Each rule that needs no connection finds its mistake at its place."""
    assert old in BASE
    assert said in found(check(BASE.replace(old, new)), severity)[where]


def test_a_file_that_cannot_be_loaded_gives_findings_too(tmp_path):
    """Problems of the loader are findings with their line, so that the command prints one table."""
    file = tmp_path / "f.yaml"
    file.write_text(BASE.replace("tasks:", "task:"))
    settings, findings = check_file(file)
    assert settings is None
    assert any(f.where.endswith(":5: task") and "did you mean 'tasks'?" in f.what for f in findings)
    settings, findings = check_file(tmp_path / "none.yaml")
    assert settings is None
    assert "does not exist" in findings[0].what


async def test_the_shipped_settings_fit_the_running_plant(bench, refplant):
    """Against RefPlant every server is reached, every tag that a task needs is there, types and units agree."""
    findings = await check_connect(refplant, bench.pki)
    assert found(findings) == {}
    fine = found(findings, Severity.OK)
    assert {f"server {s.name}" for s in refplant.servers} <= set(fine)
    assert "is a job order receiver" in fine["job_control"]


async def test_mistakes_are_found_at_the_running_server(bench):
    """Wrong unit, wrong type, missing tag, read-only target and an absent server: one finding each, with its tag."""
    inputs = registry.create("maintenance").inputs()
    tags = {c.tag: 1 if c.tag in {"State", "ActiveFamily", "ToolCount"} else 1.0 for c in inputs.window.channels}
    tags |= {"MaintenanceRequest": False, "MaintenanceTaken": 0}
    plc = await bench.plc("A1", tags)
    write = "write: [{set: {MaintenanceRequest: true}, acknowledge: MaintenanceDone}]"
    text = BASE.replace(
        '127.0.0.1:4841"}', f'127.0.0.1:{plc.port}"}}, {{name: B1, url: "opc.tcp://127.0.0.1:{bench.free_port()}"}}'
    )
    text = text.replace('browse: "Objects/A1"', 'server: A1, browse: "Objects/A1"').replace(
        "maintenance}", f"maintenance, {write}}}"
    )
    errors = found(await check_connect(read_settings(text, environment={}), bench.pki))
    assert "refuses the connection" in errors["server B1"]
    assert "is in mm/s; the task expects degC" in errors["task maintenance, A1.SpindleTemp"]
    assert "is not writable" in errors["task maintenance, A1.MaintenanceRequest"]
    assert "no node 'MaintenanceDone' below 'A1'" in errors["task maintenance, A1.MaintenanceDone"]
    assert "task maintenance, A1.VibRms" not in errors
    wrong = await bench.plc("A1", tags | {"VibRms": "text"})
    text = BASE.replace("4841", str(wrong.port))
    errors = found(await check_connect(read_settings(text, environment={}), bench.pki))
    assert "is String and the task needs a number" in errors["task maintenance, A1.VibRms"]
    assert "applies to no equipment" in errors["task maintenance"]
    text = BASE.replace("4841", str(plc.port)).replace("Objects/A1", "Objects/A7")
    errors = found(await check_connect(read_settings(text, environment={}), bench.pki))
    assert "there: A1" in errors["equipment A1"]
