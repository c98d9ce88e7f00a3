"""Pseudonyms: nobody and nothing of the plant is named to broker and workers, and advice comes back by name."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from lineside_gateway.privacy import MaskingDispatcher, PrivacyError, Pseudonyms
from lineside_gateway.runtime.names import Names
from lineside_gateway.settings import SettingsProblemsError, read_settings
from lineside_plugins.types import Kind, Reason, Recommendation, WindowBatch
from lineside_plugins.wire import BatchResult, Drift, Status, decode_batch, encode_batch

NAMES = ("A1", "A1-0000123", "JO-000109", "anna", "secret recipe")
SETTINGS = """version: 1
gateway: {{data_dir: {data}}}
servers: [{{name: PLC, url: "opc.tcp://127.0.0.1:9"}}]
equipment: [{{browse: "Objects/Line1/*"}}]
tasks: [{{task: maintenance}}]
privacy: {privacy}
"""


class Worker:
    """Stands for broker and worker: keeps the bytes that would have gone out, and answers from what it was told."""

    def __init__(self) -> None:
        self.seen = b""

    async def submit(self, batch: WindowBatch, *_: object) -> BatchResult:
        self.seen = encode_batch(batch)
        got = decode_batch(self.seen)
        who, snapshot = got.equipment_ids[0], got.snapshots[0]
        at = datetime(2026, 1, 5, 7, tzinfo=UTC)
        order = {"job_order_id": got.records[0]["job_orders"][0]["job_order_id"], "equipment_id": who}
        rec = Recommendation(
            task="t", kind=Kind.SCHEDULE, equipment_id=who, confidence=0.9, interval=None, window_end=at,
            value={"serial_no": str(snapshot["SerialNo"]),
                   "sequence": (order,)},
            reasons=(Reason("Load", 1.0, f"{who} is worn"),), valid_until=at, model="m", model_version="1",
            key=f"t|m:1|{who}|{at}",
        )  # fmt: skip
        drift = Drift(who, "Load", f"{who}.Load has drifted")
        return BatchResult(Status.ANSWERED, (rec,), shadow=(rec,), drift=(drift,), watched=True)

    async def workers(self) -> list[object]:
        return []


def batch() -> WindowBatch:
    values = np.ones((1, 4, 1), dtype=np.float32)
    return WindowBatch(
        equipment_ids=("A1",), tags=("Load",), values=values, good=values > 0,
        end=np.array(["2026-01-05T07:00"], dtype="datetime64[us]"), period_s=1.0,
        snapshots=({"SerialNo": "A1-0000123", "Note": "secret recipe"},),
        records=({"job_orders": ({"job_order_id": "JO-000109", "equipment_id": "A1", "family": "F1"},),
                  "events": ({"kind": "repair", "user": "anna", "text": "anna repaired A1, A12 waits"},)},),
    )  # fmt: skip


async def test_nothing_named_leaves_and_advice_comes_back_by_name(tmp_path: Path) -> None:
    """The bytes for the worker hold no name of machine, part, order or person; the answer names all of them again."""
    worker = Worker()
    outgoing = MaskingDispatcher(worker, Pseudonyms.of_folder(tmp_path), drop=("Note",))
    result = await outgoing.submit(batch(), "t", datetime.now(UTC))
    (rec,) = result.recommendations
    assert rec is not None
    assert [name for name in NAMES if name.encode() in worker.seen.replace(b"A12", b"")] == []
    assert b"-0000123" in worker.seen, "a task goes by the count a serial number ends in"
    assert (rec.equipment_id, rec.value["serial_no"]) == ("A1", "A1-0000123")
    assert rec.value["sequence"] == ({"job_order_id": "JO-000109", "equipment_id": "A1"},)
    assert (rec.reasons[0].text, rec.key.split("|")[2]) == ("A1 is worn", "A1")
    assert result.shadow == (rec,)
    assert [(d.equipment_id, d.cause) for d in result.drift] == [("A1", "A1.Load has drifted")]


def test_a_pseudonym_is_the_same_for_the_same_key_only(tmp_path: Path) -> None:
    """A restart gives the same pseudonyms, another gateway others; the key is its owner's only."""
    one, again, other = (Pseudonyms.of_folder(tmp_path / d) for d in ("a", "a", "b"))
    assert one.operator("anna") == again.operator("anna") != other.operator("anna")
    assert one.of("eq", "anna") != one.operator("anna")
    assert one.operator("") == ""
    assert stat.S_IMODE((tmp_path / "a" / "privacy.key").stat().st_mode) == 0o600
    (tmp_path / "b" / "privacy.key").write_bytes(b"short")
    with pytest.raises(PrivacyError, match="has 5 bytes, expected 32"):
        Pseudonyms.of_folder(tmp_path / "b")


def test_the_settings_say_what_has_a_pseudonym(tmp_path: Path) -> None:
    """By default all is plain and no key is made; operators and equipment are masked each by its own setting."""

    def names(privacy: str) -> Names:
        return Names(read_settings(SETTINGS.format(data=json.dumps(str(tmp_path)), privacy=privacy)))

    worker = Worker()
    plain = names("{}")
    assert (plain.operator("anna"), plain.outgoing(worker)) == ("anna", worker)
    assert not (tmp_path / "privacy.key").exists()
    masked = names("{operators: pseudonym, equipment: pseudonym}")
    assert masked.operator("anna").startswith("op-")
    assert isinstance(masked.outgoing(worker), MaskingDispatcher)
    assert names("{operators: pseudonym}").outgoing(worker) is worker
    with pytest.raises(SettingsProblemsError, match="set equipment: pseudonym too"):
        names("{drop: [text]}")
