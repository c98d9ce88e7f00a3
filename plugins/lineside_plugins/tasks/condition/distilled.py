"""The condition task's scores by ONNX Runtime, for a box without torch. Imports onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.learning.onnx_model import OnnxModel

Floats: TypeAlias = NDArray[np.float64]
TENSOR = "onnx"


@dataclass(frozen=True, slots=True)
class Distilled:
    """A network that learned what another scorer says; ``file`` (B,) are the bytes of its ONNX file."""

    file: NDArray[np.uint8]
    kind: str = "onnx"
    _model: OnnxModel = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Load the file."""
        object.__setattr__(self, "_model", OnnxModel(self.file.tobytes()))

    def __call__(self, rows: Floats) -> Floats:
        """Raw scores (R, K) of features (R, F)."""
        return self._model(rows.astype(np.float32))

    def to_tensors(self) -> dict[str, NDArray[np.generic]]:
        """Plain arrays for a safetensors file."""
        return {TENSOR: self.file}
