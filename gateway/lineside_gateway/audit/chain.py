"""One line of the audit log and the hash that chains it to the line before. Pure.

A line is a JSON object that ends with its own hash::

    {"seq":17,"at":"2026-01-05T07:00:00.000000+00:00","event":"decision",...,"prev":"<hash of 16>","hash":"<sha256>"}

The hash is SHA-256 over the UTF-8 bytes of the line up to ``,"hash"``, so that any tool can check it. Each line has a
random ``salt``, so that the hash of a line whose content was removed does not confirm a guess of that content.

A line whose content was removed (``lineside forget``) keeps number, time, event, ``prev`` and ``hash`` and says
``"redacted":true``: the chain holds across it, and a later line ``forgotten`` has to account for it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from lineside_gateway.errors import LinesideError

REDACTED = "redacted"
SALT_BYTES = 8
GENESIS = "0" * 64  # ``prev`` of the first line ever written
_RESERVED = frozenset({"prev", "hash", "salt", REDACTED})
_LINE = re.compile(r'^(?P<body>\{"seq":.*),"hash":"(?P<hash>[0-9a-f]{64})"\}$')


class AuditError(LinesideError):
    """The audit log cannot be written or read; nothing is written to the plant without it."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest line: its number, from 1, and its hash. Kept elsewhere, it proves that no line was cut off."""

    seq: int = 0
    hash: str = GENESIS

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """The head that ``str`` wrote.

        Raises:
            AuditError: The text is no head.
        """
        seq, _, digest = text.partition(":")
        if not seq.isdigit() or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise AuditError(f"'{text}' is no head of an audit log; 'lineside audit verify' prints it as SEQ:HASH")
        return cls(int(seq), digest)


def line(after: Head, at: datetime, event: str, fields: Mapping[str, object]) -> tuple[str, Head]:
    """The line that follows ``after``, without its line end, and the new head. Numbers that are not finite are text."""
    content = {"seq": after.seq + 1, "at": at.astimezone(UTC).isoformat(timespec="microseconds"), "event": event}
    content |= {k: _plain(v) for k, v in fields.items() if k not in {*content, *_RESERVED}}
    content |= {"salt": secrets.token_hex(SALT_BYTES), "prev": after.hash}
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)[:-1]
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f'{body},"hash":"{digest}"}}', Head(after.seq + 1, digest)


def redacted(content: Mapping[str, object]) -> str:
    """The line of ``content`` without what it said."""
    kept = {k: content[k] for k in ("seq", "at", "event")}
    stub = {**kept, REDACTED: True, "prev": content["prev"], "hash": content["hash"]}
    return json.dumps(stub, separators=(",", ":"), ensure_ascii=False)


def read(text: str) -> tuple[dict[str, object], Head]:
    """The content of a line and the head it makes. A redacted line's hash is that of what it said; see ``verify``.

    Raises:
        ValueError: No line of an audit log, or its content does not give its hash.
    """
    found = _LINE.match(text)
    if found is None:
        raise ValueError("is no line of an audit log")
    content = json.loads(text)
    if content.get(REDACTED) is True:
        if set(content) != {"seq", "at", "event", REDACTED, "prev", "hash"}:
            raise ValueError("was changed: a redacted line says nothing")
    elif hashlib.sha256(found["body"].encode()).hexdigest() != found["hash"]:
        raise ValueError("was changed: its content does not give its hash")
    return content, Head(int(content["seq"]), found["hash"])


def _plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return text.encode("utf-8", "replace").decode()  # a lone surrogate has no bytes to hash
