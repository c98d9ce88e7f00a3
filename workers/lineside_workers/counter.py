"""What the broker holds of one request: its claim, its attempts, its message until that is acknowledged.

Celery's own bookkeeping of a delivery, the claim and the attempts go to the broker in one exchange, and answer,
claim and acknowledgement in another: three exchanges for a batch instead of six. With the solo pool a message is
handled as soon as it is delivered, so attempts are counted at the delivery, before inference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from lineside_plugins import meeting
from lineside_workers.line import Command, Line

ATTEMPTS_TTL_S = 3600
ANSWER_WITHIN_S = 15.0  # how long an answer waits for a broker that restarts
# Whoever removes the claim answers: a request that two workers hold at once is answered once. The message of either
# is acknowledged.
ANSWER = """
redis.call('ZREM', KEYS[4], ARGV[5])
redis.call('HDEL', KEYS[5], ARGV[5])
if redis.call('UNLINK', KEYS[1]) == 0 then return 0 end
redis.call('UNLINK', KEYS[2])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[1], '*', 'id', ARGV[2], 'body', ARGV[3], 'hmac', ARGV[4])
return 1
"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of a request. ``claim`` is None when another delivery of it has been answered, or its time is up.

    ``left_s`` is the time to its deadline, by the broker's clock.
    """

    request_id: str
    claim: bytes | None
    attempts: int
    left_s: float
    tag: str = ""


class Counter:
    """Takes deliveries in and answers out, one at a time, in one thread."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._open: Delivery | None = None
        self._answered_tag: str | None = None

    def take_in(self, request_id: str, *commands: Command, tag: str = "") -> Delivery:
        """Count the attempt and fetch the claim, after ``commands`` in the same exchange.

        Raises:
            RedisError, OSError: The broker is lost; Celery delivers the request again.
        """
        attempts = meeting.attempts_key(request_id)
        replies = self._line.ask(
            *commands,
            ("INCR", attempts),
            ("EXPIRE", attempts, ATTEMPTS_TTL_S),
            ("PTTL", meeting.claim_key(request_id)),
            ("GET", meeting.claim_key(request_id)),
        )
        attempt, _, ttl_ms, claim = replies[-4:]
        left_s = math.inf if ttl_ms < 0 else ttl_ms / 1e3 - meeting.CLAIM_SLACK_S  # below 0: it does not expire
        self._open = Delivery(request_id, claim, int(attempt), left_s, tag)
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

    def answer(self, delivery: Delivery, stream: str, body: bytes, signature: str) -> bool:
        """Send the answer and acknowledge the message; False when the request has been answered before.

        Raises:
            RedisError, OSError: The broker stayed away; the request is delivered again.
        """
        keys = (
            meeting.claim_key(delivery.request_id),
            meeting.attempts_key(delivery.request_id),
            stream,
            meeting.UNACKED_INDEX,
            meeting.UNACKED,
        )
        arguments = (meeting.REPLY_MAX_ENTRIES, delivery.request_id, body, signature, delivery.tag)
        command = ("EVAL", ANSWER, len(keys), *keys, *arguments)
        (sent,) = self._line.ask_again(command, within_s=ANSWER_WITHIN_S)
        self._answered_tag = delivery.tag
        return bool(sent)

    def park(self, delivery: Delivery, task: str, config: Mapping[str, object], cause: str, now: float) -> None:
        """Keep the claim for a day under its cause, to look into and to try again.

        Raises:
            RedisError, OSError: The broker is lost.
        """
        key = meeting.parked_key(delivery.request_id)
        row: Command = ("task", task, "cause", cause, "at", now, "config", json.dumps(config))
        self._line.ask(
            ("HSET", key, *row, "claim", delivery.claim or b""),
            ("EXPIRE", key, meeting.PARKED_TTL_S),
        )

    def acknowledged(self, tag: str) -> bool:
        """Whether the broker holds the message of ``tag`` no more; asked once, when Celery acknowledges it."""
        answered, self._answered_tag = self._answered_tag, None
        return answered == tag
