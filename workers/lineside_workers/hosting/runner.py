"""One task with its model in this process: load once, warm up, then batches in, checked recommendations out."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from lineside_plugins import registry
from lineside_plugins.contract import Inputs, Outputs, TaskPlugin
from lineside_plugins.enforcement import AdviceCheck, RefusedError, check_batch, quality
from lineside_plugins.synthetic import synthetic_batch
from lineside_plugins.types import Abstention, Advice, ContractError, FloatArray, Recommendation, WindowBatch
from lineside_plugins.wire import BatchResult, Drift, Refusal, Status
from lineside_workers.errors import ModelError, WorkerError
from lineside_workers.hosting import device as devices
from lineside_workers.hosting.stamp import Stamp
from lineside_workers.models.store import ModelStore
from lineside_workers.watching.drift_watch import DriftWatch

logger = logging.getLogger(__name__)

FAULTS = "faults"  # in a result's meta: windows on which the task raised or broke its contract
WARM_UP_SIZES = (1, 32)  # one window, and a full batch: the two shapes a gateway sends


class Runner:
    """Runs one task. Not thread-safe: one thread loads, runs and closes it.

    ``counts`` holds windows by fate: recommended, silent (the task had nothing to say), refused, failed. ``watch``
    follows drift where the model has what it takes.
    """

    def __init__(
        self,
        task_name: str,
        config: Mapping[str, object] | None = None,
        model_folder: Path | None = None,
        device: str = devices.AUTO,
        *,
        store: ModelStore | None = None,
    ) -> None:
        """Construct the task and check its configuration; the model is read by ``load``.

        Raises:
            TaskError: The task is not installed or its configuration does not fit.
            DeviceError: The device is not on this machine.
        """
        self.task_name = task_name
        self.device = devices.choose(device)
        self.model_name = task_name
        self.model_version = ""
        self.model_bytes = 0
        self.counts: Counter[str] = Counter()
        self._store = store or ModelStore.from_env()
        self._folder = model_folder
        self._plugin: TaskPlugin[Any] = registry.create(task_name, config)
        self._inputs = self._plugin.inputs()
        self._outputs = self._plugin.outputs()
        self._check = AdviceCheck(self._outputs)
        self._stamp = Stamp(task_name, self._outputs, self._inputs.deadline_s)
        self.watch: DriftWatch | None = None
        self._loaded = False

    @property
    def deadline_s(self) -> float:
        """How long after a window's end an answer is of use, in event time."""
        return self._inputs.deadline_s

    @property
    def inputs(self) -> Inputs:
        """What the task reads, as its configuration has it."""
        return self._inputs

    @property
    def outputs(self) -> Outputs:
        """What the task says, as its configuration has it."""
        return self._outputs

    @property
    def flag(self) -> str:
        """Name of the Boolean output that asks for an effect."""
        return self._outputs.flag

    @property
    def bytes_to_load(self) -> int:
        """Size of the weights that ``load`` will read, 0 where there are none."""
        if self._plugin.needs_model:
            with contextlib.suppress(ModelError):  # ``load`` says it
                return self._store.weight_bytes(self._folder or self._store.folder(self.task_name))
        return 0

    def load(self) -> None:
        """Verify and load the model, then run synthetic batches so that the first real one is not slow.

        Raises:
            ModelError: The model folder does not verify.
            WorkerError: The task cannot use the model.
        """
        model = None
        if self._plugin.needs_model:
            folder = self._folder or self._store.folder(self.task_name)
            model = self._store.load(folder)
            if model.name != self.task_name:
                raise ModelError(
                    f"{folder} holds a model of '{model.name}', not of '{self.task_name}'; correct the models directory"
                )
            self.model_name, self.model_version = model.name, model.version
            self.model_bytes = sum(tensor.nbytes for tensor in model.tensors.values())
        else:
            self.model_version = _distribution_version(self.task_name)
        try:
            self._plugin.load(model, self.device)
        except Exception as e:  # supervision point: a task author's code; any error becomes a sentence
            raise WorkerError(
                f"task '{self.task_name}' cannot use model {self.model_name} {self.model_version} on {self.device}: "
                f"{e if isinstance(e, ContractError) else f'{_sentence(e)}; {_next_step(e)}'}"
            ) from e
        self.watch = None if model is None else DriftWatch.of(model.config, self._outputs)
        self._loaded = True
        self._warm_up()

    def run(self, batch: WindowBatch) -> list[Recommendation | None]:
        """One entry per window, in order; None where there is nothing to say or the contract was broken.

        Raises:
            ContractError: The batch does not fit the task, or the task failed on the whole of it.
        """
        result = self.answer(batch)
        if result.status is not Status.ANSWERED:
            raise ContractError(result.error)
        return list(result.recommendations)

    def answer(self, batch: WindowBatch) -> BatchResult:
        """Like ``run``, with the refusals in words; never raises for what a task or a batch does wrong."""
        started = time.perf_counter()
        try:
            check_batch(batch, self._inputs)
            share = quality(batch, self._inputs)
            rows, refused = self._usable(batch, share)
            poor = len(refused)
            said = self._recommend(batch if len(rows) == len(batch) else batch.select(rows), rows, refused)
        except ContractError as e:
            self.counts["failed"] += len(batch)
            return BatchResult(Status.FAILED, error=f"task '{self.task_name}': {e}")
        advised, abstained = self._advised(said, refused)
        entries: Sequence[Recommendation | None] = self._stamp(
            batch, advised, share, self.model_name, self.model_version
        )
        drift: tuple[Drift, ...] = ()
        abstains: dict[int, str] = {}
        if self.watch is not None:
            entries = list(entries)
            drift = self.watch.see(batch, entries, abstained)
            abstains = _on_drift(batch, entries, drift)
            refused |= abstains
        self._count(len(batch), len(advised) - len(abstains), len(refused))
        return BatchResult(
            Status.ANSWERED,
            entries,
            tuple(
                Refusal(i, f"task '{self.task_name}': {refused[i]}", i in abstained or i in abstains)
                for i in sorted(refused)
            ),
            meta={
                "device": self.device,
                "inference_s": round(time.perf_counter() - started, 6),
                FAULTS: len(refused) - poor - len(abstained) - len(abstains),
            },
            drift=drift,
            watched=self.watch is not None,
        )

    def close(self) -> None:
        """Let the task release its model."""
        if self._loaded:
            self._loaded, self.model_bytes = False, 0
            self._plugin.close()

    def _usable(self, batch: WindowBatch, share: FloatArray) -> tuple[Sequence[int], dict[int, str]]:
        """Windows good enough for the task, and why the others are not; the task never sees those."""
        need = 0.0 if self._inputs.window is None else self._inputs.window.min_good
        if not (share < need).any() and not np.isnat(batch.end).any():
            return range(len(batch)), {}
        poor, timeless = np.flatnonzero(share < need), np.flatnonzero(np.isnat(batch.end))
        refused = {int(i): f"only {share[i]:.0%} of the window is Good; it needs {need:.0%}" for i in poor}
        refused |= {int(i): "the window has no end time" for i in timeless}
        return [i for i in range(len(batch)) if i not in refused], refused

    def _recommend(
        self, batch: WindowBatch, rows: Sequence[int], refused: dict[int, str]
    ) -> dict[int, Advice | Abstention | None]:
        """What the task says, by row of the whole batch. If it raises, each window is tried on its own."""
        if not rows:
            return {}
        try:
            return dict(zip(rows, self._ask(batch), strict=True))
        except ContractError:
            raise
        except Exception as e:  # noqa: BLE001  # supervision point: a task author's code
            if len(rows) == 1:
                refused[rows[0]] = f"the task raised {_sentence(e)}"
                return {}
        said: dict[int, Advice | Abstention | None] = {}
        for i, row in enumerate(rows):
            try:
                said[row] = self._ask(batch.select([i]))[0]
            except Exception as e:  # noqa: BLE001  # supervision point: a task author's code
                refused[row] = f"the task raised {_sentence(e)}"
        return said

    def _advised(
        self, said: dict[int, Advice | Abstention | None], refused: dict[int, str]
    ) -> tuple[dict[int, Advice], dict[int, Abstention]]:
        """What keeps the contract, and where the task abstained; ``refused`` is told of the rest."""
        if self._check.all_plain(said.values()):
            return cast("dict[int, Advice]", said), {}
        advised: dict[int, Advice] = {}
        abstained: dict[int, Abstention] = {}
        for row, advice in said.items():
            if advice is None:
                continue
            if isinstance(advice, Abstention):
                abstained[row] = advice
                refused[row] = advice.cause
                continue
            try:
                advised[row] = self._check(advice)
            except RefusedError as e:
                refused[row] = str(e)
        return advised, abstained

    def _ask(self, batch: WindowBatch) -> Sequence[Advice | Abstention | None]:
        answer = self._plugin.recommend(batch)
        if isinstance(answer, str | bytes) or not isinstance(answer, Sequence):
            raise ContractError(f"recommend returned {type(answer).__name__}; expected a sequence")
        if len(answer) != len(batch):
            raise ContractError(f"recommend returned {len(answer)} entries for {len(batch)} windows")
        return answer

    def _count(self, windows: int, spoken: int, refused: int) -> None:
        self.counts["recommended"] += spoken
        self.counts["refused"] += refused
        self.counts["silent"] += windows - spoken - refused

    def _warm_up(self) -> None:
        if self._inputs.window is None and not self._inputs.snapshot:
            return  # records only: no shapes to warm up, and such a task may remember what it was shown
        for size in WARM_UP_SIZES:
            try:
                self._plugin.recommend(synthetic_batch(self._inputs, size, seed=0))
            except Exception as e:  # noqa: BLE001  # supervision point: a cold start costs time, not correctness
                logger.warning("warm-up failed task=%s windows=%d error=%s", self.task_name, size, _sentence(e))
                return


def _on_drift(batch: WindowBatch, entries: list[Recommendation | None], drift: Sequence[Drift]) -> dict[int, str]:
    """Take back what was said of machines on which an input drifts: rows with the cause."""
    causes = {d.equipment_id: d.cause for d in drift if d.tag}
    rows = [i for i, name in enumerate(batch.equipment_ids) if name in causes and entries[i] is not None]
    for row in rows:
        entries[row] = None
    return {row: causes[batch.equipment_ids[row]] for row in rows}


def _distribution_version(task: str) -> str:
    dist = registry.installed()[task].dist
    return "" if dist is None else dist.version


def _next_step(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime":
        return "run: pip install 'lineside[edge]'"
    if isinstance(error, ModuleNotFoundError):
        return "run: pip install 'lineside[workers]', or serve what 'lineside models distil' makes of it"
    return "train the model again with this version"


def _sentence(e: BaseException) -> str:
    text = " ".join(str(e).split())
    return f"{type(e).__name__}: {text[:300]}" if text else type(e).__name__
