"""What the running gateway records, where its settings say so; otherwise the same calls, and nothing is kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

from asyncua import ua

from lineside_gateway.batching import Batch
from lineside_gateway.errors import LinesideError
from lineside_gateway.opcua.delivery import Float64Array, IndexArray, Int64Array, StatusArray, TagNode
from lineside_gateway.publish import Answer
from lineside_gateway.runtime.labels import label
from lineside_gateway.runtime.recommendations import recommendation_record
from lineside_gateway.settings import Settings
from lineside_plugins import recorded
from lineside_plugins.types import Recommendation, Record
from lineside_plugins.wire import BatchResult

if TYPE_CHECKING:
    from lineside_gateway.recording import Recorder

logger = logging.getLogger(__name__)

_REAL = {ua.VariantType.Float, ua.VariantType.Double}


class Tape:
    """Takes nothing down: a gateway that does not record."""

    def name(self, index: int, node: TagNode) -> None:
        """The samples of ``index`` are of ``node``."""

    def samples(
        self, indices: IndexArray, times_us: Int64Array, values: Float64Array, status: StatusArray | None
    ) -> None:
        """N samples, before anybody uses them up."""

    def event(self, record: Record) -> None:
        """A row of stream ``events``."""

    def said(self, batch: Batch, result: BatchResult) -> None:
        """What workers answered to a batch: in full or canary, in shadow, or why nothing."""

    def answer(self, answer: Answer) -> None:
        """An operator's word on a recommendation."""

    async def run(self) -> None:
        """Write now and then, until cancelled."""


class RecordingTape(Tape):
    """Hands everything to ``recorder``, on the event loop; files are written in a thread."""

    def __init__(self, recorder: Recorder, every_s: float) -> None:
        self.recorder = recorder
        self._every_s = every_s
        self._failing = ""

    def name(self, index: int, node: TagNode) -> None:
        """With its unit; whole numbers and Booleans are states and counts, whose mean means nothing."""
        self.recorder.name(index, node.equipment_id, node.tag, node.unit, held=node.data_type not in _REAL)

    def samples(
        self, indices: IndexArray, times_us: Int64Array, values: Float64Array, status: StatusArray | None
    ) -> None:
        """Copied."""
        self.recorder.samples(indices, times_us, values, status)

    def event(self, record: Record) -> None:
        """With all its fields."""
        self._row(recorded.EVENTS, str(record["time"]), str(record["equipment_id"]), str(record.get("kind")), record)

    def said(self, batch: Batch, result: BatchResult) -> None:
        """One row per recommendation and stage, and one per abstention or refusal with its cause."""
        canary = result.meta.get("canary")
        for rec in result.recommendations:
            if rec is not None:
                self._recommendation(rec, "canary" if rec.model_version == canary else "full")
        for rec in result.shadow:
            self._recommendation(rec, "shadow")
        for refusal in result.refused:
            request = batch.requests[refusal.index]
            row = {"task": batch.task, "stage": "abstained" if refusal.abstained else "refused", "cause": refusal.why}
            self.recorder.row(recorded.RECOMMENDATIONS, request.end_us, request.equipment_id, batch.task, row)

    def answer(self, answer: Answer) -> None:
        """As a label."""
        at, name = answer.rec.window_end.isoformat(), answer.rec.equipment_id
        self._row(recorded.ANSWERS, at, name, answer.verdict.value, label(answer))

    async def run(self) -> None:
        """Write every ``every_s`` seconds, and once more at the end; a full disk is told once."""
        try:
            while True:
                await asyncio.sleep(self._every_s)
                await asyncio.to_thread(self._write)
        finally:
            self._write(last=True)

    def _write(self, *, last: bool = False) -> None:
        found = self.recorder.take()
        try:
            self.recorder.write(found, last=last)
        except LinesideError as e:
            if str(e) != self._failing:
                logger.error("recording_fails %s", e)  # noqa: TRY400 - the sentence says all
            self._failing = str(e)
        else:
            self._failing = ""

    def _recommendation(self, rec: Recommendation, stage: str) -> None:
        row = {"task": rec.task, "stage": stage, **recommendation_record(rec)}
        self._row(recorded.RECOMMENDATIONS, rec.window_end.isoformat(), rec.equipment_id, rec.task, row)

    def _row(self, table: str, time: str, equipment_id: str, kind: str, row: Mapping[str, object]) -> None:
        time_us = round(datetime.fromisoformat(time).timestamp() * 1e6)
        self.recorder.row(table, time_us, equipment_id, kind, row)


def tape_of(settings: Settings) -> Tape:
    """What the settings ask for.

    Raises:
        LinesideError: Recording is asked for and not installed, or its folder cannot be used.
    """
    wanted = settings.recording
    if wanted is None:
        return Tape()
    if find_spec("pyarrow") is None:
        raise LinesideError("recording needs 'pyarrow', which is not installed; run: pip install 'lineside[recording]'")
    from lineside_gateway.recording import Archive, Bounds, Recorder  # noqa: PLC0415 - imports pyarrow

    bounds = Bounds(round(wanted.max_gb * 2**30), wanted.max_days)
    return RecordingTape(Recorder(Archive(wanted.folder, bounds), wanted.period_s), wanted.write_every_s)
