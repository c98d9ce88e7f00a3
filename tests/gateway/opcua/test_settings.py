"""The settings file: what it needs, what it fills in, and what it says when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lineside_gateway.errors import EXIT_CANNOT_GO_ON, SettingsError
from lineside_gateway.settings import (
    Mode,
    SecurityMode,
    Settings,
    SettingsProblemsError,
    load_settings,
    read_settings,
    secret,
    settings_schema,
)

SHORTEST = """
version: 1
servers: [{name: A1, url: "opc.tcp://127.0.0.1:4841"}]
equipment: [{browse: "Objects/*"}]
tasks: [{task: maintenance}]
"""


def problems(text: str) -> list[str]:
    with pytest.raises(SettingsProblemsError) as caught:
        read_settings(text, source="f.yaml", environment={})
    assert caught.value.exit_code == EXIT_CANNOT_GO_ON
    return str(caught.value).splitlines()


def test_the_shortest_useful_file():
    """One server, one equipment pattern and one task are enough; the task is advisory until told otherwise."""
    settings = read_settings(SHORTEST, environment={})
    assert settings.tasks[0].mode is Mode.ADVISORY
    assert settings.tasks[0].equipment_patterns == ("*",)
    assert settings.equipment[0].has_glob
    assert settings.servers[0].queue_size == 1000


def test_an_unknown_key_has_line_path_and_suggestion():
    """A typing error is shown where it stands, with the key that was probably meant."""
    found = problems(SHORTEST.replace("tasks:", "broker: {ulr: x}\ntasks:"))
    assert found == ["f.yaml:5: broker.ulr: unknown key 'ulr'; did you mean 'url'?"]


def test_every_problem_is_shown_at_once():
    """Two mistakes in two places are two lines, not one run after the other."""
    text = SHORTEST.replace('"opc.tcp://127.0.0.1:4841"', "http://x, queue_size: none").replace(
        "task: m", "mode: on, task: m"
    )
    found = problems(text)
    assert [line.split(": ")[1] for line in found] == ["servers[0].url", "servers[0].queue_size", "tasks[0].mode"]
    assert "got 'none'" in found[1]


@pytest.mark.parametrize(
    ("old", "new", "where", "said"),
    [
        ("version: 1", "version: 2", "version", "Input should be 1"),
        ("version: 1\n", "", "version", "required"),
        ('browse: "Objects/*"', 'browse: "Objects/*", server: A2', "equipment[0].server", "did you mean 'A1'?"),
        ('browse: "Objects/*"', 'browse: "Objects/*", id: M', "equipment[0]", "drop id"),
        ("tasks:", "job_control: {server: MES}\ntasks:", "job_control.server", "server 'MES' is not among servers"),
        ("maintenance}", "maintenance, write: [{}]}", "tasks[0].write[0]", "exactly one of set and update_job_orders"),
        ("maintenance}", "m, write: [{update_job_orders: s}]}", "tasks[0].write", "needs job_control"),
        ("maintenance}", "m, write: [{set: {A: 1}, limits: {B: {}}}]}", "tasks[0].write[0]", "set does not write"),
        ("4841\"}", "4841\", security: {mode: Sign}}", "servers[0].security", "needs a policy"),
        ("4841\"}", "4841\", security: {password: x}}", "servers[0].security", "add user"),
        ("4841\"}", "4841\", security: {certificate: x}}", "servers[0].security", "give both or neither"),
    ],
)  # fmt: skip
def test_a_wrong_value_names_its_place_and_the_next_step(old: str, new: str, where: str, said: str):
    """Each rule of the file speaks with the path of the value and what to do."""
    assert old in SHORTEST
    (line,) = problems(SHORTEST.replace(old, new))
    assert line.split(": ")[1] == where
    assert said in line


def test_several_servers_need_naming():
    """Equipment says where it is as soon as there is a choice."""
    text = SHORTEST.replace("}]\nequip", '}, {name: B, url: "opc.tcp://h:1"}]\nequip')
    assert problems(text)[0].endswith("server is missing; with several servers name one of A1, B")


def test_a_name_twice():
    """Server names and equipment ids are unique."""
    text = SHORTEST.replace('{browse: "Objects/*"}', "{id: M, browse: Objects/A}, {id: M, browse: Objects/B}")
    assert "equipment id 'M' is used twice" in problems(text)[0]
    text = SHORTEST.replace("}]\nequip", '}, {name: A1, url: "opc.tcp://h:1"}]\nequip')
    assert "server name A1 is used twice" in problems(text)[0]


def test_environment_variables_are_filled_in_and_typed():
    """${X} and ${X:-default} work in any scalar; a number from the environment is a number."""
    text = SHORTEST.replace("127.0.0.1:4841", "${HOST}:${PORT:-4841}").replace(
        "name: A1", 'name: A1, queue_size: "${Q}"'
    )
    settings = read_settings(text, environment={"HOST": "plc", "Q": "7"})
    assert settings.servers[0].url == "opc.tcp://plc:4841"
    assert settings.servers[0].queue_size == 7


def test_a_variable_cannot_add_keys():
    """What the environment holds is a value and never YAML."""
    text = SHORTEST.replace("name: A1", 'name: "${N}"')
    with pytest.raises(SettingsProblemsError, match="name"):
        read_settings(text, environment={"N": "A1, queue_size: 5"})


def test_a_variable_that_is_not_set():
    """A missing variable is named, with the line and the way to give it a default."""
    with pytest.raises(SettingsError, match=r"f:3: servers\[0\].name: environment variable N is not set.*:-default"):
        read_settings(SHORTEST.replace("name: A1", 'name: "${N}"'), source="f", environment={})
    settings = read_settings(SHORTEST.replace("Objects/*", "Objects/$${N}"), environment={})
    assert settings.equipment[0].browse == "Objects/${N}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "f:1: this is not YAML"),
        ("- 1", "starts with 'version: 1'"),
        ("version: 1\nversion: 1", "f:2: key 'version' stands twice"),
        ("a: !!python/name:os.system x", "this is not YAML"),
    ],
)
def test_what_is_no_settings_file(text: str, said: str):
    """Broken YAML, doubled keys and YAML that would run code are refused with one sentence."""
    with pytest.raises(SettingsError) as caught:
        read_settings(text, source="f", environment={})
    assert said in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path):
    """The path is named."""
    with pytest.raises(SettingsError, match="does not exist; give the path"):
        load_settings(tmp_path / "none.yaml")


def test_paths_and_secrets_count_from_the_file(tmp_path: Path):
    """Relative paths start at the settings file, and a secret is read when it is needed, so that it may rotate."""
    file = tmp_path / "line.yaml"
    security = "security: {policy: Basic256Sha256, user: u, password_file: secret}"
    file.write_text(SHORTEST.replace('4841"', f'4841", {security}'))
    settings = load_settings(file)
    used = settings.servers[0].security
    assert settings.gateway.data_dir == tmp_path / "var"
    assert used.effective_mode is SecurityMode.SIGN_AND_ENCRYPT
    with pytest.raises(SettingsError, match="cannot be read"):
        secret(used)
    (tmp_path / "secret").write_text("first\n")
    assert secret(used) == "first"
    (tmp_path / "secret").write_text("second\n")
    assert secret(used) == "second"


def test_a_password_is_not_shown():
    """Printing the settings does not print the password."""
    text = SHORTEST.replace('4841"', '4841", security: {user: u, password: hunter2}')
    settings = read_settings(text, environment={})
    assert "hunter2" not in repr(settings)
    assert secret(settings.servers[0].security) == "hunter2"


def test_every_key_is_described_in_the_schema():
    """Docs and editors live on the descriptions: none is missing, and the schema is JSON."""
    schema = settings_schema()
    json.dumps(schema)
    sections = [schema, *schema["$defs"].values()]
    bare = [
        f"{s.get('title')}.{name}"
        for s in sections
        for name, p in s.get("properties", {}).items()
        if "description" not in p
    ]
    assert bare == []
    assert all(s.get("additionalProperties") is False for s in sections if "properties" in s)


def test_settings_are_frozen():
    """Nobody changes the settings of a running gateway by accident."""
    settings = read_settings(SHORTEST, environment={})
    with pytest.raises(ValueError, match="frozen"):
        settings.version = 2
    assert isinstance(settings, Settings)
