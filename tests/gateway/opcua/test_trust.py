"""Trust: certificates change folders by command, chains need a trusted end, passwords never go in plain text."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest
from asyncua import Server, ua
from asyncua.crypto import cert_gen
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from typer.testing import CliRunner

from lineside_gateway.cli import app
from lineside_gateway.errors import TrustError
from lineside_gateway.opcua.certificates import is_trusted, load_certificate, uri_of
from lineside_gateway.opcua.security import Pki
from lineside_gateway.opcua.session import Session
from lineside_gateway.opcua.trust import Standing, accept, entries, reject
from lineside_gateway.settings import read_settings

URI = "urn:test:trust"
SETTINGS = """
version: 1
gateway: {data_dir: var}
servers: [{name: S, url: "opc.tcp://127.0.0.1:4840"}]
equipment: [{browse: Objects/A1}]
tasks: [{task: maintenance}]
"""


def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def certificate(name: str, own: rsa.RSAPrivateKey, issuer: str, issuer_key: rsa.RSAPrivateKey, *, ca: bool):
    now = dt.datetime.now(dt.UTC)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in (name, issuer)]
    builder = x509.CertificateBuilder(names[1], names[0], own.public_key(), x509.random_serial_number(),
                                      now - dt.timedelta(days=1), now + dt.timedelta(days=1))  # fmt: skip
    basic = x509.BasicConstraints(ca=ca, path_length=None)
    return builder.add_extension(basic, critical=True).sign(issuer_key, hashes.SHA256())


def test_an_issuer_completes_a_chain_and_vouches_for_nobody():
    """Server <- intermediate <- root is trusted where the root is, and not where only the intermediate is known."""
    root_key, middle_key, server_key = key(), key(), key()
    root = certificate("root", root_key, "root", root_key, ca=True)
    middle = certificate("middle", middle_key, "root", root_key, ca=True)
    server = certificate("server", server_key, "middle", middle_key, ca=False)
    assert is_trusted(server, [root], [middle])
    assert is_trusted(server, [server], [])
    assert is_trusted(server, [middle], [])
    assert not is_trusted(server, [], [middle])
    assert not is_trusted(server, [root], [])


def write_pem(place: Path, name: str) -> str:
    own = key()
    made = certificate(name, own, name, own, ca=False)
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return made.fingerprint(hashes.SHA256()).hex()


def test_certificates_change_folders_by_command(tmp_path):
    """What was rejected is listed, accepted by the beginning of its fingerprint, and rejected again by its name."""
    (tmp_path / "lineside.yaml").write_text(SETTINGS)
    print_ = write_pem(tmp_path / "var" / "pki" / "rejected", "plc")
    call = [*("-c", str(tmp_path / "lineside.yaml"))]
    listed = CliRunner().invoke(app, ["trust", "list", *call], env={**os.environ, "COLUMNS": "300"})
    assert print_ in listed.output
    assert CliRunner().invoke(app, ["trust", "accept", print_[:8].upper(), *call]).exit_code == 0
    pki = Pki(tmp_path / "var" / "pki", "line-1")
    assert [(e.standing, e.fingerprint) for e in entries(pki)] == [(Standing.TRUSTED, print_)]
    assert CliRunner().invoke(app, ["trust", "reject", "plc.pem", *call]).exit_code == 0
    assert [e.standing for e in entries(pki)] == [Standing.REJECTED]
    with pytest.raises(TrustError, match=r"no certificate 'plc' in .*trusted; there: none"):
        reject(pki, "plc")
    with pytest.raises(TrustError, match="no certificate 'abc'"):
        accept(pki, "abc")


def test_members_of_a_fleet_on_one_host_have_uris_of_their_own(tmp_path):
    """Two members differ in their ApplicationUri, as their certificates do; a certificate made before keeps its own."""
    whole = read_settings(f"{SETTINGS}\nfleet: {{member: gw-a}}")
    a, b = (Pki(tmp_path / name, Pki.of(whole).gateway_id, name) for name in ("gw-a", "gw-b"))
    assert a.application_uri == Pki.of(whole).application_uri != b.application_uri
    for pki in (a, b):
        assert uri_of(load_certificate(pki.own()[0]), "") == pki.application_uri
    alone = Pki(tmp_path / "alone", "line-1")
    alone.own()
    assert Pki(alone.folder, "line-1", "gw-a").application_uri == alone.application_uri


class Users(UserManager):
    """Whoever has a user certificate of common name ``op``, or the right password."""

    def get_user(self, iserver, username=None, password=None, certificate=None):  # noqa: ARG002  # asyncua's signature
        if username is not None:
            return User(role=UserRole.User, name=username) if (username, password) == ("op", "right") else None
        loaded = x509.load_der_x509_certificate(certificate) if certificate else None
        named = loaded is not None and "CN=user-op" in loaded.subject.rfc4514_string()
        return User(role=UserRole.User, name="op") if named else None


async def secured(folder: Path, port: int, policies: list[ua.SecurityPolicyType]) -> Server:
    own = cert_gen.generate_private_key()
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(URI), x509.DNSName("localhost")]
    made = cert_gen.generate_self_signed_app_certificate(
        own, "test", {}, names, extended=[ExtendedKeyUsageOID.SERVER_AUTH]
    )
    (folder / "key.pem").write_bytes(cert_gen.dump_private_key_as_pem(own))
    (folder / "cert.der").write_bytes(made.public_bytes(serialization.Encoding.DER))
    server = Server(user_manager=Users())
    await server.init()
    await server.set_application_uri(URI)
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy(policies)
    await server.load_certificate(str(folder / "cert.der"))
    await server.load_private_key(str(folder / "key.pem"))
    return server


async def test_every_policy_is_spoken_and_a_user_may_have_a_certificate(bench, tmp_path):
    """Basic256Sha256, Aes128 and Aes256, signed and encrypted; a user certificate logs in where a password would."""
    kinds = ("Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss")
    policies = [getattr(ua.SecurityPolicyType, f"{k}_{m}") for k in kinds for m in ("Sign", "SignAndEncrypt")]
    port = bench.free_port()
    own = key()
    user = certificate("user-op", own, "user-op", own, ca=False)
    (tmp_path / "user.der").write_bytes(user.public_bytes(serialization.Encoding.DER))
    (tmp_path / "user.pem").write_bytes(cert_gen.dump_private_key_as_pem(own))
    who = {"user_certificate": tmp_path / "user.der", "user_key": tmp_path / "user.pem"}
    async with await secured(tmp_path, port, policies):
        for kind in kinds:
            for mode in ("Sign", "SignAndEncrypt") if kind == kinds[0] else ("SignAndEncrypt",):
                security = {"policy": kind, "mode": mode, "trust": [tmp_path / "cert.der"], **who}
                server = bench.server(f"opc.tcp://127.0.0.1:{port}", security=security)
                async with Session(server, bench.pki).connect() as connection:
                    assert connection.client.security_policy.Mode.name == mode
                    assert kind in connection.client.security_policy.URI.replace("_", "")


async def test_a_password_never_goes_in_plain_text_unasked(bench, tmp_path):
    """A server that would take it unencrypted is refused, and the sentence says what to set; then it is sent."""
    port = bench.free_port()
    async with await secured(tmp_path, port, [ua.SecurityPolicyType.NoSecurity]):
        url = f"opc.tcp://127.0.0.1:{port}"
        security = {"user": "op", "password": "right"}
        with pytest.raises(TrustError, match=r"password of 'op' in plain text; .*plaintext_password: true"):
            async with Session(bench.server(url, security=security), bench.pki).connect():
                pytest.fail("sent a password that anybody can read")
        security["plaintext_password"] = True
        async with Session(bench.server(url, security=security), bench.pki).connect():
            pass
