"""A worker that goes on from one batch to the next by itself, at a real broker; Celery's part is in test_serving."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from kombu import Connection
from redis import Redis

from lineside_gateway.dispatch import EmbeddedBroker
from lineside_gateway.dispatch.producer import RequestProducer
from lineside_plugins import WindowBatch, meeting
from lineside_plugins.wire import Status, encode_batch
from lineside_workers.requests.counter import Counter
from lineside_workers.requests.desk import MAX_ATTEMPTS, Desk
from lineside_workers.requests.line import Line
from tests.workers.turns import QUEUES, Recorder, answered, by_celery, delivered, fetched, restore, turn


@pytest.fixture
def host() -> Recorder:
    return Recorder()


@pytest.fixture
def desk(broker: EmbeddedBroker, host: Recorder) -> Iterator[Desk]:
    line = Line(broker.url)
    yield Desk(Counter(line), host, "w@h")
    line.close()


@pytest.fixture
def put(redis: Redis, make_batch) -> Callable[[str, str], str]:
    """Sends a request as the gateway does; its id."""
    producer = RequestProducer("gw")

    def send(task: str, name: str = "M0") -> str:
        batch = make_batch(1.0)
        named = WindowBatch((name,), batch.tags, batch.values, batch.good, batch.end, 1.0, batch.snapshots)
        request = producer.build(named, task, datetime.now(UTC) + timedelta(seconds=30), {})
        redis.set(meeting.claim_key(request.id), encode_batch(named), px=90_000)
        redis.lpush(request.queue, request.message)
        return request.id

    return send


def test_what_waits_is_answered_in_one_turn_the_most_urgent_first(desk: Desk, host: Recorder, redis, put) -> None:
    """Three batches of two queues: each is answered once, and the broker holds nothing of them any more."""
    ids = {name: put(task, name) for task, name in [("late", "A"), ("late", "B"), ("soon", "C"), ("late", "D")]}
    assert desk.handle(*by_celery(redis, "late"), turn()) is Status.ANSWERED
    assert host.asked == [("late", "A"), ("soon", "C"), ("late", "B"), ("late", "D")]
    assert answered(redis) == [ids[n] for n in "ACBD"]
    assert redis.keys("*") == [meeting.reply_stream("gw").encode()]
    assert desk.figures.batches == {"answered": 4}


def test_a_batch_fetched_ahead_is_not_tried_before_it_begins(desk: Desk, host: Recorder, redis, put) -> None:
    """It is noted as delivered, so that it comes back if this worker dies; its attempts stay as they were."""
    put("soon"), put("soon")
    desk.handle(*by_celery(redis, "soon"), turn())  # from here on the task is known to be quick
    first, second = put("soon"), put("soon")
    seen: list[object] = []

    def look() -> None:
        while not redis.hexists(meeting.UNACKED, second) and len(seen) == 0:
            time.sleep(0.001)
        seen.append((redis.get(meeting.attempts_key(first)), redis.get(meeting.attempts_key(second))))

    host.meanwhile = look
    desk.handle(*by_celery(redis, "soon"), turn())
    assert seen == [(b"1", None), (None, b"1")]


def test_a_worker_that_is_told_to_leave_hands_back_what_it_fetched_ahead(
    desk: Desk, host: Recorder, redis, put
) -> None:
    """SIGTERM in the middle of a batch: that one is answered, the next is at the front of its queue, untried."""
    put("soon")
    desk.handle(*by_celery(redis, "soon"), turn())
    first, second, _third = put("soon"), put("soon"), put("soon")

    def until_fetched() -> None:
        while not redis.hexists(meeting.UNACKED, second):
            time.sleep(0.001)

    host.meanwhile = until_fetched
    desk.handle(*by_celery(redis, "soon"), turn(leave=lambda: True))
    assert answered(redis)[1:] == [first]
    assert redis.hlen(meeting.UNACKED) == redis.zcard(meeting.UNACKED_INDEX) == 0
    assert json.loads(redis.lindex(meeting.queue("soon"), -1))["headers"]["id"] == second
    assert redis.llen(meeting.queue("soon")) == 2
    assert not redis.exists(meeting.attempts_key(second))


def test_what_a_dead_worker_had_fetched_is_restored_by_kombu(desk: Desk, host: Recorder, redis, put, broker) -> None:
    """The note is kombu's own: another worker's look for what is unacknowledged puts the message back."""
    put("soon")
    desk.handle(*by_celery(redis, "soon"), turn())
    first, second = put("soon"), put("soon")
    until_fetched = fetched(redis, second)

    def end() -> None:
        until_fetched()
        raise ZeroDivisionError

    host.meanwhile = end
    with pytest.raises(ZeroDivisionError):  # as sudden as a SIGKILL, for the broker
        desk.handle(*by_celery(redis, "soon"), turn())
    keys = {"unacked_key": meeting.UNACKED, "unacked_index_key": meeting.UNACKED_INDEX, "priority_steps": [0]}
    with Connection(broker.url, transport_options=keys) as connection:
        channel = connection.channel()
        connection.SimpleQueue(meeting.queue("soon")).close()
        channel.qos.restore_by_tag(second)
        host.meanwhile = lambda: None
        message = connection.SimpleQueue(meeting.queue("soon")).get(timeout=5)
        assert (message.headers["id"], message.headers["redelivered"]) == (second, True)
    assert not redis.exists(meeting.attempts_key(second))
    assert redis.exists(meeting.attempts_key(first))


def test_what_ended_its_worker_three_times_is_parked_in_a_turn_too(desk: Desk, host: Recorder, redis, put) -> None:
    """Attempts are looked at before a batch that was taken is run."""
    put("soon", "good")
    poison = put("soon", "poison")
    redis.set(meeting.attempts_key(poison), MAX_ATTEMPTS)
    desk.handle(*by_celery(redis, "soon"), turn())
    assert host.asked == [("soon", "good")]
    assert redis.exists(meeting.parked_key(poison))
    assert desk.figures.batches == {"answered": 1, "parked": 1}


def test_messages_for_celery_stay_in_their_queue(desk: Desk, redis, put) -> None:
    """Another task, or one for a later time, is Celery's to deliver."""
    put("soon")
    later = b'{"headers":{"task":"lineside.recommend","id":"x","eta":"2030-01-01"},"properties":{"delivery_tag":"x"}}'
    other = b'{"headers":{"task":"other","id":"x","eta":null},"properties":{"delivery_tag":"x"}}'
    redis.lpush(meeting.queue("soon"), later)
    redis.lpush(meeting.queue("late"), other)
    desk.handle(*by_celery(redis, "soon"), turn())
    assert (redis.lrange(QUEUES[0], 0, -1), redis.lrange(QUEUES[1], 0, -1)) == ([later], [other])


