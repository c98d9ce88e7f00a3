"""What tasks that learn have in common: a folder with ``task.py``, and beside it ``advisor.py`` and ``training.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

from lineside_plugins.contract import ConfigT, Recording, TaskPlugin, TrainableTask, TrainedModel
from lineside_plugins.types import Abstention, Advice, ContractError, ModelData, WindowBatch


class Advisor(Protocol):
    """A loaded model with its decision rule. Stateless between batches."""

    def advise(self, batch: WindowBatch) -> Sequence[Advice | Abstention | None]:
        """One entry per window, in the batch's order; None = nothing to say."""


class LearnedAdvice(TaskPlugin[ConfigT]):
    """A task with a model: only ``inputs`` and ``outputs`` are left to write; its folder has the task's name.

    ``advisor.py`` has a class ``Advisor`` with ``from_model(model, device, config)``. It may import torch, so it is
    imported by the call that needs it.
    """

    _advisor: Advisor | None = None

    def load(self, model: ModelData | None, device: str) -> None:
        """Build the advisor from the model's tensors.

        Raises:
            ContractError: There is no model; train one.
        """
        if model is None:
            name = self._folder().rpartition(".")[2]
            raise ContractError(f"task '{name}' has no model; run: lineside train {name}")
        self._advisor = self._beside("advisor").Advisor.from_model(model, device, self.config)

    def recommend(self, batch: WindowBatch) -> Sequence[Advice | Abstention | None]:
        """What the advisor says.

        Raises:
            ContractError: ``load`` was not called.
        """
        if self._advisor is None:
            raise ContractError(f"task '{self._folder().rpartition('.')[2]}' is not loaded; call load first")
        return self._advisor.advise(batch)

    def close(self) -> None:
        """Forget the model."""
        self._advisor = None

    @classmethod
    def _folder(cls) -> str:
        return cls.__module__.rpartition(".")[0]

    @classmethod
    def _beside(cls, module: str) -> Any:
        return import_module(f"{cls._folder()}.{module}")


class LearnedTask(LearnedAdvice[ConfigT], TrainableTask[ConfigT]):
    """The same, trained by one command: ``training.py`` has functions ``fit`` and ``evaluate``.

    They may import torch and scikit-learn.
    """

    def fit(
        self, train: Sequence[Recording], validation: Sequence[Recording], *, seed: int, device: str
    ) -> TrainedModel:
        """Train every candidate and ship what validates best; see the folder's ``training.py``."""
        found: TrainedModel = self._beside("training").fit(train, validation, seed=seed, device=device)
        return found

    def evaluate(self, model: ModelData, test: Sequence[Recording], *, device: str) -> Mapping[str, object]:
        """Metrics on plants nobody has seen; see the folder's ``training.py``."""
        found: Mapping[str, object] = self._beside("training").evaluate(model, test, device=device)
        return found
