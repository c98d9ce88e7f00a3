"""mosec, one worker, dynamic batches. ``python mosec_server.py PORT REQUESTS WAIT_MS``, in its environment."""

from __future__ import annotations

import sys

import numpy as np
from mosec import Server, Worker

from benchmarks.dispatch.model import SAMPLES, TAGS, Forward


class Model(Worker):
    """Joins requests to one forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self._forward = Forward()

    def deserialize(self, data: bytes) -> np.ndarray:
        """Raw float32."""
        return np.frombuffer(bytearray(data), np.float32).reshape(-1, SAMPLES, TAGS)

    def serialize(self, data: np.ndarray) -> bytes:
        """Raw float32."""
        return data.tobytes()

    def forward(self, data: list[np.ndarray]) -> list[np.ndarray]:
        """One pass over what has gathered."""
        out = self._forward(data[0] if len(data) == 1 else np.concatenate(data))
        return np.split(out, np.cumsum([len(d) for d in data])[:-1])


if __name__ == "__main__":
    port, requests, wait_ms = sys.argv[1:]
    sys.argv[1:] = ["--port", port, "--address", "127.0.0.1", "--max-request-size", "20000000"]
    server = Server()
    server.append_worker(Model, num=1, max_batch_size=int(requests), max_wait_time=int(wait_ms))
    server.run()
