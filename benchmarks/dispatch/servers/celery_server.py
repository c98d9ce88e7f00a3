"""A plain Celery app: one task per request, the tensor as base64 in the JSON message. Started by the benchmark."""

from __future__ import annotations

import base64
import os

import numpy as np
from celery import Celery, signals

from benchmarks.dispatch.model import SAMPLES, TAGS, Forward

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BROKER"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=4, result_expires=60)
_model: list[Forward] = []


@signals.worker_init.connect
def load(**_: object) -> None:
    """Once per process."""
    _model.append(Forward())


@app.task(name="bench.infer")
def infer(body: str) -> str:
    """(B, 128, 24) -> (B, 24), both base64."""
    values = np.frombuffer(bytearray(base64.b64decode(body)), np.float32).reshape(-1, SAMPLES, TAGS)
    return base64.b64encode(_model[0](values).tobytes()).decode()
