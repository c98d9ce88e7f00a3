"""Puts the rooms together: what the servers send becomes windows, batches, recommendations, nodes and writes."""

from lineside_gateway.runtime.gateway import Gateway
from lineside_gateway.runtime.status import Status, TaskStatus

__all__ = ["Gateway", "Status", "TaskStatus"]
