"""Names of the fleet's keys at the broker; the gateways of one line meet there."""

from __future__ import annotations

PREFIX = "lineside:fleet:"


def lease(line: str, shard: str) -> str:
    """Hash ``member``, ``token`` with a TTL: who leads the shard."""
    return f"{PREFIX}{line}:lease:{shard}"


def fence(line: str, shard: str) -> str:
    """The highest token ever given for the shard."""
    return f"{PREFIX}{line}:fence:{shard}"


def wanted(line: str, shard: str) -> str:
    """Set while the preferred member asks for the shard."""
    return f"{PREFIX}{line}:wanted:{shard}"


def effects(line: str, shard: str) -> str:
    """Hash of decisions (``d:`` and key) and how far they are (``m:`` and key)."""
    return f"{PREFIX}{line}:effects:{shard}"


def effects_until(line: str, shard: str) -> str:
    """Sorted set of the keys in ``effects`` by when they may be forgotten, in ms of the broker's clock."""
    return f"{PREFIX}{line}:effects-until:{shard}"


def handed(line: str, shard: str) -> str:
    """List of requests that a returned member hands to whoever leads."""
    return f"{PREFIX}{line}:handed:{shard}"


def members(line: str) -> str:
    """Hash of the members that have been heard of, by name."""
    return f"{PREFIX}{line}:members"


def switch(line: str) -> str:
    """The plant-wide switch as it was thrown last, for all members."""
    return f"{PREFIX}{line}:switch"
