"""What the broker holds of one request: its claim, its attempts, its message until that is acknowledged.

An idle worker waits for a message as Celery does; its claim comes with the note that it was delivered. Under load
nothing waits for the broker: before a batch is run, one write holds the answer to the batch before and the attempt at
this one, and while it is computed a second thread fetches what comes next. Attempts count when a batch begins: one
that was fetched ahead by a worker that died with the batch before it has not been tried.
"""

from __future__ import annotations

import json
import logging
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from redis.exceptions import ResponseError

from lineside_plugins import meeting
from lineside_workers.requests.line import LOSSES, Command, Line
from lineside_workers.requests.replies import Reply
from lineside_workers.requests.scripts import ANSWER, GIVE_BACK, TAKE

logger = logging.getLogger(__name__)

ATTEMPTS_TTL_S = 3600
ANSWER_WITHIN_S = 15.0  # how long an answer waits for a broker that restarts


class Delivery(NamedTuple):
    """One delivery of a request. ``claim`` is None when another delivery of it has been answered, or its time is up.

    ``left_s`` is the time to its deadline, by the broker's clock. ``attempts`` has this one in it. ``message`` and
    ``queue`` are of one that was taken without Celery.
    """

    request_id: str
    claim: bytes | memoryview | None
    attempts: int
    left_s: float
    tag: str = ""
    message: bytes = b""
    queue: str = ""


class Errand(NamedTuple):
    """A command and who hears its reply; ``once`` for what must not be repeated when nobody knows whether it ran."""

    command: Command
    hear: Callable[[Reply], object] | None = None
    once: bool = False


