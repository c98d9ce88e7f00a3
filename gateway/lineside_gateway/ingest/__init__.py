"""From samples to closed windows. No I/O: the live gateway and the lock-step trials run the same code."""

from lineside_gateway.ingest.binding import LINE_ID, PERIOD, Binding, Request
from lineside_gateway.ingest.errors import BindingError, TagError
from lineside_gateway.ingest.table import TagChange, TagTable, TagValue
from lineside_gateway.ingest.windower import Windower

__all__ = [
    "LINE_ID",
    "PERIOD",
    "Binding",
    "BindingError",
    "Request",
    "TagChange",
    "TagError",
    "TagTable",
    "TagValue",
    "Windower",
]
