"""Requests on disk, from the closing of their window until they are written, expired, refused or parked."""

from lineside_gateway.store.request_store import Kept, NoStore, RequestStore, Store, StoreError

__all__ = ["Kept", "NoStore", "RequestStore", "Store", "StoreError"]