class Counter:
    """Takes deliveries in and answers out, one at a time, in one thread at a time."""

    def __init__(self, line: Line, most_taken: int = 2) -> None:
        """At most ``most_taken`` requests are taken at once."""
        self._line = line
        self._taken_keys = [meeting.taken_key(f"{uuid.uuid4().hex}:{n}") for n in range(most_taken)]
        self._open: Delivery | None = None
        self._outbox: list[Errand] = []  # leaves with the next batch that begins, or when none follows
        self._away: list[Errand] = []  # written; the replies are still to be read
        self._found: list[Reply] = []  # whose claims are still to be heard, the first one last
        self._taken: list[Delivery] = []
        self._refused = False
        self._answered: set[str] = set()

    def take_in(self, request_id: str, *commands: Command, tag: str = "") -> Delivery:
        """Count the attempt and fetch the claim, after ``commands`` in the same exchange.

        Raises:
            RedisError, OSError: The broker is lost; Celery delivers the request again.
        """
        self._away.clear()  # of a turn that ended by an error
        key = meeting.claim_key(request_id)
        replies = self._line.ask(*commands, *_counted(request_id), ("PTTL", key), ("GET", key))
        attempt, _, ttl_ms, claim = replies[-4:]
        self._open = Delivery(request_id, claim, int(attempt), _left_s(ttl_ms), tag)
        return self._open

    def delivery(self, request_id: str) -> Delivery:
        """What ``take_in`` has fetched, handed out once; fetched now if it has not.

        Raises:
            RedisError, OSError: The broker is lost.
        """
        found, self._open = self._open, None
        if found is None or found.request_id != request_id:
            found, self._open = self.take_in(request_id), None
        return found

    def begin(self, deliveries: Sequence[Delivery]) -> None:
        """Send the answers of before and the attempt at ``deliveries``; what comes back is read later.

        Raises:
            RedisError, OSError: The broker stayed away; what was not answered is delivered again.
        """
        for delivery in deliveries:
            if delivery.message:  # one that came by Celery has been counted
                self._outbox += [Errand(c) for c in _counted(delivery.request_id)]
        self._send((), 0)

    def fetch(self, queues: Sequence[str], most: int) -> list[Delivery]:
        """Up to ``most`` requests of ``queues``; may run in another thread while the first computes.

        Raises:
            RedisError, OSError: The broker stayed away; what was not answered is delivered again.
        """
        self._send(queues, most)
        self._hear()
        found, self._taken = self._taken, []
        return found

    def answer(
        self, delivery: Delivery, stream: str, body: bytes, signature: str, heard: Callable[[bool], object]
    ) -> None:
        """Put the answer to ``delivery`` among what leaves next; ``heard`` is told whether it was the first."""
        keys = (
            meeting.claim_key(delivery.request_id),
            meeting.attempts_key(delivery.request_id),
            stream,
            meeting.UNACKED_INDEX,
            meeting.UNACKED,
        )
        arguments = (meeting.REPLY_MAX_ENTRIES, delivery.request_id, body, signature, delivery.tag)

        def hear(reply: Reply) -> None:
            if isinstance(reply, ResponseError):
                logger.error("answer refused by the broker request=%s error=%s", delivery.request_id, reply)
                return
            self._answered.add(delivery.tag)
            heard(bool(reply))

        self._outbox.append(Errand(("EVAL", ANSWER, len(keys), *keys, *arguments), hear))

    def park(self, delivery: Delivery, task: str, config: Mapping[str, object], cause: str, now: float) -> None:
        """Keep the claim for a day under its cause, to look into and to try again; leaves before the answer."""
        key = meeting.parked_key(delivery.request_id)
        row: Command = ("task", task, "cause", cause, "at", now, "config", json.dumps(config))
        self._outbox += [
            Errand(("HSET", key, *row, "claim", delivery.claim or b"")),
            Errand(("EXPIRE", key, meeting.PARKED_TTL_S)),
        ]

    def drop(self, delivery: Delivery) -> None:
        """Acknowledge without an answer what did not come by Celery, which acknowledges by itself."""
        if delivery.message:
            self._outbox += [
                Errand(("ZREM", meeting.UNACKED_INDEX, delivery.tag)), Errand(("HDEL", meeting.UNACKED, delivery.tag))
            ]  # fmt: skip

    def follow(self, queues: Sequence[str] = (), most: int = 0, *, idle: bool = True) -> list[Delivery]:
        """Hear what is said of what was sent; a worker that is ``idle`` otherwise says all, and asks ``queues``.

        Raises:
            RedisError, OSError: The broker stayed away; what was not answered is delivered again.
        """
        self._hear()
        return self.fetch(queues, most) if idle else []

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Put what was taken and not begun to the front of its queues, at once.

        Raises:
            RedisError, OSError: The broker stayed away; they come back after the visibility timeout.
        """
        for delivery in reversed(deliveries):
            keys = (meeting.UNACKED_INDEX, meeting.UNACKED, delivery.queue)
            self._outbox.append(Errand(("EVAL", GIVE_BACK, 3, *keys, delivery.tag, delivery.message)))
        self._send((), 0)
        self._hear()

    def acknowledged(self, tag: str) -> bool:
        """Whether the broker holds the message of ``tag`` no more; asked once, when Celery acknowledges it."""
        answered, self._answered = self._answered, set()
        return tag in answered

    def _send(self, queues: Sequence[str], most: int) -> None:
        errands, self._outbox = [*self._outbox, *self._wish(queues, most)], []
        if not errands:
            return
        self._away += errands
        try:
            self._line.send(*[e.command for e in errands])
        except LOSSES:
            self._repeat()

    def _hear(self) -> None:
        errands, self._away = self._away, []
        if not errands:
            return
        try:
            replies = self._line.receive()
        except LOSSES:
            self._away = errands
            self._repeat()
            return
        _tell(errands, replies)

    def _repeat(self) -> None:
        """Say again what may be said twice, until the broker is there."""
        errands, self._away = [e for e in self._away if not e.once], []
        if errands:
            replies = self._line.ask_again(*[e.command for e in errands], within_s=ANSWER_WITHIN_S)
            _tell(errands, replies)

    def _wish(self, queues: Sequence[str], most: int) -> list[Errand]:
        """Asks for the next messages; each claim follows as a reply of its own."""
        if not queues or self._refused:
            return []
        to = self._taken_keys[:most]
        keys = (meeting.UNACKED_INDEX, meeting.UNACKED, *to, *queues)
        return [
            Errand(("EVAL", TAKE, len(keys), *keys, time.time(), len(to)), self._hear_taken, once=True),
            *(Errand(("GET", key), self._hear_claim, once=True) for key in to),
            Errand(("UNLINK", *to), once=True),
        ]

    def _hear_taken(self, reply: Reply) -> None:
        self._found = []
        if not isinstance(reply, ResponseError):
            self._found = reply[::-1]
        elif "NOPERM" in str(reply):
            self._refused = True
            logger.warning("batches are not fetched ahead; renew the worker's user from docker/users.acl: %s", reply)

    def _hear_claim(self, reply: Reply) -> None:
        if not self._found:
            return
        message, request_id, tag, queue, attempts, left_ms = self._found.pop()
        claim = None if isinstance(reply, ResponseError) else reply
        self._taken.append(
            Delivery(request_id.decode(), claim, attempts + 1, _left_s(left_ms), tag.decode(), message, queue.decode())
        )


def _tell(errands: Sequence[Errand], replies: Sequence[Reply]) -> None:
    for errand, reply in zip(errands, replies, strict=True):
        if errand.hear is not None:
            errand.hear(reply)


def _counted(request_id: str) -> list[Command]:
    key = meeting.attempts_key(request_id)
    return [("INCR", key), ("EXPIRE", key, ATTEMPTS_TTL_S)]


def _left_s(ttl_ms: int) -> float:
    return math.inf if ttl_ms < 0 else ttl_ms / 1e3 - meeting.CLAIM_SLACK_S  # below 0: it does not expire
