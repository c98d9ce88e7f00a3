"""LitServe, one worker, dynamic batches. ``python litserve_server.py PORT REQUESTS WAIT_MS``, in its environment."""

from __future__ import annotations

import base64
import sys

import litserve
import numpy as np
from fastapi import Response

from benchmarks.dispatch.model import SAMPLES, TAGS, Forward


class Model(litserve.LitAPI):
    """Joins requests to one forward pass."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - CPU
        """Load."""
        self._forward = Forward()

    def decode_request(self, request: dict[str, str]) -> np.ndarray:
        """Base64 in JSON."""
        return np.frombuffer(bytearray(base64.b64decode(request["b"])), np.float32).reshape(-1, SAMPLES, TAGS)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Join."""
        self._sizes = [len(x) for x in inputs]
        return np.concatenate(inputs)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """Part again."""
        return np.split(output, np.cumsum(self._sizes)[:-1])

    def predict(self, x: np.ndarray) -> np.ndarray:
        """One pass over what has gathered."""
        return self._forward(x)

    def encode_response(self, output: np.ndarray) -> Response:
        """Raw float32."""
        return Response(content=output.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    port, requests, wait_ms = sys.argv[1:]
    api = Model(max_batch_size=int(requests), batch_timeout=int(wait_ms) / 1e3)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, track_requests=False)
    server.run(port=int(port), host="127.0.0.1", log_level="error", generate_client_file=False, num_api_servers=1)
