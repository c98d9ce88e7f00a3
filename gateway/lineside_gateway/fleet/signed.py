"""What members of a fleet leave for each other at the broker, signed where a key is set."""

from __future__ import annotations

import logging

from lineside_plugins.wire import WireError, sign, verify

logger = logging.getLogger(__name__)


def seal(key: bytes, place: str, body: str) -> str:
    """``body`` with its signature for ``place``, which is empty without ``key``."""
    return f"{sign(key, {'id': place}, body.encode()) if key else ''} {body}"


def unseal(key: bytes, place: str, sealed: bytes) -> str | None:
    """The body that ``seal`` was given; None, and a line in the log, where it was not signed with ``key``."""
    signature, _, body = sealed.partition(b" ")
    if key:
        try:
            verify(key, {"id": place, "hmac": signature.decode("latin-1")}, body)
        except WireError as e:
            logger.error("fleet_entry_refused place=%s why=%s", place, e)  # noqa: TRY400 - says all
            return None
    return body.decode()
