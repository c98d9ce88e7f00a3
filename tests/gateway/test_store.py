from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from lineside_gateway.ingest import Request
from lineside_gateway.store import RequestStore, StoreError

END_US = 1_767_596_400_000_000
WINDOW_BYTES = 4 * 6 * 2


def request(number: int, equipment_id: str = "M1") -> Request:
    values = np.arange(12, dtype=np.float32).reshape(6, 2) + number
    values[0, 0] = np.nan
    return Request(
        id=number,
        task="tiny",
        equipment_id=equipment_id,
        end_us=END_US + number,
        deadline_us=END_US + number + 30_000_000,
        tags=("Load", "Speed"),
        period_s=0.5,
        values=values,
        good=np.isfinite(values),
        snapshot={"SerialNo": f"S-{number}", "Curve": np.ones(3, np.float32), "Image": b"\x89PNG"},
        records={"events": ({"kind": "failure", "value": 1.5},)},
        quality=0.75,
        cause="SerialNo",
    )


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., RequestStore]]:
    """Opens the one store of the test, as often as asked; each is closed before the next."""
    stores: list[RequestStore] = []

    def open_it(**settings: float) -> RequestStore:
        for store in stores:
            store.close()
        stores.append(RequestStore(tmp_path / "data" / "requests.sqlite", **settings))
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()


async def test_an_unsettled_request_comes_back_as_it_was(opened: Callable[..., RequestStore]) -> None:
    """Tensor with its gaps, snapshot, records, times and cause; under a number no new request has."""
    store, sent = opened(), request(7)
    store.put(sent, 2e9)
    await store.durable()
    (kept,) = opened().kept
    got = kept.request
    assert (kept.expires_at, got.id) == (2e9, -1)
    np.testing.assert_array_equal(got.values, sent.values)
    np.testing.assert_array_equal(got.good, sent.good)
    np.testing.assert_array_equal(got.snapshot["Curve"], np.ones(3, np.float32))
    assert (got.snapshot["SerialNo"], got.snapshot["Image"], got.records) == ("S-7", b"\x89PNG", sent.records)
    for name in ("task", "equipment_id", "end_us", "deadline_us", "tags", "period_s", "quality", "cause"):
        assert getattr(got, name) == getattr(sent, name), name


async def test_what_is_settled_is_forgotten_before_and_after_a_restart(opened: Callable[..., RequestStore]) -> None:
    """Of a hundred requests the unsettled ones come back, and those settled then do not come back again."""
    store = opened()
    requests = [request(i) for i in range(1, 101)]
    for r in requests:
        store.put(r, 2e9)
    await store.durable()
    for r in requests[:98]:
        store.settle(r)
    assert len(store) == 2
    store = opened()
    assert [k.request.end_us - END_US for k in store.kept] == [99, 100]
    store.settle(store.kept[0].request)
    store.put(request(1, "M2"), 2e9)
    await store.durable()
    assert [k.request.equipment_id for k in opened().kept] == ["M1", "M2"]


async def test_what_gathers_while_the_disk_works_is_one_commit(opened: Callable[..., RequestStore]) -> None:
    """Two thousand requests put at once take a few commits, and the event loop runs on meanwhile."""
    store = opened()
    for i in range(2000):
        store.put(request(i), 2e9)
    waiting, turns = asyncio.create_task(store.durable()), 0
    while not waiting.done():
        turns += 1
        await asyncio.sleep(0)
    assert store.counts["kept"] == 2000
    assert store.counts["commits"] <= 20
    assert turns > 10


async def test_beyond_its_size_a_store_keeps_nothing_and_counts_it(opened: Callable[..., RequestStore]) -> None:
    """A full store turns new requests away until old ones are settled; nobody waits for it."""
    store = opened(max_bytes=2000)
    for i in range(50):
        store.put(request(i), 2e9)
    await store.durable()
    kept, left_out = store.counts["kept"], store.counts["not_kept"]
    assert 0 < kept < 10
    assert kept + left_out == 50
    for i in range(50):
        store.settle(request(i))
    await store.durable()
    store.put(request(51), 2e9)
    await store.durable()
    assert store.counts["kept"] == kept + 1
    assert [k.request.end_us - END_US for k in opened().kept] == [51]


async def test_a_full_disk_costs_durability_not_answers(
    opened: Callable[..., RequestStore], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While the file takes no more, ``durable`` returns all the same; once it does, requests are kept again."""
    real, full = sqlite3.connect, [False]

    class Connection(sqlite3.Connection):
        def executemany(self, sql: str, rows: object) -> sqlite3.Cursor:  # type: ignore[override]
            if full[0] and sql.startswith("INSERT") and rows:
                raise sqlite3.OperationalError("database or disk is full")
            return super().executemany(sql, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, factory=Connection, **k))
    store = opened()
    full[0] = True
    for i in range(3):
        store.put(request(i), 2e9)
        await store.durable()
    assert (store.counts["kept"], store.counts["not_kept"]) == (0, 3)
    full[0] = False
    store.put(request(9), 2e9)
    await store.durable()
    assert [k.request.end_us - END_US for k in opened().kept] == [9]
    said = [r.getMessage().split()[0] for r in caplog.records]
    assert said == ["store_keeps_nothing", "store_keeps_again"]


async def test_what_is_too_old_is_not_taken_up(opened: Callable[..., RequestStore]) -> None:
    """A gateway that was off for a week does not look at last week's windows."""
    store = opened()
    store.put(request(1), time.time() + 60)
    await store.durable()
    await asyncio.sleep(0.05)
    assert opened(max_age_s=0.01).kept == ()


async def test_a_damaged_row_is_left_out_and_a_damaged_file_is_a_sentence(
    opened: Callable[..., RequestStore], tmp_path: Path
) -> None:
    """One request that cannot be read costs itself; a file that is no store says what to do."""
    store = opened()
    store.put(request(1), 2e9)
    store.put(request(2), 2e9)
    await store.durable()
    store.close()
    path = store.path
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE requests SET window=x'00' WHERE number=1")
        db.commit()
    assert [k.request.end_us - END_US for k in opened().kept] == [2]
    wrong = tmp_path / "wrong.sqlite"
    wrong.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=r"correct gateway\.data_dir, or move the file away"):
        RequestStore(wrong)
