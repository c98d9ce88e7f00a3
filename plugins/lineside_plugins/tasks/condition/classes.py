"""Which of several conditions a window is in: a calibrated probability of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lineside_plugins.tasks.condition.answering import Answer, Flags, Floats


@dataclass(frozen=True, slots=True)
class Classes(Answer):
    """Probabilities by vector scaling: softmax of scores, each class with its own ``slope`` and ``offset`` (K,).

    Quantities are the probability that it is not the first class, which is the normal one, then that of each class.
    Source: Guo et al., On calibration of modern neural networks (2017), 4.2.
    """

    slope: Floats
    offset: Floats
    threshold: float

    @property
    def limits(self) -> tuple[float, ...]:
        """The threshold."""
        return (self.threshold,)

    def quantities(self, raw: Floats, rows: Floats) -> Floats:
        """Quantities (R, 1 + K) of scores (R, K)."""
        del rows
        p = softmax(raw * self.slope + self.offset)
        return np.column_stack([p[:, 1:].sum(axis=1), p])

    def flag(self, said: Floats) -> Flags:
        """Not normal, above the threshold that costs least."""
        return np.asarray(said[:, 0] > self.threshold)

    def confidence(self, said: Floats) -> Floats:
        """Probability that it is not normal, or that it is."""
        return np.where(self.flag(said), said[:, 0], 1.0 - said[:, 0])

    def worth_explaining(self, said: Floats) -> Flags:
        """What is near the threshold or above it."""
        return np.asarray(said[:, 0] > 0.5 * self.threshold)


def softmax(scores: Floats) -> Floats:
    """Probabilities (R, K) of scores (R, K)."""
    risen = np.exp(scores - scores.max(axis=1, keepdims=True))
    out: Floats = risen / risen.sum(axis=1, keepdims=True)
    return out
