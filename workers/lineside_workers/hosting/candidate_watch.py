"""What a version in shadow or canary does on the windows it is asked about, beside the version in full on the same."""

from __future__ import annotations

from dataclasses import dataclass

from lineside_plugins.wire import BatchResult, Status
from lineside_workers.hosting.runner import FAULTS
from lineside_workers.models.versions import Limits

KEEP = 0.98  # of the past at each batch: about the newest fifty batches count


@dataclass(slots=True)
class Tally:
    """Windows by fate and seconds spent, the past fading."""

    windows: float = 0.0
    errors: float = 0.0
    abstained: float = 0.0
    flagged: float = 0.0
    both: float = 0.0
    batches: float = 0.0
    seconds: float = 0.0

    def add(self, result: BatchResult, windows: int, flag: str, seconds: float, both: frozenset[int]) -> None:
        """One batch; flags are compared on the rows ``both`` versions answered."""
        for name in self.__slots__:
            setattr(self, name, KEEP * getattr(self, name))
        failed = result.status is not Status.ANSWERED
        faults = int(result.meta.get(FAULTS) or 0)  # windows too poor for any model are nobody's fault
        self.windows += windows
        self.batches += 1
        self.seconds += seconds
        self.errors += windows if failed else faults
        self.abstained += 0 if failed else sum(r.abstained for r in result.refused)
        rows = result.recommendations
        self.flagged += sum(r is not None and r.value.get(flag) is True for i, r in enumerate(rows) if i in both)
        self.both += len(both)

    def share(self, name: str) -> float:
        """Errors, abstained or flagged per window."""
        return float(getattr(self, name)) / max(self.windows, 1e-9)

    @property
    def latency_s(self) -> float:
        """Seconds per batch."""
        return self.seconds / max(self.batches, 1e-9)


class CandidateWatch:
    """Decides when a version has to go."""

    def __init__(self, limits: Limits, flag: str) -> None:
        self.limits = limits
        self.own, self.full = Tally(), Tally()
        self._flag = flag
        self._seen = 0

    def see(self, own: BatchResult, own_s: float, full: BatchResult | None, full_s: float, windows: int) -> str:
        """Take one batch in, both versions on the same ``windows``; why the version has to go, "" while it need not."""
        if full is not None and full.status is not Status.ANSWERED:
            return ""  # what fails for both is not this version's doing
        self._seen += windows
        others = () if full is None else full.recommendations
        pairs = enumerate(zip(own.recommendations, others, strict=False))
        both = frozenset(i for i, (a, b) in pairs if a is not None and b is not None)
        self.own.add(own, windows, self._flag, own_s, both)
        if full is not None:
            self.full.add(full, windows, self._flag, full_s, both)
        return self._breach() if self._seen >= self.limits.min_windows else ""

    def _breach(self) -> str:
        limits, own = self.limits, self.own
        if (share := own.share("errors")) > limits.max_error_share:
            return f"errors: {share:.0%} of windows got no answer, at most {limits.max_error_share:.0%}"
        if not self.full.batches:
            return ""
        most = max(limits.latency_floor_s, limits.max_latency_ratio * self.full.latency_s)
        if own.latency_s > most:
            return f"latency: {1e3 * own.latency_s:.0f} ms a batch, at most {1e3 * most:.0f}"
        more = own.share("abstained") - self.full.share("abstained")  # fewer is what retraining is for
        if more > limits.max_drift:
            return f"drift: abstains in {more:.0%} more windows than the one in full; at most {limits.max_drift:.0%}"
        mine, theirs = (t.flagged / max(t.both, 1.0) for t in (own, self.full))
        if abs(mine - theirs) > limits.max_drift:
            return (
                f"drift: raises the flag in {mine:.0%} of the windows that both answered, the version in full in "
                f"{theirs:.0%}; at most {limits.max_drift:.0%} apart"
            )
        return ""
