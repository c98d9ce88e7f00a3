"""The tiny task of the workers' tests, installed for processes of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.dispatch.rig import VISIBILITY_S, Rig
from tests.workers.conftest import broker, make_batch, python_path, start_worker, tiny_model, tiny_site  # noqa: F401 - fixtures
from tests.workers.test_broker_access import sentinel  # noqa: F401 - a fixture


@pytest.fixture
def tiny_environment(tiny_site: Path) -> dict[str, str]:  # noqa: F811
    return {**os.environ, "PYTHONPATH": python_path(tiny_site), "LINESIDE_TASKS": "tiny", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def rig(tmp_path: Path, tiny_environment: dict[str, str]) -> Rig:
    return Rig(tmp_path, {**tiny_environment, "LINESIDE_REDELIVER_AFTER_S": str(VISIBILITY_S)})
