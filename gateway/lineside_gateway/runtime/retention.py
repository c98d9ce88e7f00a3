"""Removes what has been kept as long as the settings say: labels, and settled decisions of the guard's journal.

The audit log, the history and the store of requests keep to their own bounds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from lineside_gateway.guard.journal import SqliteJournal
from lineside_gateway.runtime.labels import Labels
from lineside_gateway.settings import PrivacySettings

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 3600.0


async def keep_to(
    settings: PrivacySettings, labels: Labels, journal: SqliteJournal, plant_time: Callable[[], datetime]
) -> None:
    """Look once an hour until cancelled."""
    while True:
        try:
            gone = labels.prune(datetime.now(UTC) - timedelta(days=settings.labels_days))
        except (OSError, ValueError, KeyError) as e:
            logger.error("labels_not_pruned why=%s", e)  # noqa: TRY400 - the file is named, and the answers stand
        else:
            if gone:
                logger.info("labels_pruned count=%d", gone)
        journal.prune(plant_time() - timedelta(days=settings.journal_days))
        await asyncio.sleep(LOOK_EVERY_S)
