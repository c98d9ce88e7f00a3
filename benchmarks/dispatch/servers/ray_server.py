"""Ray Serve with one replica and dynamic batches over HTTP. ``python ray_server.py PORT``, in Ray's environment."""

from __future__ import annotations

import signal
import sys

import numpy as np
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.dispatch.model import SAMPLES, TAGS, Forward

QUIET = {"enable_access_log": False, "log_level": "ERROR"}


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.5}, logging_config=QUIET)
class Model:
    """Joins single windows to one forward pass; a batch is one already."""

    def __init__(self) -> None:
        self._forward = Forward()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.003)
    async def one(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """One pass over what has gathered."""
        return list(self._forward(np.stack(inputs)))

    async def __call__(self, request: Request) -> Response:
        """Raw float32 in and out."""
        values = np.frombuffer(bytearray(await request.body()), np.float32).reshape(-1, SAMPLES, TAGS)
        out = await self.one(values[0]) if len(values) == 1 else self._forward(values)
        return Response(out.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=200 << 20, _node_ip_address="127.0.0.1",
        logging_level="ERROR",
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config=QUIET)
    serve.run(Model.bind())
    signal.pause()
