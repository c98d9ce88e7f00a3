"""Three subscribed clients in one process: prints the time from a write to its arrival at a client.

Prints ``ready`` once all items are monitored; on a line on stdin it prints the figures and ends. Times are this
machine's clock on both sides.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from datetime import UTC

import numpy as np
from asyncua import Client, ua

CHUNK = 500
CLIENTS = 3


async def subscribe(client: Client, options: argparse.Namespace, latencies: list[float], counting: list[bool]) -> None:
    """Monitor every node in one subscription; collect seconds from SourceTimestamp to arrival."""

    def arrived(result: ua.PublishResult) -> None:
        now = time.time()
        for notification in result.NotificationMessage.NotificationData:
            if counting[0] and isinstance(notification, ua.DataChangeNotification):
                written = (item.Value.SourceTimestamp for item in notification.MonitoredItems)
                latencies.extend(now - at.replace(tzinfo=UTC).timestamp() for at in written)

    params = ua.CreateSubscriptionParameters(
        RequestedPublishingInterval=options.interval_ms,
        RequestedLifetimeCount=3000,
        RequestedMaxKeepAliveCount=100,
        MaxNotificationsPerPublish=0,
        PublishingEnabled=True,
        Priority=0,
    )
    created = await client.uaclient.create_subscription(params, arrived)
    for start in range(0, options.nodes, CHUNK):
        items = []
        for i in range(start, min(start + CHUNK, options.nodes)):
            read = ua.ReadValueId(ua.NodeId(f"v{i}", options.namespace), ua.AttributeIds.Value)
            asked = ua.MonitoringParameters(ClientHandle=i, SamplingInterval=0, QueueSize=1, DiscardOldest=True)
            items.append(ua.MonitoredItemCreateRequest(read, ua.MonitoringMode.Reporting, asked))
        request = ua.CreateMonitoredItemsParameters(created.SubscriptionId, ua.TimestampsToReturn.Both, items)
        for result in await client.uaclient.create_monitored_items(request):
            result.StatusCode.check()


async def main(options: argparse.Namespace) -> None:
    """Watch until told to stop."""
    latencies: list[float] = []
    counting = [False]
    clients = [Client(options.endpoint, timeout=60, watchdog_intervall=60) for _ in range(CLIENTS)]
    for client in clients:
        await client.connect()
        await subscribe(client, options, latencies, counting)
    await asyncio.sleep(1.0)
    counting[0] = True
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    ms = np.array(latencies) * 1000
    p50, p99 = np.percentile(ms, (50, 99))
    sys.stdout.write(json.dumps({"received": len(latencies), "p50_ms": p50, "p99_ms": p99}) + "\n")
    sys.stdout.flush()
    for client in clients:
        await client.disconnect()


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint")
    parser.add_argument("--namespace", type=int, required=True)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--interval-ms", type=float, required=True)
    asyncio.run(main(parser.parse_args()))
