"""What goes wrong with bytes from the other side."""

from __future__ import annotations

import struct

from lineside_plugins.types import ContractError

# What parsing someone else's bytes can raise; OverflowError from a number such as 1e999, RecursionError from nesting.
UNREADABLE = (struct.error, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class WireError(ContractError):
    """Bytes that are not a batch or a result of this version; drop them and look at the sender's version."""
