"""The versions of one task side by side: full answers, canary answers for its equipment, shadow is only recorded.

Without a models directory there is one version and nothing else happens here. Who is asked is read anew when
``lineside models`` has changed it, before the next batch. A version in shadow or canary that breaks its limits is
taken back by itself, and the cause is in the history.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lineside_plugins.types import WindowBatch
from lineside_plugins.wire import BatchResult, Status
from lineside_workers.errors import ModelError, WorkerError
from lineside_workers.hosting.candidate_watch import CandidateWatch
from lineside_workers.hosting.combining import merged, rows_of
from lineside_workers.hosting.runner import Runner
from lineside_workers.models.promotion import beside
from lineside_workers.models.store import ModelStore
from lineside_workers.models.versions import Rollout, Stage, Versions
from lineside_workers.watching import side_by_side
from lineside_workers.watching.side_by_side import Pair, SideBySide

logger = logging.getLogger(__name__)

KEPT_EVERY_S = 300.0  # between two writings of what the drift watches know
TOLD_EVERY_S = 2.0  # between two writings of how a version in shadow or canary compares
WATCHER = "worker"  # who takes a version back, in the history


class Staged:
    """Runs the versions of one task. Not thread-safe: one thread loads, runs and closes it."""

    def __init__(self, task: str, config: Mapping[str, object], *, device: str, store: ModelStore) -> None:
        """Check task and configuration; models are read by ``load``.

        Raises:
            TaskError: The task is not installed or its configuration does not fit.
            DeviceError: The device is not on this machine.
        """
        self.task = task
        self._config, self._device, self._store = config, device, store
        self._plain = Runner(task, config, device=device, store=store)
        self._full: Runner | None = None
        self._others: dict[str, Runner] = {}
        self._watches: dict[str, tuple[Stage, CandidateWatch]] = {}
        self._beside: dict[str, SideBySide] = {}
        self._told_s = 0.0
        self._kept_s = time.monotonic()
        self._versions = None if store.root is None else Versions(store, task)
        self._rollout = Rollout()
        self._mark = (0, 0)

    @property
    def deadline_s(self) -> float:
        """How long after a window's end an answer is of use, in event time."""
        return self._plain.deadline_s

    @property
    def model_name(self) -> str:
        """Name of the model in full."""
        return self._plain.model_name if self._full is None else self._full.model_name

    @property
    def model_version(self) -> str:
        """Version in full; "" while there is none."""
        return "" if self._full is None else self._full.model_version

    @property
    def counts(self) -> Counter[str]:
        """Windows by fate, of the version in full."""
        return self._plain.counts if self._full is None else self._full.counts

    @property
    def model_bytes(self) -> int:
        """Size of the weights in memory, of all versions."""
        return sum(runner.model_bytes for runner in self._runners())

    @property
    def bytes_to_load(self) -> int:
        """Size of the weights that ``load`` will read for the version in full, 0 without a model."""
        return self._plain.bytes_to_load

    def load(self) -> None:
        """Load what is in full, canary and shadow.

        Raises:
            ModelError: The version in full does not verify, or there is none and nothing in shadow or canary either.
            WorkerError: The task cannot use it.
        """
        if self._versions is not None:
            self._mark = self._versions.changed_ns()
            self._rollout = self._versions.rollout()
        try:
            self._plain.load()
            self._full = self._plain
            self._take_up(self._plain)
        except ModelError:
            if self._rollout.full or not self._asked():
                raise
            logger.warning("nothing in full task=%s asked=%s", self.task, ",".join(self._asked()))
        self._load_others()

    def answer(self, batch: WindowBatch) -> BatchResult:
        """What the version in full says, the canary's word for its equipment, and the shadow's beside."""
        self._look()
        started = time.perf_counter()
        full = None if self._full is None else self._full.answer(batch)
        full_s = time.perf_counter() - started
        if full is not None and full.status is Status.ANSWERED:
            self._judge_full(full, full_s, len(batch))
        result = full or BatchResult(Status.ANSWERED, (None,) * len(batch), meta={"device": self._plain.device})
        for version in self._asked():
            runner = self._others.get(version)
            rows = self._rows(version, batch)
            if runner is None or not rows:
                continue
            part = batch if len(rows) == len(batch) else batch.select(rows)
            started = time.perf_counter()
            said = runner.answer(part)
            own_s = time.perf_counter() - started
            same = None if full is None else rows_of(full, rows)
            self._beside[version].see(part.equipment_ids, said, own_s, same, full_s * len(rows) / len(batch))
            if cause := self._watches[version][1].see(said, own_s, same, full_s, len(rows)):
                self._withdraw(version, cause)
            elif version == self._rollout.canary:
                result = merged(result, said, rows, version)
            else:
                heard = tuple(r for r in said.recommendations if r is not None)
                result = replace(result, shadow=(*result.shadow, *heard))
        self._tell()
        self._keep_watches()
        return result

    def close(self) -> None:
        """Let every version release its model."""
        self._keep_watches(every_s=0.0)
        for runner in self._runners():
            runner.close()

    def _runners(self) -> list[Runner]:
        own = [self._plain] if self._full in (None, self._plain) else [self._plain, self._full]
        return [*own, *self._others.values()]

    def _judge_full(self, result: BatchResult, seconds: float, windows: int) -> None:
        """Return to the version before where the one in full errs beyond its limit; the next batch goes there."""
        if self._versions is None or not self._rollout.full:
            return
        version = self._rollout.full
        if version not in self._watches or self._watches[version][0] is not Stage.FULL:
            self._watches[version] = Stage.FULL, CandidateWatch(self._rollout.limits, self._plain.flag)
        if cause := self._watches[version][1].see(result, seconds, None, 0.0, windows):
            del self._watches[
                version
            ]  # counted anew, so that a version without one before it is not tried at each batch
            try:
                self._versions.rollback(cause, version=version, by=WATCHER)
                logger.warning("version taken back task=%s version=%s cause=%s", self.task, version, cause)
            except (WorkerError, OSError) as e:
                logger.warning("rollback not possible task=%s version=%s error=%s", self.task, version, e)

    def _tell(self) -> None:
        """Leave how the versions compare where ``lineside models show`` and the next promotion find it."""
        if self._versions is None or not self._others or time.monotonic() < self._told_s + TOLD_EVERY_S:
            return
        self._told_s = time.monotonic()
        for version in self._others:
            stage = self._watches[version][0].value
            folder = beside(self._versions, version)
            try:
                side_by_side.write(folder, f"{socket.gethostname()}-{os.getpid()}", stage, self._beside[version].pairs)
            except OSError as e:
                logger.warning("comparison not written folder=%s error=%s", folder, e)

    def _keep_watches(self, every_s: float = KEPT_EVERY_S) -> None:
        """Write down what the drift watches know; windows hold half a day, so nothing is lost in between."""
        if self._versions is None or time.monotonic() < self._kept_s + every_s:
            return
        self._kept_s = time.monotonic()
        for runner in self._runners():
            if runner.watch is not None:
                try:
                    runner.watch.keep(self._watch_file(runner))
                except OSError as e:
                    logger.warning("drift watch not kept task=%s error=%s", self.task, e)

    def _take_up(self, runner: Runner) -> None:
        if self._versions is not None and runner.watch is not None:
            runner.watch.take_up(self._watch_file(runner))

    def _watch_file(self, runner: Runner) -> Path:
        assert self._versions is not None  # noqa: S101 - there are versions only where there is a models directory
        variant = f"-{zlib.crc32(json.dumps(self._config, sort_keys=True).encode()):08x}" if self._config else ""
        return self._versions.home / "watch" / f"{runner.model_version}{variant}.json"

    def compared(self) -> dict[tuple[str, str], Pair]:
        """How versions in shadow and canary compare with the one in full, by version and stage. Any thread."""
        watches = tuple(self._watches.items())
        return {
            (version, watch[0].value): side_by_side.total(tuple(self._beside[version].pairs.values()))
            for version, watch in watches
            if version in self._beside and watch[0] is not Stage.FULL
        }

    def _asked(self) -> tuple[str, ...]:
        """Versions beside the one in full, the canary first."""
        return (*([self._rollout.canary] if self._rollout.canary else []), *self._rollout.shadow)

    def _rows(self, version: str, batch: WindowBatch) -> list[int]:
        if version != self._rollout.canary:
            return list(range(len(batch)))
        return [i for i, name in enumerate(batch.equipment_ids) if name in self._rollout.equipment]

    def _look(self) -> None:
        """Follow what ``lineside models`` has changed; a version that cannot be used is left out and named."""
        if self._versions is None or (mark := self._versions.changed_ns()) == self._mark:
            return
        self._mark = mark
        self._keep_watches(every_s=0.0)  # a version that moves a stage up goes on from what it knows
        try:
            self._rollout = self._versions.rollout()
            if self._rollout.full and self._rollout.full != self.model_version:
                fresh = self._runner(self._rollout.full)
                if self._full is not None:
                    self._full.close()
                self._full = fresh
                logger.info("model changed task=%s version=%s", self.task, fresh.model_version)
        except WorkerError as e:
            logger.error("version not served task=%s error=%s", self.task, e)  # noqa: TRY400 - a sentence says all
        self._load_others()

    def _load_others(self) -> None:
        wanted = self._asked()
        for version in [v for v in self._others if v not in wanted]:
            self._others.pop(version).close()
        for version in wanted:
            stage = self._rollout.stage_of(version)
            if version not in self._others:
                try:
                    self._others[version] = self._runner(version)
                except WorkerError as e:
                    logger.error("version not served task=%s version=%s error=%s", self.task, version, e)  # noqa: TRY400
                    self._withdraw(version, f"cannot be loaded: {e}")
                    continue
            if version not in self._watches or self._watches[version][0] is not stage:
                self._watches[version] = stage, CandidateWatch(self._rollout.limits, self._plain.flag)
                self._beside[version] = SideBySide(self._plain.flag)

    def _runner(self, version: str) -> Runner:
        assert self._versions is not None  # noqa: S101 - there are versions only where there is a models directory
        folder = self._versions.folder(version)
        runner = Runner(self.task, self._config, folder, self._device, store=self._store)
        runner.load()
        self._take_up(runner)
        return runner

    def _withdraw(self, version: str, cause: str) -> None:
        """Take ``version`` back here at once, and for all workers in the file."""
        assert self._versions is not None  # noqa: S101 - as above
        self._rollout = self._rollout.without(version)
        if (runner := self._others.pop(version, None)) is not None:
            runner.close()
        logger.warning("version taken back task=%s version=%s cause=%s", self.task, version, cause)
        try:
            self._versions.rollback(cause, version=version, by=WATCHER)
            self._mark = self._versions.changed_ns()
        except (WorkerError, OSError) as e:  # another worker was faster, or the folder is read-only here
            logger.warning("rollback not written task=%s version=%s error=%s", self.task, version, e)
