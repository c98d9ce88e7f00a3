"""Which asyncua this room knows, and what it uses of it that asyncua does not promise to keep."""

from __future__ import annotations

import functools
import importlib.metadata
import logging

from asyncua import ua
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.client.ua_session import UaSession
from asyncua.common.connection import SecureConnection
from asyncua.crypto import security_policies
from asyncua.crypto.security_policies import Cryptography

from lineside_gateway.opcua.standard import Client

logger = logging.getLogger(__name__)

KNOWN = "2.1."
_NAMES: tuple[tuple[type, tuple[str, ...]], ...] = (
    (UaClient, ("_make_protocol", "_on_transport_lost", "_is_session_closing", "pre_request_hook")),
    (UaSession, ("_publish_loop", "ensure_publish_loop", "_send_request", "create_subscription", "republish")),
    (
        UASocketProtocol,
        (
            "_process_received_data",
            "_call_callback",
            "_fail_all_pending",
            "revolve_security_token",
            "disconnect_socket",
        ),
    ),
    (SecureConnection, ("_check_sym_header", "message_to_binary", "revolve_tokens")),
    (Cryptography, ("decrypt", "verify", "remove_padding", "vsignature_size", "use_prev_key")),
)


def misfits() -> list[str]:
    """What of the installed asyncua differs from what this room knows; empty where all is well."""
    version = importlib.metadata.version("asyncua")
    found = [] if version.startswith(KNOWN) else [f"asyncua {version} is not {KNOWN}*"]
    for owner, names in _NAMES:
        found += [f"{owner.__name__}.{name}" for name in names if not hasattr(owner, name)]
    protocol = UASocketProtocol(1.0)
    cryptography = Cryptography()  # type: ignore[no-untyped-call]  # asyncua's cryptography has no annotations
    members: tuple[tuple[object, tuple[str, ...]], ...] = (
        (protocol, ("transport", "_request_id", "_request_handle", "_callbackmap", "_connection")),
        (protocol.__dict__.get("_connection"), ("_sequence_number", "_peer_sequence_number", "security_token")),
        (UaClient(), ("session", "protocol", "_timeout", "security_policy")),
        (UaClient().session, ("_publish_task", "_subscription_callbacks", "_state", "authentication_token")),
        (ua, ("SymmetricAlgorithmHeader", "PublishResult", "RepublishRequest")),
        (cryptography, ("Signer", "Verifier", "Encryptor", "Decryptor", "is_encrypted")),
        (security_policies, ("SignerHMac256", "VerifierHMac256", "EncryptorAesCbc", "DecryptorAesCbc")),
    )
    for thing, names in members:
        found += [f"{type(thing).__name__}().{name}" for name in names if not hasattr(thing, name)]
    return found


def new_client(url: str, timeout_s: float, watchdog_s: float) -> Client:
    """A client for one connection: publish responses as columns, or, on an asyncua not known here, the plain path."""
    wrong = misfits()
    if not wrong:
        from lineside_gateway.opcua.wire.session import wire_client  # noqa: PLC0415  # may not import on another asyncua

        return wire_client(url, timeout_s, watchdog_s)
    tell(wrong[0])
    return Client(url, timeout=timeout_s, watchdog_intervall=watchdog_s)


@functools.cache
def tell(cause: str) -> None:
    """Log once in a process that the plain path is taken, and why."""
    version = importlib.metadata.version("asyncua")
    logger.warning(
        "plain_path asyncua=%s cause=%s; values are decoded one by one, install asyncua==%s*", version, cause, KNOWN
    )
