"""Pseudonyms: the same name gives the same one, and nobody without the key gets back from it to the name."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lineside_gateway.errors import LinesideError

KEY_FILE = "privacy.key"
KEY_BYTES = 32
OPERATOR, EQUIPMENT, SERIAL, ORDER = "op", "eq", "sn", "jo"
_DIGITS = 16  # 64 bits: a clash among a million names has a chance of 3e-8


class PrivacyError(LinesideError):
    """The key of the pseudonyms cannot be used, or what is to be forgotten cannot be; the message says why."""


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Keyed pseudonyms. ``key`` is secret; who destroys it can never tell again who was meant."""

    key: bytes

    @classmethod
    def of_folder(cls, data_dir: Path) -> Pseudonyms:
        """Those of the gateway whose ``data_dir`` this is; its key is made on first use, readable by its owner only.

        Raises:
            PrivacyError: The key cannot be read or made.
        """
        path = data_dir / KEY_FILE
        try:
            if not path.exists():
                _make(path)
            key = path.read_bytes()
        except OSError as e:
            raise PrivacyError(
                f"{path} cannot be used: {e.strerror or e}; correct gateway.data_dir or its rights"
            ) from e
        if len(key) != KEY_BYTES:
            raise PrivacyError(f"{path} has {len(key)} bytes, expected {KEY_BYTES}; restore it from a backup")
        return cls(key)

    def of(self, kind: str, name: str) -> str:
        """The pseudonym of ``name`` among names of its ``kind``."""
        digest = hmac.new(self.key, f"{kind}\0{name}".encode("utf-8", "replace"), hashlib.sha256)
        return f"{kind}-{digest.hexdigest()[:_DIGITS]}"

    def operator(self, name: str) -> str:
        """The pseudonym of a user; nobody stays nobody."""
        return self.of(OPERATOR, name) if name else ""


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)  # all of the key, and never over another one
    finally:
        Path(fresh).unlink()
