"""Requests of one task joined into batches; the clock is passed in."""

from lineside_gateway.batching.batcher import Batch, MicroBatcher, join

__all__ = ["Batch", "MicroBatcher", "join"]
