"""What one worker process has done so far. All of it only grows, so a read in the middle of a batch is merely early."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Figures:
    """Batches by status; windows and seconds of inference of those that ran; seconds from delivery to answer sent."""

    batches: Counter[str] = field(default_factory=Counter)
    windows: int = 0
    inference_s: float = 0.0
    answer_s: float = 0.0
