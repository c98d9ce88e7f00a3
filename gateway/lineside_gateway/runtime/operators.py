"""Operators' answers: noted, kept as labels, and acted on as far as the mode of the task allows."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from lineside_gateway.publish import AlarmAnswer, Answer, Verdict
from lineside_gateway.runtime.effects import Effects
from lineside_gateway.runtime.labels import Labels
from lineside_gateway.runtime.tape import Tape

logger = logging.getLogger(__name__)

_LABELS = {Verdict.ACCEPT, Verdict.REJECT}
Throw = Callable[[bool, str, str], Awaitable[None]]


class Operators:
    """What the hosted server's conditions call. ``effects`` is set before the server listens to anybody's answer."""

    def __init__(self, folder: Path, throw: Throw, tape: Tape | None = None) -> None:
        self.effects: Effects | None = None
        self.labels = Labels(folder)
        self._throw = throw
        self._tape = tape or Tape()

    def take(self, answer: Answer) -> str:
        """Note the answer, then act on it; a sentence where it comes to nothing."""
        effects = self.effects
        if effects is None:
            return "the gateway is starting; answer again"
        rec = answer.rec
        who = {"user": answer.user, "comment": answer.comment}
        noted = effects.note(
            "operator", verdict=answer.verdict.value, task=rec.task, equipment_id=rec.equipment_id, key=rec.key, **who
        )
        if not noted:
            return "the audit log takes no line; free the disk"
        if answer.verdict in _LABELS:
            self._tape.answer(answer)
            try:
                self.labels.append(answer)
            except OSError as e:
                logger.error("label_lost key=%s why=%s", rec.key, e)  # noqa: TRY400 - the answer itself stands
        if answer.verdict is Verdict.ACCEPT:
            return effects.accept(rec, answer.comment)
        if answer.verdict is Verdict.REJECT:
            effects.reject(rec, answer.comment)
        return ""

    def note(self, answer: AlarmAnswer) -> str:
        """Note an answer to an alarm; a sentence where it cannot be noted."""
        if self.effects is None:
            return "the gateway is starting; answer again"
        noted = self.effects.note(
            "operator", verdict=answer.verdict.value, task=answer.task, equipment_id=answer.equipment_id,
            tag=answer.tag, user=answer.user, comment=answer.comment,
        )  # fmt: skip
        return "" if noted else "the audit log takes no line; free the disk"

    async def hold(self, demoted: bool, user: str, why: str) -> None:
        """Throw the plant-wide switch."""
        await self._throw(demoted, user, why)
