"""What one binding allows, and what can be told of a recommendation by that and the clock alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from lineside_gateway.guard.modes import WRITING
from lineside_gateway.guard.refusal import Refusal, Refused
from lineside_gateway.settings.model import Mode, WriteSettings
from lineside_plugins.types import Recommendation

JOB_CONTROL = "job_control"


@dataclass(frozen=True, slots=True)
class Policy:
    """What one binding allows. ``equipment_ids`` are all it may recommend for, assign orders to or write to."""

    task: str
    mode: Mode
    flag: str
    deadline_s: float
    equipment_ids: frozenset[str]
    write: tuple[WriteSettings, ...] = ()
    min_quality: float = 0.5
    acknowledge_within_s: float = 4 * 3600.0
    job_control: str = JOB_CONTROL
    assignable: frozenset[str] = frozenset()  # equipment job orders may be given to; empty: equipment_ids


def worth(rec: Recommendation, policy: Policy, now: datetime) -> Refused | None:
    """Mode, time, quality and flag: what can be told from the recommendation and the clock alone. Pure."""
    if policy.mode not in WRITING:
        return Refused(Refusal.MODE, f"task '{rec.task}' is {policy.mode.value}")
    untimely = timely(rec, policy, now)
    if untimely is not None:
        return untimely
    if not rec.quality >= policy.min_quality:  # a quality that is not a number is not enough
        return Refused(Refusal.QUALITY, f"{rec.quality:.0%} of its samples were Good; {policy.min_quality:.0%} needed")
    if rec.value.get(policy.flag) is not True:
        return Refused(Refusal.NO_EFFECT, "its flag is down")
    return None


def timely(rec: Recommendation, policy: Policy, now: datetime) -> Refused | None:
    """None while event time ``now`` is neither past the deadline nor a deadline before the window's end. Pure."""
    by = last_moment(rec, policy)
    if by is None or now.tzinfo is None:
        return Refused(Refusal.LATE, "its times carry no time zone, so its age cannot be told")
    if now > by:
        return Refused(Refusal.LATE, f"{(now - by).total_seconds():.1f} s after its deadline {by.isoformat()}")
    if rec.window_end - now > timedelta(seconds=policy.deadline_s):
        ahead = (rec.window_end - now).total_seconds()
        return Refused(Refusal.FUTURE, f"its window ends {ahead:.1f} s ahead of the plant's clock {now.isoformat()}")
    return None


def last_moment(rec: Recommendation, policy: Policy) -> datetime | None:
    """Event time after which nothing of ``rec`` is written; None where its times carry no time zone."""
    if rec.window_end.tzinfo is None or rec.valid_until.tzinfo is None:
        return None
    return min(rec.window_end + timedelta(seconds=policy.deadline_s), rec.valid_until)
