"""What is checked, and how a check says that the contract is broken or that it does not apply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lineside_plugins import registry
from lineside_plugins.contract import TaskPlugin
from lineside_plugins.synthetic import synthetic_batch
from lineside_plugins.types import Abstention, Advice, ModelData, WindowBatch

WINDOWS = 5


class BrokenError(AssertionError):
    """The task breaks the contract; the message says where and how to mend it."""


class SkippedError(Exception):
    """The check does not apply to this task, or needs a model that was not given."""


def expect(holds: object, why: str) -> None:
    """Go on if ``holds``.

    Raises:
        BrokenError: It does not; ``why`` is the sentence for the author.
    """
    if not holds:
        raise BrokenError(why)


@dataclass(frozen=True)
class Subject:
    """One installed task to check, with the model and the batch to check it with.

    Without ``batch`` the checks use synthetic windows, which a task may well answer with None; a batch of real
    windows checks more.
    """

    name: str
    model: ModelData | None = None
    config: Mapping[str, object] = field(default_factory=dict)
    batch: WindowBatch | None = None

    def fresh(self) -> TaskPlugin[Any]:
        """The task as the gateway constructs it: no model."""
        return registry.create(self.name, self.config)

    def loaded(self) -> TaskPlugin[Any]:
        """The task as a worker holds it, on the CPU.

        Raises:
            SkippedError: It needs a model and none was given.
        """
        task = self.fresh()
        if task.needs_model and self.model is None:
            raise SkippedError(f"task '{self.name}' needs a model and none was given")
        task.load(self.model if task.needs_model else None, "cpu")
        return task

    def windows(self) -> WindowBatch:
        """The batch to check with; a new one each time, so that a check may not spoil the next."""
        if self.batch is not None:
            return self.batch.select(range(len(self.batch)))
        return synthetic_batch(self.fresh().inputs(), WINDOWS, seed=7)

    def answers(self, batch: WindowBatch) -> Sequence[Advice | Abstention | None]:
        """What a newly loaded task says about ``batch``."""
        task = self.loaded()
        try:
            return task.recommend(batch)
        finally:
            task.close()
