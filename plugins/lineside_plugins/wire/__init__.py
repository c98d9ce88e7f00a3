"""Bytes between gateway and worker. No pickle: JSON, and raw little-endian tensors.

Layout of an encoded batch: magic ``LSB2`` | uint32 header length | header (UTF-8 JSON) | values float32 | good, one bit
per cell, unless all are good | snapshot blobs in header order. A result is UTF-8 JSON: it is small, and readable in
the broker.

Both travel with an HMAC where the two sides share a key (``sign``, ``verify``): Celery's own message signing does not
cover a tensor that lies beside the message.
"""

from lineside_plugins.wire.batches import batch_pieces, decode_batch, encode_batch
from lineside_plugins.wire.columns import Said
from lineside_plugins.wire.errors import WireError
from lineside_plugins.wire.results import (
    BatchResult,
    Drift,
    Refusal,
    Status,
    decode_result,
    decode_results,
    encode_result,
    encode_results,
)
from lineside_plugins.wire.shared import BATCH_AT, FILE_NAME, Place, owner, place_of
from lineside_plugins.wire.signature import sign, verify

__all__ = [
    "BATCH_AT",
    "FILE_NAME",
    "BatchResult",
    "Drift",
    "Place",
    "Refusal",
    "Said",
    "Status",
    "WireError",
    "batch_pieces",
    "decode_batch",
    "decode_result",
    "decode_results",
    "encode_batch",
    "encode_result",
    "encode_results",
    "owner",
    "place_of",
    "sign",
    "verify",
]
