"""The tiny task of the workers' tests, installed for processes of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.workers.conftest import python_path, tiny_model, tiny_site  # noqa: F401 - fixtures


@pytest.fixture
def tiny_environment(tiny_site: Path) -> dict[str, str]:  # noqa: F811
    return {**os.environ, "PYTHONPATH": python_path(tiny_site), "LINESIDE_TASKS": "tiny", "OMP_NUM_THREADS": "1"}
