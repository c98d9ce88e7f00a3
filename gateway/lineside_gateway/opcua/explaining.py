"""Why a server is not reached, in the operator's sentence."""

from __future__ import annotations

from pathlib import Path

from asyncua import ua

from lineside_gateway.errors import ConnectError, CredentialsError, TrustError
from lineside_gateway.settings import ServerSettings

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


def explain(server: ServerSettings, pki: Path, e: Exception) -> ConnectError:
    """``e`` as a sentence with the next step; ``pki`` is the folder of our own certificate."""
    if isinstance(e, ConnectError):
        return e
    who, detail = f"server '{server.name}' at {server.url}", f"{type(e).__name__}: {e}"
    if isinstance(e, OSError):  # a TimeoutError is one
        return ConnectError(f"{who} {_network(e)}", detail)
    if isinstance(e, _REFUSED_USER):
        return CredentialsError(f"{who} refuses user '{server.security.user or 'anonymous'}'", detail)
    if isinstance(e, _REFUSED_SECURITY):
        own = pki / "own" / "certificate.der"
        return TrustError(f"{who} refuses our certificate; trust {own} on the server", detail)
    if isinstance(e, ua.uaerrors.BadTooManySessions):
        return ConnectError(f"{who} has no session left; close other clients or wait for their timeout", detail)
    return ConnectError(f"{who}: {e}", detail)


def _network(e: OSError) -> str:
    if isinstance(e, TimeoutError):
        return "does not answer; check that it runs, and network and firewall"
    if isinstance(e, ConnectionRefusedError):
        return "refuses the connection; start it or correct url"
    return f"cannot be reached: {e}; check url and network"
