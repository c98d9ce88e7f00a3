"""Users, lockout and trust on disk, and the commands that keep them."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lineside_gateway.cli import app
from lineside_gateway.errors import LinesideError, TrustError
from lineside_gateway.hosting import Role
from lineside_gateway.hosting.lockout import Lockout
from lineside_gateway.hosting.users import UsersError, UsersFile
from lineside_gateway.opcua.check import check_file
from lineside_gateway.opcua.security import Pki
from lineside_gateway.publish import HostedServer
from lineside_gateway.publish.access import access_of, nobody_may_come
from lineside_gateway.publish.inquiry import WayIn, inquire
from lineside_gateway.settings import Settings, load_settings

PASSWORD = "correct horse battery"  # noqa: S105 - of the users made here
SETTINGS = """version: 1
gateway: {{endpoint: "opc.tcp://{host}:0/lineside", data_dir: data, security: {{{security}}}}}
servers: [{{name: PLC, url: "opc.tcp://127.0.0.1:9"}}]
equipment: [{{browse: "Objects/Line1/*"}}]
tasks: [{{task: maintenance}}]
"""


def config(tmp_path: Path, security: str = "", host: str = "127.0.0.1") -> Path:
    file = tmp_path / "lineside.yaml"
    file.write_text(SETTINGS.format(security=security, host=host))
    return file


def run(*arguments: str, stdin: str | None = None) -> str:
    result = CliRunner().invoke(app, list(arguments), input=stdin)
    if isinstance(result.exception, LinesideError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_users_are_added_listed_changed_and_removed(tmp_path: Path) -> None:
    """`lineside users` keeps names, roles and argon2 hashes in a file only its owner reads; no password is in it."""
    file = config(tmp_path)
    told = run("users", "add", "anna", "--role", "operator", "-c", str(file), "--password-file", "-", stdin=PASSWORD)
    assert "added anna, operator" in told
    run("users", "add", "viv", "-c", str(file), stdin=f"{PASSWORD}\n{PASSWORD}\n")
    run("users", "add", "cert", "-c", str(file), "--certificate", str(Pki(tmp_path / "c", "c").own()[0]))
    path = tmp_path / "data" / "users.yaml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert PASSWORD not in path.read_text()
    assert path.read_text().count("$argon2id$") == 2
    listed = run("users", "list", "-c", str(file))
    assert all(word in listed for word in ("anna", "operator", "viv", "viewer", "certificate"))
    assert "changed anna, engineer" in run(
        "users", "add", "anna", "--role", "engineer", "-c", str(file), "--password-file", "-", stdin=PASSWORD
    )
    run("users", "remove", "viv", "-c", str(file))
    assert set(UsersFile(path).users()) == {"anna", "cert"}
    assert all(role.value in run("users", "roles") for role in Role)


def test_what_will_not_do_is_said_in_one_sentence(tmp_path: Path) -> None:
    """A short password, an unknown user, a strange name and a broken file are named with the next step."""
    users = UsersFile(tmp_path / "users.yaml")
    with pytest.raises(UsersError, match="9 characters, at least 10 are needed"):
        users.add("anna", Role.VIEWER, password="nine" + "chars")
    with pytest.raises(UsersError, match="would have neither password nor certificate"):
        users.add("anna", Role.VIEWER)
    with pytest.raises(UsersError, match="choose another"):
        users.add("an na", Role.VIEWER, password=PASSWORD)
    with pytest.raises(UsersError, match=r"user 'bob' is not in .*users: none"):
        users.remove("bob")
    users.path.write_text("users: [1]")
    with pytest.raises(UsersError, match=r"cannot be read.*add users again"):
        users.users()


def test_a_removed_user_is_out_at_once(tmp_path: Path) -> None:
    """Another process's change of the file is seen at the next login."""
    users, other = UsersFile(tmp_path / "users.yaml"), UsersFile(tmp_path / "users.yaml")
    users.add("anna", Role.OPERATOR, password=PASSWORD)
    assert other.by_password("anna", PASSWORD) is not None
    assert other.by_password("anna", PASSWORD + "x") is None
    users.remove("anna")
    assert other.by_password("anna", PASSWORD) is None


