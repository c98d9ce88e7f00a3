from __future__ import annotations

from pathlib import Path

import pytest

from lineside_workers.errors import SettingsError
from lineside_workers.models.signing import KeyRing
from lineside_workers.requests.broker import celery_options
from lineside_workers.settings import WorkerSettings


def test_an_empty_environment_gives_a_worker_for_every_task(tiny: str) -> None:
    """All installed tasks, a broker on loopback, one thread, no key."""
    settings = WorkerSettings.from_env({})
    assert {tiny, "schedule"} <= set(settings.tasks)
    assert settings.broker_url == "redis://127.0.0.1:6379/0"
    assert (settings.device, settings.models, settings.hmac_key) == ("auto", None, b"")
    assert (settings.threads, settings.redeliver_after_s) == (1, 30)


def test_every_variable_is_read(tiny: str) -> None:
    """A Unix socket is spelt Celery's way for Celery; names are taken once, in order."""
    settings = WorkerSettings.from_env(
        {
            "LINESIDE_BROKER_URL": "unix:///run/b.sock",
            "LINESIDE_TASKS": f"schedule, {tiny},schedule",
            "LINESIDE_DEVICE": "cpu",
            "LINESIDE_MODELS": "/models",
            "LINESIDE_HMAC_KEY": "k",
            "LINESIDE_THREADS": "4",
            "LINESIDE_REDELIVER_AFTER_S": "90",
            "LINESIDE_KEYS": "/keys",
            "LINESIDE_REQUIRE_SIGNATURE": "no",
        }
    )
    assert settings == WorkerSettings(
        "unix:///run/b.sock", ("schedule", tiny), "cpu", Path("/models"), b"k", threads=4, redeliver_after_s=90,
        keys=KeyRing(Path("/keys"), required=False),
    )  # fmt: skip
    assert celery_options(settings.broker_url) == {"broker_url": "redis+socket:///run/b.sock"}


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        (
            {"LINESIDE_BROKER_URL": "amqp://user:pass@host"},
            "starts with 'amqp'; use redis://, rediss://, unix://",
        ),
        ({"LINESIDE_BROKER_URL": "sentinel://host"}, "needs hosts and a master: sentinel://host:26379,"),
        ({"LINESIDE_TASKS": "nothere"}, "task 'nothere' is not installed; installed: .*maintenance"),
        ({"LINESIDE_TASKS": " , "}, "is not installed; installed:"),
        ({"LINESIDE_THREADS": "0"}, "LINESIDE_THREADS is '0'; use a whole number from 1"),
        ({"LINESIDE_REQUIRE_SIGNATURE": "maybe"}, "LINESIDE_REQUIRE_SIGNATURE is 'maybe'; use yes or no"),
        ({"LINESIDE_REDELIVER_AFTER_S": "-5"}, "LINESIDE_REDELIVER_AFTER_S is '-5'"),
    ],
)
def test_a_wrong_value_is_named_with_what_fits(environ: dict[str, str], why: str) -> None:
    """The sentence holds no password."""
    with pytest.raises(SettingsError, match=why):
        WorkerSettings.from_env(environ)
