"""The hosted OPC UA server: recommendations as nodes for HMIs, PLCs and MES programs."""

from lineside_gateway.publish.conditions import AlarmAnswer, Answer, Answers, Verdict
from lineside_gateway.publish.diagnostics import Diagnostics
from lineside_gateway.publish.errors import HostingError, PublishError
from lineside_gateway.publish.fields import State
from lineside_gateway.publish.history import HistoryStore
from lineside_gateway.publish.names import NAMESPACE_URI
from lineside_gateway.publish.recommendation_nodes import Fault, HostedTask
from lineside_gateway.publish.server import HostedServer

__all__ = [
    "NAMESPACE_URI",
    "AlarmAnswer",
    "Answer",
    "Answers",
    "Diagnostics",
    "Fault",
    "HistoryStore",
    "HostedServer",
    "HostedTask",
    "HostingError",
    "PublishError",
    "State",
    "Verdict",
]