def test_lockout_counts_names_and_addresses() -> None:
    """Three failures lock a name at its address, not elsewhere; an address and a name lock later; time unlocks."""
    now = [0.0]
    lockout = Lockout(3, 60.0, lambda: now[0])
    assert [lockout.failed("anna", "a") for _ in range(3)] == [False, False, True]
    assert lockout.locked("anna", "a")
    assert not lockout.locked("anna", "b")
    assert not lockout.locked("otto", "a")
    for i in range(9):
        lockout.failed(f"guess{i}", "a")
    assert lockout.locked("otto", "a")
    for i in range(27):
        lockout.failed("anna", f"far{i}")
    assert lockout.locked("anna", "b")
    now[0] = 61.0
    assert not lockout.locked("anna", "a")
    lockout.failed("anna", "a")
    lockout.failed("anna", "a")
    lockout.succeeded("anna", "a")
    assert not lockout.failed("anna", "a")


def test_trust_moves_one_certificate(tmp_path: Path) -> None:
    """A rejected client certificate is listed and let in by the start of its fingerprint; an unknown one moves none."""
    file = config(tmp_path)
    rejected = tmp_path / "data" / "pki" / "rejected"
    rejected.mkdir(parents=True)
    der = Pki(tmp_path / "x", "x").own()[0].read_bytes()
    (rejected / "client-x.der").write_bytes(der)
    print_ = hashlib.sha256(der).hexdigest()
    listed = run("trust", "list", "-c", str(file))
    assert all(print_[i : i + 8] in listed for i in range(0, 64, 16))  # whole, if folded
    with pytest.raises(TrustError, match="no certificate 'zzzzzz'"):
        run("trust", "accept", "zzzzzz", "-c", str(file))
    assert print_ in run("trust", "accept", print_[:6], "-c", str(file))
    assert [f.name for f in (tmp_path / "data" / "pki" / "trusted").iterdir()] == ["client-x.der"]


def test_a_gateway_without_users_says_what_to_do(tmp_path: Path) -> None:
    """Without users and anonymous readers one sentence names the command; with either there is none."""
    file = config(tmp_path)
    assert "lineside users add NAME" in nobody_may_come(load_settings(file).gateway)
    findings = [f for f in check_file(file)[1] if f.where == "gateway.security"]
    assert [f.severity.value for f in findings] == ["warning"]
    run("users", "add", "anna", "-c", str(file), "--password-file", "-", stdin=PASSWORD)
    assert nobody_may_come(load_settings(file).gateway) == ""
    other = tmp_path / "other"
    other.mkdir()
    assert nobody_may_come(load_settings(config(other, "anonymous: true")).gateway) == ""


def test_anonymous_readers_beyond_loopback_are_warned_of(tmp_path: Path) -> None:
    """`lineside check` warns where everyone on a network may read."""
    wheres = [f.where for f in check_file(config(tmp_path, "anonymous: true", "0.0.0.0"))[1]]  # noqa: S104
    assert "gateway.security.anonymous" in wheres
    wheres = [f.where for f in check_file(config(tmp_path, "anonymous: true"))[1]]
    assert "gateway.security.anonymous" not in wheres


@pytest.mark.parametrize("security", ["policies: [None]", "modes: [None]", "policies: []"])
def test_security_that_secures_nothing_is_refused(tmp_path: Path, security: str) -> None:
    """Policy or mode None and no way in at all are errors of the file."""
    with pytest.raises(LinesideError, match="anonymous: true"):
        load_settings(config(tmp_path, security))


async def test_status_asks_as_the_gateway_itself(tmp_path: Path) -> None:
    """On the gateway's machine its own key is enough to ask how it stands."""
    settings: Settings = load_settings(config(tmp_path))
    gateway = settings.gateway
    access = access_of(gateway, Pki.of(settings))
    server = HostedServer(gateway.endpoint, gateway.id, [], heartbeat_s=0.05, access=access)
    await server.start()
    try:
        listening = gateway.model_copy(update={"endpoint": server.endpoint})
        way = WayIn.of(settings.model_copy(update={"gateway": listening}))
        assert (await inquire(way))["GatewayId"] == gateway.id
    finally:
        await server.stop()
