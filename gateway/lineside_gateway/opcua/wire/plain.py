"""Publish responses as asyncua decodes them, in the same columns: the path for an asyncua that is not known here."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from asyncua import ua

from lineside_gateway.opcua.standard import Client
from lineside_gateway.opcua.values import event_time_us, number, reached_us, served_time_us
from lineside_gateway.opcua.wire.fields import EXACT, DataChanges
from lineside_gateway.opcua.wire.forms import NULL, NUMBERS
from lineside_gateway.opcua.wire.messages import Notification, Published
from lineside_gateway.opcua.wire.stamps import Stamps


async def fetch_missing(client: Client, subscription_id: int, sequence_number: int) -> list[Notification]:
    """The notifications of a message that did not arrive, on either path.

    Raises:
        WireError: The bytes that came are no such message.
        UaError: The server no longer has it.
    """
    session = client.uaclient.session
    if isinstance(session, Fetches):
        return await session.fetch_missing(subscription_id, sequence_number)
    return plain_notifications(await session.republish(subscription_id, sequence_number))


@runtime_checkable
class Fetches(Protocol):
    """A session that has its own way to missing messages."""

    async def fetch_missing(self, subscription_id: int, sequence_number: int) -> list[Notification]:
        """The notifications of one message."""


def plain_published(result: ua.PublishResult) -> Published:
    """A PublishResult of asyncua as ``Published``."""
    message = result.NotificationMessage
    data = message.NotificationData or []
    return Published(
        int(result.SubscriptionId),
        int(message.SequenceNumber),
        bool(result.MoreNotifications),
        plain_notifications(message),
        bool(data),
    )


def plain_notifications(message: ua.NotificationMessage) -> list[Notification]:
    """The notifications of a message, in order."""
    found: list[Notification] = []
    for notification in message.NotificationData or []:
        if isinstance(notification, ua.DataChangeNotification):
            found.append(plain_changes(notification.MonitoredItems or []))
        elif isinstance(notification, ua.EventNotificationList | ua.StatusChangeNotification):
            found.append(notification)
    return found


def plain_changes(items: list[ua.MonitoredItemNotification]) -> DataChanges:
    """MonitoredItemNotifications as columns."""
    handles: list[int] = []
    rows: list[tuple[float, int, int, int]] = []
    exact: dict[int, int] = {}
    others: list[tuple[int, ua.DataValue]] = []
    newest_us = served_us = 0
    for item in items:
        dv, handle = item.Value, int(item.ClientHandle)
        time_us = event_time_us(dv)
        kind = _type(dv)
        if kind is None:
            others.append((handle, dv))
            continue
        if reached_us(dv) > newest_us:
            newest_us, served_us = reached_us(dv), served_time_us(dv)
        value, code = number(dv)
        if isinstance(dv.Value.Value if dv.Value else None, int) and abs(value) >= EXACT:
            exact[len(handles)] = int(dv.Value.Value)
        handles.append(handle)
        rows.append((value, time_us, code, kind))
    values, times, codes, kinds = zip(*rows, strict=True) if rows else ((), (), (), ())
    return DataChanges(
        np.array(handles, "<u4").tobytes(),
        np.array(values, np.float64),
        Stamps(np.array(times, np.int64), newest_us, served_us),
        np.array(codes, np.uint32),
        np.array(kinds, np.uint16),
        exact,
        others,
    )


def _type(dv: ua.DataValue) -> int | None:
    """Built-in type of a scalar number, NULL without a value, None for all else."""
    variant = dv.Value
    kind = NULL if variant is None or variant.VariantType is None else int(variant.VariantType.value)
    return None if (variant is not None and variant.is_array) or kind not in (NULL, *NUMBERS) else kind
