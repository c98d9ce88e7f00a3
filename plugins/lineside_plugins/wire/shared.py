"""Where a batch lies in memory that a gateway shares with the workers of its machine.

Such a batch does not pass through the broker: under the claim key there is a ``Place`` in its stead. The memory is a
file without a name (memfd), which ends with the last process that holds it; others open it through ``/proc``. It
begins with the request that it holds a batch of, so that whoever reads can tell before and after whether it is the
one that was meant.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

FILE_NAME = "memfd:lineside batch"  # as the kernel shows it
_MAGIC = b"LSM1"
_PLACE = struct.Struct("<4sIIQ")
_OWNER = struct.Struct("<4s60s")
BATCH_AT = _OWNER.size  # bytes before the batch itself: a cache line


class Place(NamedTuple):
    """File ``fd`` of process ``pid`` holds the batch, of ``size`` bytes from ``BATCH_AT`` on."""

    pid: int
    fd: int
    size: int

    def encode(self) -> bytes:
        """As it stands under the claim key."""
        return _PLACE.pack(_MAGIC, *self)


def place_of(claim: bytes | memoryview) -> Place | None:
    """The place of a batch, None where ``claim`` is the batch itself."""
    if len(claim) != _PLACE.size:
        return None
    magic, *where = _PLACE.unpack(claim)
    return Place(*where) if magic == _MAGIC else None


def owner(request_id: str) -> bytes:
    """What memory begins with that holds the batch of ``request_id``, ``BATCH_AT`` bytes."""
    return _OWNER.pack(_MAGIC, request_id.encode())
