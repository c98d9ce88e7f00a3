"""A fleet whose gateways have a witness, and the judgement: which windows ended, how, and which did not."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from lineside_gateway.audit import entries
from tests.gateway.fleet.rig import Rig

HERE = Path(__file__).parent
LATE_BY_S = 0.5  # between the guard's look at the clock and the plant's
DRAIN_WITHIN_S = 40.0  # beyond the deadline
ELSEWHERE = "elsewhere"
AGAIN = "refused: duplicate"  # said of what has come to another end before

Window: TypeAlias = tuple[str, int]
"""Machine, and end in us since 1970: the same on all members."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the plant's file, the witnesses and the audit logs of all members say together."""

    windows: int
    ends: Counter[str]
    lost: list[Window]
    twice: dict[str, int]
    late: list[str]

    @property
    def sound(self) -> bool:
        """0 lost, 0 written twice, 0 written late."""
        return not (self.lost or self.twice or self.late)


def window_of(key: str) -> Window:
    """The window of a recommendation's key."""
    _, _, machine, end = key.split("|") if "|" in key else key.split("/")
    return machine, round(datetime.fromisoformat(end).timestamp() * 1e6)


@dataclass
class WitnessedRig(Rig):
    """``died`` holds when a process was killed."""

    died: dict[str, float] = field(default_factory=dict)

    def start_gateway(self, member: str) -> None:
        file = self.folder / f"{member}.yaml"
        file.write_text(self.settings(member))
        self.start(member, str(HERE / "member_side.py"), str(self.folder / f"{member}.witness"), "run", str(file), "-v")

    def kill(self, name: str) -> float:
        at = super().kill(name)
        self.died[str(self.processes[name].pid)] = at
        return at

    def judge(self, until_us: int) -> Verdict:
        """How the windows that ended by ``until_us`` came out.

        A window has to come to an end when it is on some member's disk, or was closed by a member that outlived its
        deadline: also by a standby, which is there to answer it if the one that leads does not.
        """
        owed, ended = self._witnessed()
        writes = [(window_of(key), key, at) for _, key, at in self.writes()]
        written = {window for window, _, _ in writes}
        owed = {w for w in owed | written if w[1] <= until_us}
        withheld = self._withheld()
        ends, lost = Counter[str](), list[Window]()
        for window in sorted(owed):
            found = ended[window] - {ELSEWHERE, "published"} or withheld[window]
            if window in written:
                ends["written"] += 1
            elif found:
                ends[min(found - {AGAIN} or found)] += 1
            else:
                lost.append(window)
        late = [key for window, key, at in writes if at > window[1] / 1e6 + self.deadline_s + LATE_BY_S]
        return Verdict(len(owed), ends, lost, self.twice(), late)

    def settled(self) -> Verdict:
        """The verdict on all that has closed by now, when it has ended; as it stands where it does not end."""
        now = time.time()
        give_up = now + self.deadline_s + DRAIN_WITHIN_S
        while not (verdict := self.judge(round(1e6 * now))).sound and time.time() < give_up:
            time.sleep(0.5)
        return verdict

    def _witnessed(self) -> tuple[set[Window], defaultdict[Window, set[str]]]:
        """Windows that have to end, and how members say they did."""
        owed, ended = set[Window](), defaultdict[Window, set[str]](set)
        for path in self.folder.glob("*.witness"):
            for line in path.read_text().splitlines():
                pid, what, machine, end_us, *_why = line.split()
                window = machine, int(end_us)
                if what == "kept" or (what == "closed" and self._outlived(pid, window)):
                    owed.add(window)
                elif what != "closed":
                    ended[window].add(what)
        return owed, ended

    def _outlived(self, pid: str, window: Window) -> bool:
        return self.died.get(pid, time.time()) > window[1] / 1e6 + self.deadline_s

    def _withheld(self) -> defaultdict[Window, set[str]]:
        """Windows whose recommendation was published and not written, by the audit logs: refused, or out of time."""
        found = defaultdict[Window, set[str]](set)
        for log in (self.folder / m / "audit" for m in "ab"):
            for entry in entries(log) if log.is_dir() else ():
                if entry["event"] == "decision" and not entry["allowed"]:
                    found[window_of(entry["key"])].add(f"refused: {entry['reason']}")
                elif entry["event"] == "step" and entry["step"] in {"refused", "expired"}:
                    found[window_of(entry["key"])].add(f"{entry['step']}: {entry['reason']}")
        return found