@pytest.mark.parametrize("quick", [False, True], ids=["nothing fetched ahead", "fetched ahead"])
def test_an_answer_survives_the_loss_of_the_broker_before_it_left(
    broker_at: EmbeddedBroker, host: Recorder, make_batch, *, quick: bool
) -> None:
    """The broker is ended and started in the middle of a batch; the answer is tried again, and the turn goes on."""
    line = Line(broker_at.url)
    desk = Desk(Counter(line), host, "w@h")

    def restart() -> None:
        broker_at.stop()
        broker_at.start()
        with Redis.from_url(broker_at.url) as redis:
            redis.set(meeting.claim_key("r"), b"the gateway has sent it again")

    meta = {"id": "r", "reply": meeting.reply_stream("gw")}
    with Redis.from_url(broker_at.url) as redis:
        if quick:
            redis.set(meeting.claim_key("r"), encode_batch(make_batch(1.0)))
            desk.handle("soon", meta, turn())
        redis.set(meeting.claim_key("r"), encode_batch(make_batch(1.0)))
    host.meanwhile = restart
    assert desk.handle("soon", meta, turn()) is Status.ANSWERED
    with Redis.from_url(broker_at.url) as redis:
        assert answered(redis) == ["r"]
    line.close()


def test_requests_that_wait_for_the_same_model_are_computed_at_once(desk: Desk, host: Recorder, redis, put) -> None:
    """Two were fetched while the first ran: one run, an answer each, in their order."""
    put("soon")
    desk.handle(*by_celery(redis, "soon"), turn())
    ids = [put("soon", name) for name in "ABC"]
    host.meanwhile = fetched(redis, *ids[1:])
    desk.handle(*by_celery(redis, "soon"), turn())
    assert host.asked[1:] == [("soon", "A"), ("soon", "B+C")]
    assert answered(redis)[1:] == ids
    assert desk.figures.batches == {"answered": 4}


