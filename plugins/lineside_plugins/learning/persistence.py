"""Which state a plant is in, row by row, from uncertain evidence and the knowledge that states last.

The forward pass of a hidden Markov model: row t of every result uses rows up to t only. Evidence of neighbouring rows
says much the same, so it is tempered: a power below 1 lets it add up slowly.
Source: Rabiner, A Tutorial on Hidden Markov Models and Selected Applications in Speech Recognition (1989), eq. 19-20.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
_FLOOR = 1e-3  # no single row rules a state out
_LEAST = -3.0  # nats; nor does a single likelihood


@dataclass(frozen=True, slots=True)
class Persistence:
    """State 0 is normal: it is left with chance ``onset`` per row, any other state with ``change``."""

    onset: float
    change: float
    start: float = 0.95  # that a recording starts normal

    def filtered(self, evidence: Floats) -> Floats:
        """Probability (T, S) of each state given all rows so far; ``evidence`` (T, S) is positive, on any scale."""
        states = evidence.shape[1]
        step = np.full((states, states), self.change / (states - 1))
        step[0] = self.onset / (states - 1)
        np.fill_diagonal(step, [1.0 - self.onset, *[1.0 - self.change] * (states - 1)])
        now = np.full(states, (1.0 - self.start) / (states - 1))
        now[0] = self.start
        out = np.empty_like(evidence)
        for t, seen in enumerate(evidence):
            now = (now @ step) * seen
            now /= now.sum()
            out[t] = now
        return out


def tempered(probability: Floats, power: float) -> Floats:
    """Evidence (T, S) of a classifier's probabilities, weakened to what one row adds to its neighbours."""
    out: Floats = (probability + _FLOOR) ** power
    return out


def told_apart(
    probability: Floats, states: Sequence[int], log_likelihood: Floats, power: float
) -> tuple[Floats, Floats]:
    """For ``states`` that a classifier cannot tell apart and a likelihood can: two kinds of evidence (T, S).

    First the classifier's ``probability`` (T, S), in which each of ``states`` has that of all of them; then what
    ``log_likelihood`` (T, len(states)) says among them, weakened by ``power``, 1 for every other state.
    """
    among = list(states)
    pooled, told = probability.copy(), np.ones_like(probability)
    pooled[:, among] = probability[:, among].sum(axis=1, keepdims=True)
    behind = log_likelihood - log_likelihood.max(axis=1, keepdims=True)
    told[:, among] = np.exp(power * np.maximum(behind, _LEAST))
    return pooled, told
