"""What a head has to say to be trained, chosen and measured; serving knows only its ``Answer``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from lineside_plugins.learning.encoder import Headed
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.tasks.condition.answering import Answer
from lineside_plugins.tasks.condition.answers import answer_of
from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_plugins.tasks.condition.model import Network
from lineside_plugins.tasks.condition.scorers import Grown, Nearest, Scorer
from lineside_workers.condition.windows import Rows
from lineside_workers.errors import LabelError

Floats: TypeAlias = NDArray[np.float64]
Settings: TypeAlias = Mapping[str, float]
Learned: TypeAlias = Mapping[str, Any]
Prepare: TypeAlias = Callable[[Floats], Floats]  # features (R, F), with or without an embedding beside them


@dataclass(frozen=True, slots=True)
class Costs:
    """What a window costs in which the flag is wrong: an event not announced, an alarm for nothing."""

    miss: float = 8.0
    alarm: float = 1.0


class Problem(ABC):
    """One head on one recording. Made from its labelled training rows, whose scale it keeps."""

    outputs: int = 1  # K
    coverage: float | None = None  # of its intervals, if it has any

    def __init__(self, task: ConditionConfig, fit: Rows, costs: Costs) -> None:
        del fit  # most heads look at it
        self.task, self.costs = task, costs

    @staticmethod
    @abstractmethod
    def usable(rows: Rows) -> Rows:
        """Rows that can judge."""

    @staticmethod
    def teaching(rows: Rows) -> Rows:
        """Those of the usable rows that candidates learn from."""
        return rows

    @abstractmethod
    def naive(self, fit: Rows) -> Scorer:
        """The rule without a model."""

    @abstractmethod
    def grow(self, prepare: Prepare, fit: Rows, settings: Settings, seed: int) -> Grown:
        """Boosted trees on what ``prepare`` makes of the rows' features."""

    def others(self, fit: Rows, seed: int) -> Mapping[str, Callable[[Floats], Grown | Nearest]]:
        """Candidates of this head alone; each learns from features (R, F)."""
        del fit, seed
        return {}

    @abstractmethod
    def targets(self, rows: Rows, scaled: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        """What a network's ``loss`` compares with, rows first; ``scaled`` is what it is given."""

    @abstractmethod
    def loss(self, out: Tensor, rest: Sequence[Tensor]) -> Tensor:
        """Training loss of a network's outputs (R, K)."""

    def network_outputs(self, features: int) -> int:
        """Outputs of a network."""
        del features
        return self.outputs

    def network(self, headed: Headed, normaliser: Normaliser) -> Scorer:
        """A trained network as a scorer."""
        return Network(headed, normaliser)

    @abstractmethod
    def calibrate(self, raw: Floats, choose: Rows) -> Learned:
        """What the answer has to know, from raw scores (R, K) of validation rows."""

    def short(self, answer: Answer, raw: Floats, rows: Rows) -> Floats:
        """How far (R, K) intervals must be ``moved_out`` to cover each row, NaN where its truth is not known."""
        raise NotImplementedError

    def moved_out(self, learned: Learned, by: Floats) -> Learned:
        """With intervals (K,) moved out."""
        raise NotImplementedError

    def told(self, by: Floats) -> str:
        """How far that is, in words."""
        raise NotImplementedError

    @abstractmethod
    def error(self, answer: Answer, raw: Floats, rows: Rows) -> float:
        """What is least for the candidate that ships."""

    @abstractmethod
    def measures(self, answer: Answer, raw: Floats, rows: Rows) -> dict[str, float]:
        """A row of the report."""

    def answer(self, learned: Learned) -> Answer:
        """As it will be served."""
        return answer_of(self.task, learned)


def platt(score: Floats, label: NDArray[np.int64]) -> tuple[float, float]:
    """Slope and offset that make scores (R,) log-odds of ``label``. Source: Platt, Probabilistic Outputs (1999)."""
    if len(set(label.tolist())) < 2 or float(np.ptp(score)) < 1e-9:
        rate = (float((label == 1).sum()) + 0.5) / (len(label) + 1.0)
        return (0.0, float(np.log(rate / (1 - rate))))
    fitted = LogisticRegression(C=10.0).fit(score[:, None], label)
    slope = float(fitted.coef_[0, 0])
    if slope <= 0:  # ranks the wrong way round on validation units: the plain rate is more honest
        return platt(np.zeros(len(score)), label)
    return slope, float(fitted.intercept_[0])


def both_classes(part: str, rows: Rows) -> None:
    """Check that rows of both classes are there.

    Raises:
        LabelError: They are not.
    """
    if len(set(rows.label.tolist())) < 2:
        only = "positive" if rows.label[0] == 1 else "negative"
        raise LabelError(
            f"all {len(rows)} labelled {part} windows are {only}; {part} needs both: record longer, widen "
            "--horizon-h of lineside label, or move units with --split"
        )
