"""Versions of one task's model below the models directory, and who sees what each says: its stage.

    <models>/<task>/<version>/     one folder per version, as ``store`` writes it
    <models>/<task>/current        the version that answers everywhere: stage full
    <models>/<task>/rollout.json   canary and shadow, their limits, and what was done when, by whom and why

A version is a candidate (nobody asks it), in shadow (asked, recorded, never shown), canary (answers for the equipment
named) or full.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from lineside_plugins.contract import TrainedModel
from lineside_workers.errors import ModelError, RolloutError
from lineside_workers.models.manifest import MANIFEST
from lineside_workers.models.store import CURRENT, ModelStore, Origin

ROLLOUT = "rollout.json"
HISTORY_KEPT = 500


class Stage(StrEnum):
    """Who sees what a version says, fewest first."""

    CANDIDATE = "candidate"
    SHADOW = "shadow"
    CANARY = "canary"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a version in shadow or canary must keep to, measured over at least ``min_windows`` windows.

    ``max_error_share`` of windows it could not answer; ``max_latency_ratio`` times the time of the version in full,
    above ``latency_floor_s`` per batch; ``max_drift``: share of windows in which it abstains, or flags, more or less
    often than the version in full on the same windows.
    """

    min_windows: int = 30
    max_error_share: float = 0.05
    max_latency_ratio: float = 5.0
    latency_floor_s: float = 0.2
    max_drift: float = 0.3


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the history."""

    at: str
    action: str
    version: str
    stage: str
    cause: str
    by: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """Who is asked: ``full`` ("" for what ships with the task), ``canary`` for ``equipment``, ``shadow``."""

    full: str = ""
    canary: str = ""
    equipment: tuple[str, ...] = ()
    shadow: tuple[str, ...] = ()
    limits: Limits = Limits()
    history: tuple[Step, ...] = ()

    def stage_of(self, version: str) -> Stage:
        """The widest stage ``version`` has."""
        if version == self.full:
            return Stage.FULL
        if version == self.canary:
            return Stage.CANARY
        return Stage.SHADOW if version in self.shadow else Stage.CANDIDATE

    def without(self, version: str) -> Rollout:
        """With ``version`` back to candidate, unless it is in full."""
        shadow = tuple(v for v in self.shadow if v != version)
        if version == self.canary:
            return replace(self, canary="", equipment=(), shadow=shadow)
        return replace(self, shadow=shadow)


class Versions:
    """Reads and changes the versions of ``task`` below the root of ``store``."""

    def __init__(self, store: ModelStore, task: str) -> None:
        """Touch nothing.

        Raises:
            ModelError: The store has no root.
        """
        if store.root is None:
            raise ModelError("there is no models directory; give --models or set LINESIDE_MODELS")
        self.store, self.task = store, task
        self.home = store.root / task

    def names(self) -> list[str]:
        """Versions there, the oldest first."""
        if not self.home.is_dir():
            return []
        found = [p.parent for p in self.home.glob(f"*/{MANIFEST}") if not p.parent.name.startswith(".")]
        return [p.name for p in sorted(found, key=lambda p: (created(p), p.name))]

    def folder(self, version: str) -> Path:
        """The folder of ``version``.

        Raises:
            RolloutError: There is no such version.
        """
        if version not in self.names():
            have = ", ".join(self.names()) or "none"
            raise RolloutError(f"{self.home} has no version '{version}'; versions there: {have}")
        return self.home / version

    def add(self, trained: TrainedModel, version: str, origin: Origin) -> str:
        """Save ``trained`` as a candidate; its version.

        Raises:
            ModelError: It cannot be saved.
            RolloutError: The version is there already.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=self.home))
        try:
            folder = self.store.save(scratch / "model", self.task, version, trained, origin=origin)
            name = self.store.load(folder).version
            if (self.home / name).exists():
                raise RolloutError(f"{self.home} has version '{name}' already; give another --version")
            folder.replace(self.home / name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        with self._changing() as rollout:
            self._write(_noted(rollout, "added", name, Stage.CANDIDATE, "", getpass.getuser()))
        return name

    def rollout(self) -> Rollout:
        """Who is asked now.

        Raises:
            RolloutError: The file cannot be read.
        """
        path, current = self.home / ROLLOUT, self.home / CURRENT
        full = current.read_text(encoding="utf-8").strip() if current.is_file() else ""
        if not path.is_file():
            return Rollout(full=full)
        try:
            row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            steps = tuple(Step(**s) for s in row["history"])
            limits = Limits(**row["limits"])
            return Rollout(full, row["canary"], tuple(row["equipment"]), tuple(row["shadow"]), limits, steps)
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise RolloutError(f"{path} cannot be read: {type(e).__name__}: {e}; restore it or remove it") from e

    def changed_ns(self) -> tuple[int, int]:
        """A mark that differs after every change, for workers that look before each batch."""
        marks = []
        for name in (ROLLOUT, CURRENT):
            try:
                marks.append((self.home / name).stat().st_mtime_ns)
            except FileNotFoundError:
                marks.append(0)
        return marks[0], marks[1]

    def promote(
        self,
        version: str,
        to: Stage,
        *,
        equipment: tuple[str, ...] = (),
        skip: bool = False,
        by: str = "",
        max_drift: float | None = None,
    ) -> Rollout:
        """Move a verified ``version`` one stage up: candidate, shadow, canary, full.

        ``max_drift`` is how far it may flag or abstain otherwise than the version in full; None leaves the limit.

        Raises:
            RolloutError: A stage would be left out (unless ``skip``), or a canary has no equipment.
            ModelError: The version does not verify.
        """
        self.store.load(self.folder(version))
        with self._changing() as rollout:
            now = rollout.stage_of(version)
            order = list(Stage)
            nothing_serves = not rollout.full and to is Stage.FULL
            if order.index(to) - order.index(now) > 1 and not skip and not nothing_serves:
                step = order[order.index(now) + 1]
                raise RolloutError(
                    f"{self.task} {version} is {now.value} and cannot become {to.value} at once; "
                    f"promote it to {step.value} first, or give --skip-stages"
                )
            if to is Stage.CANARY and not equipment:
                raise RolloutError("a canary answers for named equipment; give --equipment, such as --equipment A1")
            if to is Stage.CANDIDATE or now is to is Stage.FULL:
                raise RolloutError(f"{self.task} {version} is {now.value}; promote to shadow, canary or full")
            fresh = rollout.without(version)
            if max_drift is not None:
                fresh = replace(fresh, limits=replace(fresh.limits, max_drift=max_drift))
            if to is Stage.SHADOW:
                fresh = replace(fresh, shadow=(*fresh.shadow, version))
            elif to is Stage.CANARY:
                fresh = replace(fresh, canary=version, equipment=equipment)
            else:
                fresh = replace(fresh, full=version)
            where = f"on {', '.join(equipment)}" if to is Stage.CANARY else ""
            self._write(_noted(fresh, "promoted", version, to, where, by or getpass.getuser()))
        return self.rollout()

    def rollback(self, cause: str, *, version: str = "", by: str = "") -> tuple[str, str]:
        """Take the canary back, else each shadow, else return full to the version before; what went and what answers.

        Raises:
            RolloutError: There is nothing to go back from.
        """
        with self._changing() as rollout:
            out = version or rollout.canary or (rollout.shadow[-1] if rollout.shadow else rollout.full)
            if not out or rollout.stage_of(out) is Stage.CANDIDATE:
                raise RolloutError(f"{self.task} has {out or 'no version'} in no stage; nothing to roll back")
            fresh = rollout.without(out)
            if out == rollout.full:
                fresh = replace(fresh, full=self._before(rollout))
            self._write(_noted(fresh, "rolled back", out, rollout.stage_of(out), cause, by or getpass.getuser()))
        return out, fresh.full

    def _before(self, rollout: Rollout) -> str:
        """The version that was in full before the one that is now, and is still there."""
        have, passed = set(self.names()), [rollout.full]
        withdrawn = {s.version for s in rollout.history if s.action == "rolled back" and s.stage == Stage.FULL.value}
        for step in reversed(rollout.history):
            promoted = step.action == "promoted" and step.stage == Stage.FULL.value
            if promoted and step.version not in passed and step.version in have and step.version not in withdrawn:
                return step.version
        raise RolloutError(
            f"{self.task} {rollout.full} is the only version that was ever in full; promote another one instead"
        )

    @contextmanager
    def _changing(self) -> Iterator[Rollout]:
        """The rollout, while no other process changes it."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.rollout()

    def _write(self, rollout: Rollout) -> None:
        """``current`` last: until it is there, the version before answers."""
        row = {
            "canary": rollout.canary,
            "equipment": list(rollout.equipment),
            "shadow": list(rollout.shadow),
            "limits": asdict(rollout.limits),
            "history": [asdict(s) for s in rollout.history[-HISTORY_KEPT:]],
        }
        _replace(self.home / ROLLOUT, json.dumps(row, indent=1) + "\n")
        before = self.home / CURRENT
        if rollout.full and (not before.is_file() or before.read_text(encoding="utf-8").strip() != rollout.full):
            _replace(before, rollout.full + "\n")


def created(folder: Path) -> str:
    """When the version in ``folder`` was made, ISO 8601; "" where its manifest does not say."""
    try:
        return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("created", ""))
    except (OSError, ValueError):
        return ""


def _noted(rollout: Rollout, action: str, version: str, stage: Stage, cause: str, by: str) -> Rollout:
    step = Step(datetime.now(UTC).isoformat(timespec="seconds"), action, version, stage.value, cause, by)
    return replace(rollout, history=(*rollout.history, step))


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.tmp")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
