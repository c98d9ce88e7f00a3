from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

import pytest
from redis import Redis

from lineside_gateway.dispatch import EmbeddedBroker
from lineside_plugins import WindowBatch, meeting
from lineside_plugins.wire import BatchResult, Status, decode_batch, encode_batch, sign, verify
from lineside_workers.requests.counter import Counter
from lineside_workers.requests.desk import MAX_ATTEMPTS, Desk
from lineside_workers.requests.line import Line

KEY = b"secret"


class Recorder:
    """A host that answers everything and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, object], int]] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def answer(self, task: str, config: Mapping[str, object], batch: WindowBatch) -> BatchResult:
        self.asked.append((task, config, len(batch)))
        self.meanwhile()
        return BatchResult(Status.ANSWERED, (None,) * len(batch), meta={"device": "cpu"})


@pytest.fixture
def host() -> Recorder:
    return Recorder()


@pytest.fixture
def counter(broker: EmbeddedBroker) -> Iterator[Callable[[], Counter]]:
    """Makes the broker's side of a worker of its own."""
    lines: list[Line] = []

    def make() -> Counter:
        lines.append(Line(broker.url))
        return Counter(lines[-1])

    yield make
    for line in lines:
        line.close()


@pytest.fixture
def desk(counter: Callable[[], Counter], host: Recorder) -> Desk:
    return Desk(counter(), host, "w@h")


@pytest.fixture
def claim(redis: Redis, make_batch) -> Callable[..., tuple[str, dict[str, object]]]:
    """Puts a batch beside a request; the arguments of its Celery message."""

    def put(request_id: str = "r1", deadline_s: float = 30.0, key: bytes = b"", **change: object):
        body = encode_batch(make_batch(1.0, 2.0))
        meta: dict[str, object] = {"id": request_id, "task": "tiny", "reply": meeting.reply_stream("gw")}
        meta |= {"config": {"limit": 1}}
        if key:
            meta["hmac"] = sign(key, meta, body)
        redis.set(meeting.claim_key(request_id), body, px=round(1e3 * (deadline_s + meeting.CLAIM_SLACK_S)))
        return "tiny", {**meta, **change}

    return put


def answers(redis: Redis) -> list[dict[str, object]]:
    return [
        {**json.loads(fields[b"body"]), "id": fields[b"id"].decode()}
        for _, fields in redis.xrange(meeting.reply_stream("gw"))
    ]


def test_a_request_is_answered_once_and_its_claim_removed(desk: Desk, host: Recorder, redis: Redis, claim) -> None:
    """A second delivery of an answered request finds no claim and says nothing."""
    request = claim()
    assert desk.handle(*request) is Status.ANSWERED
    assert desk.handle(*request) is None
    assert host.asked == [("tiny", {"limit": 1}, 2)]
    (answer,) = answers(redis)
    assert (answer["id"], answer["meta"]) == ("r1", {"device": "cpu", "worker": "w@h", "attempts": 1})
    assert not redis.exists(meeting.claim_key("r1"))


def test_two_workers_with_the_same_request_give_one_answer(
    desk: Desk, counter: Callable[[], Counter], host: Recorder, redis: Redis, claim
) -> None:
    """A batch that outlasts its visibility timeout runs twice, but the first answer is the only one."""
    request = claim()
    other = Desk(counter(), Recorder(), "other@h")
    host.meanwhile = lambda: other.handle(*request)
    assert desk.handle(*request) is None
    assert [a["meta"]["worker"] for a in answers(redis)] == ["other@h"]


def test_past_its_deadline_nothing_is_computed(desk: Desk, host: Recorder, redis: Redis, claim) -> None:
    """The broker's clock decides, before inference."""
    assert desk.handle(*claim(deadline_s=-2)) is Status.EXPIRED
    assert host.asked == []
    assert "past its deadline" in answers(redis)[0]["error"]


def test_a_request_that_ended_its_worker_three_times_is_parked(desk: Desk, host: Recorder, redis: Redis, claim) -> None:
    """The fourth delivery is not tried; the batch is kept for a day to look into."""
    request = claim()
    redis.set(meeting.attempts_key("r1"), MAX_ATTEMPTS)
    assert desk.handle(*request) is Status.PARKED
    assert host.asked == []
    assert "ended its worker 3 times and is parked as r1" in answers(redis)[0]["error"]
    row = redis.hgetall(meeting.parked_key("r1"))
    assert (row[b"task"], json.loads(row[b"config"])) == (b"tiny", {"limit": 1})
    assert row[b"cause"].decode() == answers(redis)[0]["error"]
    assert len(decode_batch(row[b"claim"])) == 2
    assert 0 < redis.ttl(meeting.parked_key("r1")) <= meeting.PARKED_TTL_S


def test_damaged_bytes_are_an_answer_not_a_crash(desk: Desk, redis: Redis, claim) -> None:
    """The gateway gets the sentence; the worker goes on."""
    request = claim()
    redis.set(meeting.claim_key("r1"), b"rubbish")
    assert desk.handle(*request) is Status.FAILED
    assert "batch starts with b'rubb'" in answers(redis)[0]["error"]


@pytest.mark.parametrize("change", [{}, {"note": "added"}, {"config": {"limit": 2}}, {"hmac": None}])
def test_only_requests_signed_with_the_key_run(
    counter: Callable[[], Counter], redis: Redis, host: Recorder, claim, change: dict[str, object]
) -> None:
    """All of meta and the tensor are covered; the answer is signed too."""
    desk = Desk(counter(), host, "w@h", KEY)
    status = desk.handle(*claim(key=KEY, **change))
    assert status is (Status.FAILED if change else Status.ANSWERED)
    assert len(host.asked) == (0 if change else 1)
    ((_, fields),) = redis.xrange(meeting.reply_stream("gw"))
    verify(KEY, {"id": "r1", "hmac": fields[b"hmac"].decode()}, fields[b"body"])


def test_an_answer_goes_to_a_gateways_stream_only(desk: Desk, redis: Redis, claim) -> None:
    """A request cannot make a worker write to another key."""
    redis.set("lineside:other", "untouched")
    assert desk.handle(*claim(reply="lineside:other")) is None
    assert redis.get("lineside:other") == b"untouched"
