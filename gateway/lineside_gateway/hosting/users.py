"""The users file: names, roles, argon2 hashes of passwords, fingerprints of user certificates."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from lineside_gateway.errors import LinesideError
from lineside_gateway.hosting.roles import Role

HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
"""Argon2id with OWASP's first recommendation for servers: 19 MiB, two passes; about 25 ms of one core."""
SHORTEST_PASSWORD = 10
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@\-]{0,63}")
_NOBODY = HASHER.hash("nobody has this password")


class UsersError(LinesideError):
    """The users file cannot be read, or a user cannot be added to it or taken from it."""


@dataclass(frozen=True, slots=True)
class UserEntry:
    """One user. ``password`` is an argon2 hash, ``certificate`` a SHA-256 fingerprint in hex; "" where he has none."""

    name: str
    role: Role
    password: str = ""
    certificate: str = ""


class UsersFile:
    """Users by name, read again when the file has changed, so that a removed user is out at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._users: dict[str, UserEntry] = {}

    def users(self) -> Mapping[str, UserEntry]:
        """All users; empty where there is no file.

        Raises:
            UsersError: The file is not a users file.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._stamp, self._users = None, {}
            return self._users
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if stamp != self._stamp:
            self._users, self._stamp = _parse(self.path), stamp
        return self._users

    def add(self, name: str, role: Role, *, password: str = "", certificate: bytes = b"") -> bool:
        """Add a user, or change the role, password or certificate of one; True where he is new.

        Raises:
            UsersError: The name or the password will not do, or a new user would have neither password nor certificate.
        """
        if not _NAME.fullmatch(name):
            raise UsersError(f"user name '{name}' is not 1 to 64 letters, digits and . _ - @; choose another")
        if password and len(password) < SHORTEST_PASSWORD:
            raise UsersError(
                f"the password has {len(password)} characters, at least {SHORTEST_PASSWORD} are needed; choose a longer"
            )
        users = dict(self.users())
        entry = replace(users.get(name, UserEntry(name, role)), role=role)
        if password:
            entry = replace(entry, password=HASHER.hash(password))
        if certificate:
            entry = replace(entry, certificate=fingerprint(certificate))
        if not entry.password and not entry.certificate:
            raise UsersError(f"user '{name}' would have neither password nor certificate; give one")
        new = name not in users
        users[name] = entry
        self._write(users)
        return new

    def remove(self, name: str) -> None:
        """Take a user out.

        Raises:
            UsersError: There is no such user.
        """
        users = dict(self.users())
        if users.pop(name, None) is None:
            known = ", ".join(sorted(users)) or "none"
            raise UsersError(f"user '{name}' is not in {self.path}; users: {known}")
        self._write(users)

    def by_password(self, name: str, password: str) -> UserEntry | None:
        """The user whose password this is, else None; takes as long for an unknown name. Blocks for some 25 ms."""
        entry = self.users().get(name)
        try:
            HASHER.verify(entry.password if entry and entry.password else _NOBODY, password)
        except (VerificationError, InvalidHashError):
            return None
        return entry if entry and entry.password else None

    def by_certificate(self, der: bytes) -> UserEntry | None:
        """The user whose certificate this is, else None."""
        wanted = fingerprint(der)
        return next((u for u in self.users().values() if u.certificate == wanted), None)

    def _write(self, users: Mapping[str, UserEntry]) -> None:
        """Replace the file in one step, readable by its owner only."""
        document = {
            "version": 1,
            "users": {
                u.name: {
                    k: v
                    for k, v in (("role", u.role.value), ("password", u.password), ("certificate", u.certificate))
                    if v
                }
                for u in sorted(users.values(), key=lambda u: u.name)
            },
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".new")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            yaml.safe_dump(document, file, sort_keys=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        self._stamp = None


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate in DER, in hex."""
    return hashlib.sha256(der).hexdigest()


def _parse(path: Path) -> dict[str, UserEntry]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        rows = document["users"] or {}
        return {
            name: UserEntry(name, Role(row["role"]), row.get("password", ""), row.get("certificate", ""))
            for name, row in rows.items()
        }
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as e:
        raise UsersError(
            f"users file {path} cannot be read: {type(e).__name__} {e}; restore it, or remove it and add users again"
        ) from e
