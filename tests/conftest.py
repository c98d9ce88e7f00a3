"""Settings for the whole suite."""

import os
import tempfile

import pytest
from hypothesis import settings

from tests.faults.tables import pytest_terminal_summary  # noqa: F401 - a hook; here, where every process loads it

# Machines are shared and noisy: how long one example takes says nothing about the code.
settings.register_profile("lineside", deadline=None)
settings.load_profile("lineside")


@pytest.fixture(scope="session", autouse=True)
def signing_keys():
    """Models that tests make are signed with a key of their own; nothing is written to the user's keys folder."""
    with tempfile.TemporaryDirectory(prefix="lineside-keys-") as folder:
        before = os.environ.get("LINESIDE_KEYS")
        os.environ["LINESIDE_KEYS"] = folder
        yield
        os.environ.pop("LINESIDE_KEYS")
        if before is not None:
            os.environ["LINESIDE_KEYS"] = before