def test_what_was_tried_before_is_computed_alone(desk: Desk, host: Recorder, redis, put) -> None:
    """A batch that ended its worker takes no other with it when it does so again."""
    put("soon")
    desk.handle(*by_celery(redis, "soon"), turn())
    ids = [put("soon", name) for name in "ABC"]
    redis.set(meeting.attempts_key(ids[1]), 1)
    host.meanwhile = fetched(redis, *ids[1:])
    desk.handle(*by_celery(redis, "soon"), turn())
    assert host.asked[1:] == [("soon", "A"), ("soon", "B"), ("soon", "C")]


def test_no_more_windows_are_joined_than_allowed(desk: Desk, host: Recorder, redis, put) -> None:
    """A worker with little memory for activations computes one request after the other."""
    desk.join_windows = 1
    put("soon")
    desk.handle(*by_celery(redis, "soon"), turn())
    ids = [put("soon", name) for name in "ABC"]
    host.meanwhile = fetched(redis, *ids[1:])
    desk.handle(*by_celery(redis, "soon"), turn())
    assert host.asked[1:] == [("soon", "A"), ("soon", "B"), ("soon", "C")]
    assert answered(redis)[1:] == ids


def test_what_fails_as_a_whole_is_computed_one_by_one(desk: Desk, host: Recorder, redis, put) -> None:
    """The fault of one request is not the other's."""
    put("soon")
    desk.handle(*by_celery(redis, "soon"), turn())
    ids = [put("soon", name) for name in "ABC"]
    host.meanwhile = fetched(redis, *ids[1:])
    host.fails = "C"
    desk.handle(*by_celery(redis, "soon"), turn())
    assert host.asked[1:] == [("soon", "A"), ("soon", "B+C"), ("soon", "B"), ("soon", "C")]
    assert desk.figures.batches == {"answered": 3, "failed": 1}


def test_what_comes_while_the_model_computes_is_read_meanwhile(desk: Desk, host: Recorder, redis, put) -> None:
    """Nobody had sent it when the run began; it was taken before the run ended, and the next two are one run."""
    put("soon", "A")
    desk.handle(*by_celery(redis, "soon"), turn())
    put("soon", "B")

    def send_more() -> None:
        host.meanwhile = lambda: None
        fetched(redis, put("soon", "C"), put("soon", "D"))()

    host.meanwhile = send_more
    desk.handle(*by_celery(redis, "soon"), turn())
    assert [name for _, name in host.asked[:2]] == ["A", "B"]
    assert sorted("".join(name for _, name in host.asked[2:]).replace("+", "")) == ["C", "D"]


def test_a_batch_that_ends_its_worker_is_parked_and_those_computed_with_it_are_answered(
    desk: Desk, host: Recorder, redis, put
) -> None:
    """Joined it takes the others along once; from then on it dies alone, and only it is parked at the fourth try."""
    put("soon", "A")
    desk.handle(*by_celery(redis, "soon"), turn())
    ids = {name: put("soon", name) for name in ("B", "good", "poison", "fine")}
    until_fetched = fetched(redis, ids["good"], ids["poison"])

    def die_of_poison() -> None:
        if host.asked[-1][1] == "B":
            until_fetched()
        if "poison" in host.asked[-1][1]:
            raise ZeroDivisionError

    host.meanwhile = die_of_poison
    deaths = 0
    while redis.llen(meeting.queue("soon")) and deaths < 10:
        try:
            desk.handle(*delivered(redis, desk.counter, "soon"), turn())
        except ZeroDivisionError:
            deaths += 1
            restore(redis)
    ran = [names for _, names in host.asked]
    assert ran.count("good+poison") == 1
    assert ran.count("poison") == MAX_ATTEMPTS - 1 == deaths - 1
    assert redis.keys(meeting.parked_key("*")) == [meeting.parked_key(ids["poison"]).encode()]
    assert sorted(answered(redis)[1:]) == sorted(ids.values())
