"""Why a server is not reached, in the operator's sentence."""

from __future__ import annotations

from pathlib import Path

from asyncua import ua

from lineside_gateway.errors import ConnectError, CredentialsError, TrustError
from lineside_gateway.settings import SecurityPolicy, ServerSettings

_REFUSED_USER = (
    ua.uaerrors.BadUserAccessDenied,
    ua.uaerrors.BadIdentityTokenInvalid,
    ua.uaerrors.BadIdentityTokenRejected,
    ua.uaerrors.BadUserSignatureInvalid,
)
_REFUSED_SECURITY = (
    ua.uaerrors.BadCertificateInvalid,
    ua.uaerrors.BadCertificateUntrusted,
    ua.uaerrors.BadCertificateUriInvalid,
    ua.uaerrors.BadSecurityChecksFailed,
    ua.uaerrors.BadSecurityPolicyRejected,
    ua.uaerrors.BadSecurityModeRejected,
)
_NO_ENDPOINT = "No matching endpoints"
"""How asyncua's client begins when a server has none of the policy and mode asked for."""


def explain(server: ServerSettings, pki: Path, e: Exception) -> ConnectError:
    """``e`` as a sentence with the next step; ``pki`` is the folder of our own certificate."""
    if isinstance(e, ConnectError):
        return e
    who, detail = f"server '{server.name}' at {server.url}", f"{type(e).__name__}: {e}"
    if isinstance(e, OSError):  # a TimeoutError is one
        return ConnectError(f"{who} {_network(e)}", detail)
    if isinstance(e, _REFUSED_USER):
        user = server.security.user
        step = "correct user, password or the user's rights" if user else "set user and password"
        return CredentialsError(f"{who} refuses user '{user or 'anonymous'}'; {step}", detail)
    if isinstance(e, _REFUSED_SECURITY) or str(e).startswith(_NO_ENDPOINT):
        return TrustError(f"{who} {_security(server, pki, e)}", detail)
    if isinstance(e, ua.uaerrors.BadTooManySessions):
        return ConnectError(f"{who} has no session left; close other clients or wait for their timeout", detail)
    return ConnectError(f"{who}: {e}", detail)


def _security(server: ServerSettings, pki: Path, e: Exception) -> str:
    if isinstance(e, _REFUSED_SECURITY):
        return f"refuses our certificate; trust {pki / 'own' / 'certificate.der'} on the server"
    asked = server.security.policy
    return f"has no endpoint with security policy {asked}; set one it has, such as {SecurityPolicy.BASIC256SHA256}"


def _network(e: OSError) -> str:
    if isinstance(e, TimeoutError):
        return "does not answer; check that it runs, and network and firewall"
    if isinstance(e, ConnectionRefusedError):
        return "refuses the connection; start it or correct url"
    return f"cannot be reached: {e}; check url and network"
