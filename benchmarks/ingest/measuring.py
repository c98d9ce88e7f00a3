"""What every client of the benchmark has in common: the meter, its settings, the start of the flood."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asyncua import Client, ua

from lineside_gateway.opcua.security import Pki
from lineside_gateway.settings import ServerSettings

WARM_UP_S = 0.5
BATCH = 5_000


class Meter:
    """CPU of this process over a stretch, less what is set aside."""

    def __init__(self) -> None:
        self.aside = 0.0
        self._cpu = self._wall = 0.0
        self._values = 0

    def start(self, values: int) -> None:
        """Count from here."""
        self.aside, self._values = 0.0, values
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def result(self, values: int, **more: object) -> dict[str, object]:
        """The figures since ``start``."""
        cpu, wall, count = time.process_time() - self._cpu, time.perf_counter() - self._wall, values - self._values
        found = {"values": count, "wall_s": wall, "busy": cpu / wall, "ns": 1e9 * (cpu - self.aside) / max(count, 1)}
        return found | more


def settings(options: argparse.Namespace) -> ServerSettings:
    """The generator as a server."""
    plain: dict[str, Any] = {"name": "G", "url": options.url, "batch_size": BATCH, "history": False}
    if options.keys:
        plain["security"] = {
            "policy": "Basic256Sha256",
            "trust": [str(options.keys / "server" / "own" / "certificate.der")],
        }
    return ServerSettings.model_validate(plain)


def pki(options: argparse.Namespace) -> Pki:
    """Keys of the client."""
    return Pki((options.keys or Path()) / "client", "bench")


async def measure(options: argparse.Namespace, values: Callable[[], int], meter: Meter) -> None:
    """Let it run in, then count."""
    await asyncio.sleep(WARM_UP_S)
    meter.start(values())
    await asyncio.sleep(options.seconds)


async def start_flood(client: Client, subscription_id: int) -> None:
    """The generator's convention: SetPublishingMode(true) starts the flood."""
    parameters = ua.SetPublishingModeParameters(PublishingEnabled=True, SubscriptionIds=[subscription_id])
    await client.uaclient.set_publishing_mode(parameters)
