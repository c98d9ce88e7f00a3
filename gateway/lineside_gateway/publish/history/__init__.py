"""What was recommended in the last hours, on disk, and HistoryRead over it."""

from lineside_gateway.publish.history.service import HistoryService
from lineside_gateway.publish.history.store import HistoryError, HistoryStore

__all__ = ["HistoryError", "HistoryService", "HistoryStore"]
