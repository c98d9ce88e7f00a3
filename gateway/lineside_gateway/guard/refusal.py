"""Why a recommendation does not reach the plant."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Refusal(StrEnum):
    """Reason codes, in the order in which they are looked at."""

    UNBOUND = "unbound"  # no such task, or not bound to that equipment
    MODE = "mode"  # off, shadow or advisory by configuration
    LATE = "late"  # after window_end + deadline, or after valid_until
    FUTURE = "future"  # its window ends further ahead of the plant's clock than a deadline
    QUALITY = "quality"  # too few Good samples
    NO_EFFECT = "no_effect"  # the flag is down, or nothing would change
    DEMOTED = "demoted"  # the plant-wide switch is on
    LEASE = "lease"  # another gateway of the fleet leads, or nobody does
    DUPLICATE = "duplicate"  # this key has had its effect
    PLAN = "plan"  # the rule asks for an output the recommendation does not have
    SILENT = "silent"  # the PLC that would be written to does not live, by its heartbeat
    TARGET = "target"  # not on the allow-list
    DATA_TYPE = "data_type"
    RANGE = "range"
    STEP = "step"
    STANDING = "standing"  # the same request was made and is not answered yet
    RATE = "rate"
    OPERATOR = "operator"  # allowed once an operator accepts
    JOURNAL = "journal"  # it could not be put on disk first
    IN_DOUBT = "in_doubt"  # begun by a gateway that was lost, and the plant could not tell a second write from it
    WRITE = "write"  # the server refused the write
    READ_BACK = "read_back"  # the node holds something else
    UNANSWERED = "unanswered"  # no acknowledgement within its bound


@dataclass(frozen=True, slots=True)
class Refused:
    """One refusal: the code to count and a sentence with value and bound."""

    code: Refusal
    text: str
