"""What every head's answer can be asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]


class Answer(ABC):
    """Reads raw scores (R, K). Quantities (R, Q) are the numbers published, in the order of ``fields``."""

    abstains: ClassVar[bool] = True  # on windows unlike anything learned from
    one_sided: ClassVar[bool] = True  # only what raises the main quantity is a reason

    @property
    def main(self) -> int:
        """The quantity that reasons explain."""
        return 0

    @property
    @abstractmethod
    def limits(self) -> tuple[float, ...]:
        """Where the main quantity raises or drops the flag; none where it raises no flag."""

    @abstractmethod
    def quantities(self, raw: Floats, rows: Floats) -> Floats:
        """Quantities (R, Q) of raw scores (R, K) of features (R, F)."""

    @abstractmethod
    def flag(self, said: Floats) -> Flags:
        """Whether quantities (R, Q) ask for an effect (R,)."""

    @abstractmethod
    def confidence(self, said: Floats) -> Floats:
        """Probability (R,) that the flag is right as it stands."""

    def interval(self, said: Floats) -> tuple[float, float] | None:
        """Bounds of the main quantity of one row (Q,); None where there are none."""
        del said
        return None

    def worth_explaining(self, said: Floats) -> Flags:
        """For which of the quantities (R, Q) reasons are looked for."""
        return np.ones(len(said), dtype=np.bool_)
