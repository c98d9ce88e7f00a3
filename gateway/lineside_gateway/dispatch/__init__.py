"""Batches to the workers and their answers back: embedded broker, Celery messages, results."""

from lineside_gateway.dispatch.broker import EmbeddedBroker
from lineside_gateway.dispatch.dispatcher import MAX_IN_FLIGHT, CeleryDispatcher, Dispatcher, WorkerInfo
from lineside_gateway.dispatch.errors import BrokerError

__all__ = ["MAX_IN_FLIGHT", "BrokerError", "CeleryDispatcher", "Dispatcher", "EmbeddedBroker", "WorkerInfo"]
