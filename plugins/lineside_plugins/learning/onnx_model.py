"""A model served by ONNX Runtime: no torch, no scikit-learn; what a gateway box can carry (``lineside[edge]``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class OnnxModel:
    """One model in memory, on one thread; safe to call from one thread at a time."""

    def __init__(self, source: Path | bytes) -> None:
        """Take a file, or what was one."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            source if isinstance(source, bytes) else str(source), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Outputs (R, K) of ``rows`` float32 (R, F), NaN = missing, in their unit."""
        (out,) = self._session.run(["target"], {"rows": np.ascontiguousarray(rows, dtype=np.float32)})
        return np.asarray(out, dtype=np.float64)
