"""The guard: whether a recommendation may be written, decided from event time and what was written before.

No I/O and no clock: ``now`` is the plant's event time, passed in with every question.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice

from lineside_gateway.guard import envelope
from lineside_gateway.guard.decision import Decision
from lineside_gateway.guard.effects import Effect, JobOrderNow, JobOrderUpdate, PlanError, TagWrite, Write, plan
from lineside_gateway.guard.envelope import Target
from lineside_gateway.guard.modes import WRITING
from lineside_gateway.guard.policy import Policy, last_moment, worth
from lineside_gateway.guard.refusal import Refusal, Refused
from lineside_gateway.settings.model import Mode
from lineside_plugins.types import Recommendation, Scalar

RATE_MOST = 6000  # settings allow no higher rate_per_min
KEYS_REMEMBERED = 100_000  # a key older than its deadline is refused as late, so this need only outlast one deadline


@dataclass(slots=True)
class _Memory:
    """What the guard remembers of the past, all of it bounded."""

    keys: OrderedDict[str, None] = field(default_factory=OrderedDict)
    recent: dict[tuple[str, str, int], deque[datetime]] = field(default_factory=dict)
    standing: dict[tuple[Write, ...], datetime] = field(default_factory=dict)
    pending: dict[tuple[str, str], Recommendation] = field(default_factory=dict)


class Guard:
    """Decides for all bindings of one gateway. Not thread-safe: one event loop or one simulation asks.

    Two policies for one task are a ValueError.

    ``current(equipment_id, tag)`` gives the value a tag holds, None where not known; ``orders()`` the job orders the
    MES lists now; ``silent(equipment_id)`` says why its PLC is not to be relied on, "" where it is;
    ``led_elsewhere(equipment_id)`` why another gateway acts for it, "" where this one may.
    """

    def __init__(
        self,
        policies: Iterable[Policy],
        *,
        current: Callable[[str, str], Scalar] = lambda _equipment, _tag: None,
        orders: Callable[[], Mapping[str, JobOrderNow]] = dict,
        silent: Callable[[str], str] = lambda _equipment: "",
        demoted: bool = False,
        led_elsewhere: Callable[[str], str] = lambda _equipment: "",
    ) -> None:
        self._policies: dict[str, Policy] = {}
        for policy in policies:
            if policy.task in self._policies:
                raise ValueError(f"task '{policy.task}' has two policies; bind it once")
            self.bind(policy)
        self._targets: dict[tuple[str, str], Target] = {}
        self._current = current
        self._orders = orders
        self._silent = silent
        self._demoted = demoted
        self._led_elsewhere = led_elsewhere
        self._memory = _Memory()
        self.counts: Counter[str] = Counter()

    @property
    def demoted(self) -> bool:
        """True while the plant-wide switch holds everything at advisory."""
        return self._demoted

    def demote(self, demoted: bool) -> None:
        """Throw the plant-wide switch; what waits for an operator is dropped when it is thrown to advisory."""
        self._demoted = demoted
        if demoted:
            self._memory.pending.clear()

    def held(self, equipment_id: str) -> Refused | None:
        """Why nothing at all may be written for this equipment at present."""
        if self._demoted:
            return Refused(Refusal.DEMOTED, "the plant-wide switch holds everything at advisory")
        elsewhere = self._led_elsewhere(equipment_id)
        return Refused(Refusal.LEASE, elsewhere) if elsewhere else None

    def bind(self, policy: Policy) -> None:
        """Put ``policy`` in force for its task, as equipment comes up; it replaces the task's earlier one."""
        self._policies[policy.task] = policy

    def allow(self, target: Target) -> None:
        """Put a tag on the allow-list with its envelope, read from the node when the server is connected."""
        self._targets[target.equipment_id, target.tag] = target

    def decide(self, rec: Recommendation, now: datetime) -> Decision:
        """Whether ``rec`` may be written at event time ``now``. An allowed decision uses up its key."""
        decision = self._judge(rec, now)
        self.counts["allowed" if decision.reason is None else decision.reason.value] += 1
        return decision

    def accept(self, key: str, now: datetime) -> Decision | None:
        """An operator's yes to a recommendation in confirm mode, judged anew; None where none of that key waits."""
        rec = next((r for r in self._memory.pending.values() if r.key == key), None)
        if rec is None:
            return None
        del self._memory.pending[rec.task, rec.equipment_id]
        decision = self._judge(rec, now, accepted=True)
        self.counts["allowed" if decision.reason is None else decision.reason.value] += 1
        return decision

    def waits(self, task: str) -> bool:
        """Whether what ``task`` recommends is written only after an operator has accepted it."""
        policy = self._policies.get(task)
        return policy is not None and policy.mode is Mode.CONFIRM

    def asks(self, rec: Recommendation) -> bool:
        """Whether ``rec`` asks for something: its flag is up."""
        policy = self._policies.get(rec.task)
        return policy is None or rec.value.get(policy.flag) is True

    def reject(self, key: str) -> Recommendation | None:
        """An operator's no: the recommendation that waited, None where none of that key does."""
        rec = next((r for r in self._memory.pending.values() if r.key == key), None)
        if rec is not None:
            del self._memory.pending[rec.task, rec.equipment_id]
            self._note_key(key)
        return rec

    def restore(self, decisions: Iterable[tuple[Decision, bool]]) -> None:
        """Take up decisions of an earlier run or another gateway, oldest first, and whether each is settled."""
        for decision, settled in decisions:
            if decision.key not in self._memory.keys:
                self._remember(decision)
            if settled:
                self.settle(decision)

    def settle(self, decision: Decision) -> None:
        """The plant has answered, or will not: the same request may be made again."""
        for effect in decision.effects:
            self._memory.standing.pop(_request(effect), None)

    def _judge(self, rec: Recommendation, now: datetime, *, accepted: bool = False) -> Decision:
        answer = Decision(False, rec.task, rec.equipment_id, rec.key)
        policy = self._policies.get(rec.task)
        if policy is None or rec.equipment_id not in policy.equipment_ids:
            text = f"task '{rec.task}' is not bound to '{rec.equipment_id}'"
            return replace(answer, refused=Refused(Refusal.UNBOUND, text))
        refused = worth(rec, policy, now) or self._switches(rec, policy)
        if refused is not None:
            return replace(answer, refused=refused)
        try:
            planned = self._plan(rec, policy)
        except PlanError as e:
            return replace(answer, refused=Refused(Refusal.PLAN, str(e)))
        refused = self._envelope(planned, policy) or self._repetition(rec, planned, policy, now)
        if refused is None and policy.mode is Mode.CONFIRM and not accepted:
            self._memory.pending[rec.task, rec.equipment_id] = rec
            refused = Refused(Refusal.OPERATOR, "waits for an operator to accept")
        if refused is not None:
            return replace(answer, refused=refused)
        decision = replace(
            answer,
            allowed=True,
            effects=tuple(e for _, e in planned),
            rules=tuple(i for i, _ in planned),
            decided=now,
            write_by=last_moment(rec, policy),
            answer_by=now + timedelta(seconds=policy.acknowledge_within_s),
        )
        self._remember(decision)
        return decision

    def _switches(self, rec: Recommendation, policy: Policy) -> Refused | None:
        held = self.held(rec.equipment_id)
        if held is not None and policy.mode in WRITING:
            return held
        if rec.key in self._memory.keys:
            return Refused(Refusal.DUPLICATE, f"{rec.key} has had its effect")
        return None

    def _plan(self, rec: Recommendation, policy: Policy) -> list[tuple[int, Effect]]:
        """Effects with something to write, each with the number of its rule."""
        orders = self._orders() if any(rule.update_job_orders for rule in policy.write) else {}
        effects = [plan(rule, rec, orders, policy.job_control) for rule in policy.write]
        return [(i, e) for i, e in enumerate(effects) if e.writes]

    def _envelope(self, planned: list[tuple[int, Effect]], policy: Policy) -> Refused | None:
        if not planned:
            return Refused(Refusal.NO_EFFECT, "nothing would change")
        for _, effect in planned:
            for write in effect.writes:
                refused = self._order(write, policy) if isinstance(write, JobOrderUpdate) else self._tag(write)
                if refused is not None:
                    return refused
        return None

    def _tag(self, write: TagWrite) -> Refused | None:
        silent = self._silent(write.equipment_id)
        if silent:
            return Refused(Refusal.SILENT, silent)
        target = self._targets.get((write.equipment_id, write.tag))
        if target is None:
            return Refused(Refusal.TARGET, f"{write.equipment_id}.{write.tag} is not on the list of writable tags")
        return envelope.check(target, write.value, self._current(write.equipment_id, write.tag))

    def _order(self, write: JobOrderUpdate, policy: Policy) -> Refused | None:
        machines = policy.assignable or policy.equipment_ids
        if write.equipment_id is not None and write.equipment_id not in machines:
            text = f"job order {write.job_order_id} would go to '{write.equipment_id}', which is not bound"
            return Refused(Refusal.TARGET, text)
        return None

    def _repetition(
        self, rec: Recommendation, planned: list[tuple[int, Effect]], policy: Policy, now: datetime
    ) -> Refused | None:
        for i, effect in planned:
            until = self._memory.standing.get(_request(effect))
            if until is not None and now <= until:
                return Refused(Refusal.STANDING, "the same request was made and is not answered yet")
            rate = policy.write[i].rate_per_min
            recent = self._memory.recent.get((rec.task, rec.equipment_id, i), deque())
            if _all_within(recent, _rate_count(rate), now, _rate_window(rate)):
                return Refused(Refusal.RATE, f"more than {rate:g} per minute for {rec.equipment_id}")
        return None

    def _remember(self, decision: Decision) -> None:
        memory, now, until = self._memory, decision.decided, decision.answer_by
        assert now is not None  # noqa: S101 - an allowed decision has both times
        assert until is not None  # noqa: S101
        self._note_key(decision.key)
        memory.standing = {writes: by for writes, by in memory.standing.items() if by >= now}
        for i, effect in zip(decision.rules, decision.effects, strict=True):
            memory.recent.setdefault((decision.task, decision.equipment_id, i), deque(maxlen=RATE_MOST)).append(now)
            if effect.acknowledge is not None:
                memory.standing[_request(effect)] = until

    def _note_key(self, key: str) -> None:
        self._memory.keys[key] = None
        if len(self._memory.keys) > KEYS_REMEMBERED:
            self._memory.keys.popitem(last=False)


def _request(effect: Effect) -> tuple[Write, ...]:
    """What makes two effects the same request: their writes; for commands with an id the tags they go to."""
    if effect.acknowledge is None or effect.acknowledge.command_id is None:
        return effect.writes
    return tuple(replace(w, value=None) if isinstance(w, TagWrite) else w for w in effect.writes)


def _all_within(recent: deque[datetime], count: int, now: datetime, window: timedelta) -> bool:
    """Whether the ``count`` newest of ``recent`` all lie within ``window`` of ``now``; the oldest tells most."""
    if len(recent) < count or abs(now - recent[-count]) >= window:
        return False
    return all(abs(now - at) < window for at in islice(reversed(recent), count))


def _rate_window(per_min: float) -> timedelta:
    """The span in which ``_rate_count`` writes are allowed: a minute, or longer where less than one is."""
    return timedelta(minutes=max(1.0, 1.0 / per_min))


def _rate_count(per_min: float) -> int:
    return max(1, int(per_min))
