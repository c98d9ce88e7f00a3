from __future__ import annotations

import pytest
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual

from lineside_workers.requests import ack_repair


class Upstream(kombu_redis.QoS):
    """kombu's own, or what a later kombu may have: the slot is released first."""

    def ack(self, delivery_tag: str) -> None:
        virtual.QoS.ack(self, delivery_tag)
        self._remove_from_indices(delivery_tag).execute()


class Lost:
    """A channel whose broker is gone."""

    unacked_index_key = unacked_key = "x"

    def conn_or_acquire(self, _client: object) -> object:
        raise ConnectionError("no broker")


@pytest.fixture
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kombu_redis.Channel, "QoS", kombu_redis.QoS)


def full(qos_class: type) -> virtual.QoS:
    qos = qos_class(Lost(), prefetch_count=1)
    qos.restore_at_shutdown = False
    qos._delivered["tag"] = object()  # noqa: SLF001  # one message out, as after a delivery
    assert not qos.can_consume()
    with pytest.raises(ConnectionError, match="no broker"):
        qos.ack("tag")
    qos._on_collect.cancel()  # noqa: SLF001  # nothing to restore at exit
    return qos


@pytest.mark.usefixtures("_restored")
def test_the_repair_frees_the_slot_of_a_message_that_cannot_be_acknowledged() -> None:
    """kombu 5.7 keeps the slot for ever; with the repair the worker can consume again."""
    assert not full(kombu_redis.Channel.QoS).can_consume()
    assert ack_repair.install()
    assert full(kombu_redis.Channel.QoS).can_consume()


@pytest.mark.usefixtures("_restored")
def test_the_repair_is_applied_once_and_only_where_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call changes nothing, and a kombu that has it is left alone."""
    assert ack_repair.install()
    assert not ack_repair.install()
    monkeypatch.setattr(kombu_redis.Channel, "QoS", Upstream)
    assert not ack_repair.install()
    assert kombu_redis.Channel.QoS is Upstream


def test_a_worker_process_has_the_repair() -> None:
    """Importing the app is enough."""
    import lineside_workers.app

    assert lineside_workers.app.app.conf.task_acks_late
    assert not ack_repair.needed(kombu_redis.Channel.QoS)
