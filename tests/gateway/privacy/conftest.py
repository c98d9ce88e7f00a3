"""What a gateway has recorded in a day: two operators, two machines."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from asyncua import ua

from lineside_gateway.audit import AuditLog
from lineside_gateway.guard import Decision
from lineside_gateway.guard.journal import SqliteJournal
from lineside_gateway.guard.switch import PlantSwitch
from lineside_gateway.ingest import Request
from lineside_gateway.publish import Answer, Verdict
from lineside_gateway.publish.history import HistoryStore
from lineside_gateway.publish.history.store import Shown
from lineside_gateway.runtime.labels import Labels
from lineside_gateway.store import RequestStore
from lineside_plugins.types import Kind, Recommendation

NOW = datetime.now(UTC)
SAID = {"anna": "bearing sounded dry to me", "otto": "no crew tonight"}


def advice(equipment_id: str, key: str) -> Recommendation:
    return Recommendation(
        task="t", kind=Kind.MAINTENANCE, equipment_id=equipment_id, value={"flag": True}, confidence=0.9, interval=None,
        reasons=(), window_end=NOW, valid_until=NOW + timedelta(minutes=5), model="m", model_version="1", key=key,
    )  # fmt: skip


def request(equipment_id: str) -> Request:
    values = np.ones((4, 1), dtype=np.float32)
    return Request(
        id=1, task="t", equipment_id=equipment_id, end_us=0, deadline_us=0, tags=("Load",), period_s=1.0,
        values=values, good=values > 0, snapshot={}, records={}, quality=1.0, cause="period",
    )  # fmt: skip


@dataclass
class Recorded:
    """A data_dir that a gateway has left behind."""

    folder: Path

    def holds(self, text: str) -> list[str]:
        """Files in which ``text`` can still be found."""
        return sorted(p.name for p in self.folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes())


@pytest.fixture
async def recorded(tmp_path: Path) -> Recorded:
    folder = tmp_path / "data"
    audit, labels = AuditLog(folder / "audit", rotate_bytes=1500), Labels(folder)
    journal = SqliteJournal(folder / "guard.sqlite")
    history = HistoryStore(folder / "history.sqlite", 86_400)
    store = RequestStore(folder / "requests.sqlite")
    audit.append("started", gateway="g")
    for i, (who, machine) in enumerate((("anna", "A1"), ("otto", "A1"), ("anna", "A2"), ("otto", "A2"))):
        rec = advice(machine, f"k{i}")
        audit.append("operator", verdict="accept", equipment_id=machine, key=rec.key, user=who, comment=SAID[who])
        audit.append("decision", task="t", equipment_id=machine, key=rec.key, allowed=True, writes=[])
        labels.append(Answer(Verdict.ACCEPT, rec, who, SAID[who], NOW))
        at_us = int(NOW.timestamp() * 1e6)
        history.add(f"t|{machine}", Shown(at_us, at_us, True, 0, {"state_reason": SAID[who]}))
        words = {((1, "Comment"),): ua.Variant(ua.LocalizedText(SAID[who])), ((1, "ClientUserId"),): ua.Variant(who)}
        history.add_event(at_us, f"{machine}/t/Condition", words)
        await journal.begin(Decision(True, "t", machine, rec.key, decided=NOW), ())
        if i < 3:
            journal.settled(rec.key)
        store.put(request(machine), NOW.timestamp() + 60)
    PlantSwitch(folder).throw(True, by="anna", why=SAID["anna"])
    audit.append("switch", demoted=True, user="anna", text=SAID["anna"])
    await store.durable()
    await asyncio.to_thread(store.close)
    journal.close()
    history.close()
    audit.close()
    return Recorded(folder)
